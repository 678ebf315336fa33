"""The monitor: one run per deployed version, through restarts and servers away; drift is answered once."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from jobs.monitor import ALERT, DRIFT_RETRAIN, LAST_ALERT, SHADOW, Monitor, World, monitor
from stream_ae.errors import LockHeldError, ModelError, StreamAEError, TransientError
from stream_ae.histogram import SCORE_BINS, merged
from stream_ae.marginals import DriftBins, Marginal, Marginals
from stream_ae.models.about import About
from stream_ae.ports import Desired, Lease
from stream_ae.records import ModelIdentity
from stream_ae.registry.ledger import Ledger
from stream_ae.settings import MonitorSettings, Settings
from stream_ae.status import Health, ShadowStatus, WorkerStatus
from stream_ae.testing import InMemoryRedis, InMemoryRunLog, InMemorySignal, ManualClock

V1 = ModelIdentity("pump", "1", "aa")
V2 = ModelIdentity("pump", "2", "bb")
QUIET = SCORE_BINS.counts(-np.log10(np.random.default_rng(0).uniform(size=6000)))
DRIFTED = (600, 600, 600, 600, 600, 600, 600, 600, 600, 600)
RETRAINING = MonitorSettings(retrain_on_drift=True, drift_looks=3, retrain_cooldown_s=3600)


class Watching:
    """A pipeline with one worker, whose counters a test moves, and a monitor that looks when it is told to."""

    def __init__(self, settings: MonitorSettings) -> None:
        self.clock = ManualClock(1_700_000_000_000, moves_itself=True)
        self.settings = settings
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis)
        self.runs = InMemoryRunLog()
        self.retrainings: list[Future[int]] = []
        self.no_bins: StreamAEError | None = None
        self.worker = WorkerStatus(
            "w", Health.RUNNING, V1, self.clock.wall_ms(), self.clock.wall_ms(), scores=SCORE_BINS.nothing
        )
        self.begin()

    def begin(self) -> None:
        """A monitor without memory, as after a restart."""
        self.ledger = Ledger(self.runs)
        self.world = World(self.signal, self.ledger, self.clock, self._retrain, self._about)
        self.monitor = Monitor(self.world, self.settings)

    def look(self, scores: tuple[int, ...] = SCORE_BINS.nothing, inputs: tuple[int, ...] | None = None) -> None:
        """A minute in which the worker answers records with these scores and inputs, then a look."""
        self.clock.advance(60)
        if inputs is not None:
            before = self.worker.inputs or ((0,) * len(inputs),)
            self.worker = replace(self.worker, inputs=(merged((before[0], inputs)),))
        self.worker = replace(
            self.worker,
            records=self.worker.records + sum(scores),
            scores=merged((self.worker.scores, scores)),
            updated_ms=self.clock.wall_ms(),
        )
        self.signal.report(self.worker, 3600.0)
        self.monitor.look()
        self.monitor.write()

    def swap(self, model: ModelIdentity) -> None:
        self.worker = replace(
            self.worker,
            model=model,
            swapped_ms=self.clock.wall_ms(),
            first_batch_ms=0,
            scores=SCORE_BINS.nothing,
            inputs=(),
        )

    def tags(self, model: ModelIdentity = V1) -> dict[str, str]:
        return self.runs.of(model).tags

    def _about(self, model: ModelIdentity) -> About:
        if self.no_bins is not None:
            raise self.no_bins
        bins = DriftBins(Marginals((Marginal("flow", (0.0,), (0.45, 0.45, 0.1), 0.0),)), Marginals())
        return About(("flow",), drift_bins=bins)

    def _retrain(self) -> "Future[int]":
        self.retrainings.append(Future())
        return self.retrainings[-1]


@pytest.fixture
def watching() -> Watching:
    return Watching(RETRAINING)


def test_every_look_is_a_point_of_the_version_in_service(watching: Watching) -> None:
    for _ in range(3):
        watching.look(QUIET)
    (run,) = watching.runs.runs
    assert run.metric("throughput_records_s") == [100.0, 100.0]
    assert run.metric("workers") == [1.0, 1.0, 1.0]
    assert max(run.metric("score_psi")) < 0.01
    assert run.metric("score_p50") == pytest.approx([0.3, 0.3], abs=0.03)
    assert ALERT not in run.tags


def test_a_monitor_that_starts_again_goes_on_in_the_same_run_and_counts_nothing_twice(watching: Watching) -> None:
    watching.look(QUIET)
    watching.look(QUIET)
    watching.begin()
    watching.look(QUIET)
    watching.look(QUIET)
    (run,) = watching.runs.runs
    assert len(run.points) == 4
    assert run.metric("throughput_records_s") == [100.0, 100.0]


def test_a_worker_that_is_started_again_begins_at_0(watching: Watching) -> None:
    watching.look(QUIET)
    watching.look(QUIET)
    watching.worker = replace(
        watching.worker, started_ms=watching.clock.wall_ms() + 1, records=0, scores=SCORE_BINS.nothing
    )
    watching.look(QUIET)
    assert watching.runs.of(V1).metric("throughput_records_s") == [100.0, 100.0]


def test_another_version_has_another_run_and_a_rollback_goes_on_in_the_first(watching: Watching) -> None:
    watching.look(QUIET)
    watching.swap(V2)
    watching.look(QUIET)
    assert [run.version.version for run in watching.runs.runs] == ["1", "2"]
    assert [run.in_service for run in watching.runs.runs] == [False, True]
    watching.swap(V1)
    watching.look(QUIET)
    assert [len(run.points) for run in watching.runs.runs] == [2, 1]
    assert [run.in_service for run in watching.runs.runs] == [True, False]


def test_a_challenger_beside_the_champion_has_a_run_that_goes_on_when_it_is_champion(watching: Watching) -> None:
    watching.worker = replace(
        watching.worker, shadow=ShadowStatus(V2, 400, 8, 4, 392, 20, 0.1, SCORE_BINS.counts([0.3] * 400))
    )
    watching.look(QUIET)
    run = watching.runs.of(V2)
    assert run.tags[SHADOW] == "scores beside the champion"
    assert run.metric("shadow_flagged_share") == [0.02]
    assert run.metric("shadow_champion_flagged_share") == [0.01]
    assert run.metric("shadow_agreement") == [0.98]
    assert run.metric("shadow_batch_s") == [0.005]
    assert run.metric("shadow_score_p50") == [pytest.approx(0.375)]
    assert "shadow_agreement" not in watching.runs.of(V1).points[0].metrics
    watching.worker = replace(watching.worker, shadow=None)
    watching.swap(V2)
    watching.look(QUIET)
    assert SHADOW not in watching.runs.of(V2).tags
    assert watching.runs.of(V2).metric("workers") == [1.0]
    assert [run.version for run in watching.runs.runs if run.in_service] == [V2]


def test_an_announced_version_that_no_worker_runs_is_seen_to_have_none(watching: Watching) -> None:
    watching.signal.announce(Desired(V2, 0))
    watching.look(QUIET)
    assert watching.runs.of(V2).metric("workers") == [0.0]
    assert watching.runs.of(V1).metric("workers") == [1.0]


def test_looks_while_mlflow_was_away_are_written_when_it_is_back(watching: Watching) -> None:
    watching.look(QUIET)
    watching.runs.away()
    for _ in range(5):
        watching.look(QUIET)
    assert len(watching.runs.of(V1).points) == 1
    watching.runs.back()
    watching.look(QUIET)
    assert watching.runs.of(V1).metric("throughput_records_s") == [100.0] * 6


def test_drift_is_an_alert_while_it_holds_and_retrains_once(watching: Watching) -> None:
    for scores in (QUIET, QUIET, DRIFTED, DRIFTED):
        watching.look(scores)
    assert (watching.tags(), watching.retrainings) == ({}, [])
    watching.look(DRIFTED)
    assert watching.tags()[ALERT].startswith("drift since 2023-11-14T")
    assert watching.tags()[DRIFT_RETRAIN].endswith(" started")
    for _ in range(5):
        watching.look(DRIFTED)
    assert len(watching.retrainings) == 1
    watching.look(QUIET)
    assert ALERT not in watching.tags()
    assert watching.tags()[LAST_ALERT].startswith("drift since 2023-11-14T")


AS_EVER, SHIFTED = (1800, 1800, 400), (0, 3600, 400)


def test_a_shift_of_inputs_that_leaves_the_scores_as_they_were_is_an_alert_and_retrains(watching: Watching) -> None:
    for inputs in (AS_EVER, AS_EVER, SHIFTED, SHIFTED):
        watching.look(QUIET, inputs)
    assert (watching.tags(), watching.retrainings) == ({}, [])
    watching.look(QUIET, SHIFTED)
    assert watching.tags()[ALERT].split(": ", 1)[1].startswith("PSI of 4000 inputs: flow ")
    assert len(watching.retrainings) == 1
    run = watching.runs.of(V1)
    assert run.metric("input_psi/flow")[-1] == run.metric("input_psi_max")[-1] > 1
    assert max(run.metric("score_psi")) < 0.01
    watching.look(QUIET, AS_EVER)
    assert ALERT not in watching.tags()


def test_drift_of_scores_and_of_inputs_is_one_alert_until_both_are_over(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED, AS_EVER)
    began = watching.tags()[ALERT].split(": ")[0]
    for _ in range(3):
        watching.look(DRIFTED, SHIFTED)
    alert = watching.tags()[ALERT]
    assert alert.split(": ")[0] == began
    assert "6000 scores; PSI of 4000 inputs: flow" in alert
    watching.look(QUIET, SHIFTED)
    assert "scores" not in watching.tags()[ALERT]
    assert len(watching.retrainings) == 1
    watching.look(QUIET, AS_EVER)
    assert ALERT not in watching.tags()


def test_inputs_are_watched_as_soon_as_mlflow_gives_the_bins(watching: Watching) -> None:
    watching.no_bins = TransientError("MLflow is away")
    for _ in range(4):
        watching.look(QUIET, SHIFTED)
    assert ALERT not in watching.tags()
    watching.no_bins = None
    for _ in range(3):
        watching.look(QUIET, SHIFTED)
    assert ALERT in watching.tags()


def test_a_version_whose_bins_cannot_be_read_has_its_scores_watched_and_that_is_said_once(
    watching: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    watching.no_bins = ModelError("its files were changed")
    for _ in range(4):
        watching.look(DRIFTED, SHIFTED)
    assert "inputs" not in watching.tags()[ALERT]
    assert [record.message for record in caplog.records].count("inputs not watched") == 1


def test_a_retraining_that_was_no_better_is_not_repeated_while_that_drift_holds(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED)
    watching.retrainings[0].set_result(3)
    for _ in range(120):
        watching.look(DRIFTED)
    assert len(watching.retrainings) == 1
    assert watching.tags()[DRIFT_RETRAIN].endswith("ended with exit code 3")


def test_a_retraining_that_came_to_nothing_is_repeated_after_the_cooldown(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED)
    watching.retrainings[0].set_result(7)
    for _ in range(59):
        watching.look(DRIFTED)
    assert len(watching.retrainings) == 1
    watching.look(DRIFTED)
    assert len(watching.retrainings) == 2


def test_a_drift_that_begins_within_the_cooldown_is_answered_after_it(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED)
    watching.retrainings[0].set_result(0)
    watching.swap(V2)
    for _ in range(59):
        watching.look(DRIFTED)
    assert ALERT in watching.tags(V2)
    assert ALERT not in watching.tags(V1)
    assert watching.tags(V1)[DRIFT_RETRAIN].endswith("ended with exit code 0")
    assert len(watching.retrainings) == 1
    watching.look(DRIFTED)
    assert len(watching.retrainings) == 2
    assert DRIFT_RETRAIN in watching.tags(V2)


def test_the_cooldown_outlives_the_monitor(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED)
    watching.retrainings[0].set_result(3)
    watching.look(DRIFTED)
    watching.begin()
    for _ in range(58):
        watching.look(DRIFTED)
    assert len(watching.retrainings) == 1
    watching.look(DRIFTED)
    assert len(watching.retrainings) == 2


def test_an_alert_left_by_the_monitor_before_is_taken_away_when_scores_are_as_calibrated(watching: Watching) -> None:
    for _ in range(4):
        watching.look(DRIFTED)
    watching.begin()
    watching.look(QUIET)
    assert ALERT in watching.tags()
    watching.look(QUIET)
    assert ALERT not in watching.tags()


def test_without_being_asked_for_drift_retrains_nothing() -> None:
    watching = Watching(MonitorSettings(drift_looks=3))
    for _ in range(9):
        watching.look(DRIFTED)
    assert ALERT in watching.tags()
    assert (watching.retrainings, DRIFT_RETRAIN in watching.tags()) == ([], False)


class Drawing:
    """Draws nothing but what it was asked for; `error` stands for brokers that are away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...], int]] = []
        self.error: StreamAEError | None = None

    def picture(self, model: ModelIdentity, about: About, start_ms: int, end_ms: int) -> bytes | None:
        if self.error is not None:
            raise self.error
        self.asked.append((model.version, about.channels, end_ms - start_ms))
        return b"png" if len(self.asked) > 1 else None


def test_once_an_hour_the_worst_windows_since_the_last_time_go_to_the_version_in_service(watching: Watching) -> None:
    drawing = Drawing()
    watching.monitor = Monitor(replace(watching.world, worst=drawing), watching.settings)
    for _ in range(130):
        watching.look(QUIET)
        watching.monitor.draw()
    assert drawing.asked == [("1", ("flow",), 3_600_000)] * 2
    ((name, png),) = watching.runs.of(V1).pictures.items()
    assert (name, png) == ("worst/2023-11-15T00-13-20+00-00.png", b"png")


def test_brokers_that_are_away_cost_a_picture_and_are_said_once(
    watching: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    drawing = Drawing()
    drawing.error = TransientError("no broker answers")
    watching.monitor = Monitor(replace(watching.world, worst=drawing), watching.settings)
    for _ in range(130):
        watching.look(QUIET)
        watching.monitor.draw()
    assert [record.message for record in caplog.records].count("worst windows not drawn") == 1
    assert len(watching.runs.of(V1).points) == 130


class StopAfter(threading.Event):
    """Set after being asked so many times; what `when` names happens on the way."""

    def __init__(self, asked: int, **when: object) -> None:
        super().__init__()
        self.left = asked
        self.when = {int(name.removeprefix("at_")): action for name, action in when.items()}

    def is_set(self) -> bool:
        self.left -= 1
        action = self.when.get(self.left)
        if callable(action):
            action()
        return self.left < 0


def test_redis_away_is_said_once_and_gone_on_from(watching: Watching, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watching.signal.report(watching.worker, 1e6)
    stop = StopAfter(40, at_30=watching.redis.away, at_15=watching.redis.back)
    monitor(watching.world, Settings(monitor=watching.settings), stop)
    said = [record.message for record in caplog.records if record.name == "stream_ae.monitor"]
    assert said == ["monitor in service", "workers not seen", "Redis is back", "monitor in service"]
    assert len(watching.runs.of(V1).points) > 5


def test_a_second_monitor_waits_until_the_first_is_gone(watching: Watching, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watching.signal.report(watching.worker, 1e6)
    first = watching.signal.lock("monitor", 30.0)
    first.__enter__()
    stop = StopAfter(20, at_10=lambda: first.__exit__(None, None, None))
    monitor(watching.world, Settings(monitor=watching.settings), stop)
    said = [record.message for record in caplog.records if record.name == "stream_ae.monitor"]
    assert said == ["another monitor is in service", "monitor in service"]
    assert watching.runs.of(V1).points


class Contested(InMemorySignal):
    """Its second lock is somebody else's for an hour, in which they watch the pipeline."""

    locks = 0
    watching: Watching

    @contextmanager
    def lock(self, name: str, lease_s: float) -> Iterator[Lease]:
        self.locks += 1
        if self.locks == 2:
            self.watching.clock.advance(3600)
            self.watching.runs.of(V1).in_service = False
            worker = replace(self.watching.worker, records=1_000_000)
            self.report(worker, 1e6)
            raise LockHeldError("monitor is locked by somebody else")
        with super().lock(name, lease_s) as lease:
            yield lease


def test_what_another_monitor_has_seen_meanwhile_is_not_seen_again(watching: Watching) -> None:
    contested = Contested(watching.redis)
    contested.watching = watching
    contested.report(watching.worker, 1e6)
    stop = StopAfter(40, at_30=watching.redis.away, at_20=watching.redis.back)
    monitor(replace(watching.world, signal=contested), Settings(monitor=watching.settings), stop)
    run = watching.runs.of(V1)
    assert contested.locks == 3
    assert set(run.metric("throughput_records_s")) == {0.0}
    assert run.in_service
