"""Retraining: one shot, idempotent, locked; the exit code says how it ended."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.one_shot import RUN_KEY
from jobs.retrain import Outcome, Progress, World, retrain
from stream_ae.models.serialization import load
from stream_ae.records import Float32, ModelVersion
from stream_ae.settings import RetrainSettings, Settings, TrainingSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.testing import InMemoryBroker, InMemoryReader, InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock
from tests.jobs.asleep import AsleepWhenItRegisters

START_MS = 1_700_000_000_000


def waves(count: int, first: int = 0, noise: float = 0.02) -> Float32:
    """(count, 2): two related waves."""
    t = np.arange(first, first + count)[:, None]
    rng = np.random.default_rng(first)
    rows: Float32 = (np.sin(t / np.array([4.0, 6.0])) + rng.normal(0, noise, (count, 2))).astype(np.float32)
    return rows


class Retraining:
    """A pipeline in memory, as a retraining sees it."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS, moves_itself=True)
        self.broker = InMemoryBroker(self.clock)
        for topic in ("raw", "cleaned", "flagged", "dead-letters"):
            self.broker.create_topic(topic, partitions=2)
        self.store = InMemoryStore(self.clock, "default")
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis)
        self.world = World(InMemoryReader(self.broker), self.store, self.signal, self.clock)
        self.said: list[str] = []
        self.settings = Settings(
            training=TrainingSettings(window=8, max_epochs=3, threads=1),
            retrain=RetrainSettings(rollout_timeout_s=5.0, tolerance=0.5),
        )

    def send(self, x: Float32, stream: str = "s", partition: int = 0) -> None:
        for row in x:
            second = self.clock.wall_ms() // 1000
            value = {"stream": stream, "timestamp": second, "values": {"a": float(row[0]), "b": float(row[1])}}
            self.broker.append("raw", json.dumps(value).encode(), partition=partition, timestamp_ms=second * 1000)
            self.clock.advance(1)

    def run(self, dry_run: bool = False) -> Outcome:
        quiet = Progress(say=self.said.append, collected=lambda done, total: None, epoch=lambda epoch: None)
        return retrain(self.world, self.settings, quiet, dry_run)

    @property
    def champion(self) -> ModelVersion:
        champion = self.store.champion()
        assert champion is not None
        return champion


class Following(InMemorySignal):
    """With one worker that runs what is announced and flags every other record."""

    def __init__(self, redis: InMemoryRedis) -> None:
        super().__init__(redis)
        self._records = 0

    def workers(self) -> list[WorkerStatus]:
        desired = self.desired()
        model = desired.model if desired is not None else None
        self._records += 100
        return [WorkerStatus("w1", Health.RUNNING, model, 0, 0, records=self._records, flagged=self._records // 2)]


@pytest.fixture
def retraining() -> Retraining:
    return Retraining()


def test_the_first_version_is_registered_promoted_and_announced(retraining: Retraining) -> None:
    retraining.send(waves(600))
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.champion.version == "1"
    desired = retraining.signal.desired()
    assert desired is not None
    assert desired.model == retraining.champion.identity


def test_a_version_says_what_it_was_trained_on(retraining: Retraining, tmp_path: Path) -> None:
    retraining.send(waves(600))
    retraining.run()
    tags = retraining.champion.tags
    assert tags["stream_ae.topic"] == "raw"
    assert tags["stream_ae.offsets"] == "0:0-600"
    assert tags["stream_ae.parent_version"] == "none"
    assert tags["stream_ae.code_version"].startswith("stream-ae ")
    assert "first version" in tags["stream_ae.verdict"]
    assert "masked loss" in tags["stream_ae.denoiser"]
    detector = load(retraining.store.fetch("1", tmp_path / "v"))
    assert detector.channels == ("a", "b")
    assert detector.lineage["stream_ae.offsets"] == "0:0-600"


def test_a_second_run_on_the_same_span_does_nothing(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    assert retraining.run() == Outcome.PROMOTED
    assert [version.version for version in retraining.store.versions()] == ["1"]
    assert "nothing to do" in retraining.said[-2]


def test_a_champion_with_nothing_new_to_learn_is_not_held_to_an_incident_of_its_stream(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    # One worker that flags half of what comes.
    retraining.world = replace(retraining.world, signal=Following(retraining.redis))
    assert retraining.run() == Outcome.PROMOTED
    assert "stream_ae.rolled_back" not in retraining.champion.tags


def test_new_records_make_a_second_version_whose_parent_is_the_first(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    retraining.send(waves(300, first=600))
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.champion.version == "2"
    assert retraining.champion.tags["stream_ae.parent_version"] == "1"


def test_a_challenger_that_is_worse_is_registered_but_not_promoted(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    # From noise nothing can be learnt, and on the newest, clean rows the champion is better.
    retraining.settings = retraining.settings.model_copy(
        update={"retrain": RetrainSettings(span_s=900.0, tolerance=0.0, holdout_share=0.4)}
    )
    noise = np.random.default_rng(1).normal(0, 5, (540, 2)).astype(np.float32)
    retraining.send(noise)
    retraining.send(waves(360))
    assert retraining.run() == Outcome.NOT_PROMOTED
    assert retraining.champion.version == "1"
    assert [version.version for version in retraining.store.versions()] == ["1", "2"]
    assert retraining.store.versions()[1].tags["stream_ae.verdict"].startswith("worse")


def test_the_gate_s_figures_stand_beside_the_version(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    tags = retraining.champion.tags
    assert tags["stream_ae.gate.faults_found"].startswith("passed: faults found ")
    assert tags["stream_ae.gate.false_alarms"].startswith("passed: ")


@pytest.mark.parametrize(("promote", "outcome"), [("never", Outcome.NOT_PROMOTED), ("always", Outcome.PROMOTED)])
def test_who_promotes_may_be_settled_beforehand(retraining: Retraining, promote: str, outcome: Outcome) -> None:
    retrain = retraining.settings.retrain.model_copy(update={"promote": promote})
    retraining.settings = retraining.settings.model_copy(update={"retrain": retrain})
    retraining.send(waves(600))
    assert retraining.run() == outcome
    assert [version.version for version in retraining.store.versions()] == ["1"]
    assert (retraining.store.champion() is not None) == (promote == "always")


def test_a_dry_run_compares_and_registers_nothing(retraining: Retraining) -> None:
    retraining.send(waves(600))
    assert retraining.run(dry_run=True) == Outcome.PROMOTED
    assert retraining.store.versions() == []
    assert retraining.signal.desired() is None
    assert "dry run, nothing is registered: it would be promoted" in retraining.said[-1]


def test_a_version_that_flags_most_of_what_comes_is_rolled_back_with_the_reason(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    retraining.send(waves(300, first=600))
    # One worker, on whatever is announced: of the 100 records that it answers at each look it flags half.
    retraining.world = replace(retraining.world, signal=Following(retraining.redis))
    assert retraining.run() == Outcome.ROLLED_BACK
    assert retraining.champion.version == "1"
    assert "50% of" in retraining.store.versions()[1].tags["stream_ae.rolled_back"]
    newest = retraining.signal.history()[0]
    assert newest.model == retraining.champion.identity
    assert newest.reason.startswith("version 2 rolled back: 50% of")


def test_flagged_samples_are_left_out(retraining: Retraining) -> None:
    retraining.send(waves(600))
    for offset, state in ((100, "open"), (101, "ongoing"), (102, "close")):
        event = {"state": state, "source": {"topic": "raw", "partition": 0, "offset": offset}}
        retraining.broker.append("flagged", json.dumps(event).encode(), partition=0)
    retraining.broker.append("flagged", b"not ours", partition=1)
    assert retraining.run() == Outcome.PROMOTED
    assert "2 samples flagged and left out" in retraining.said[0]
    assert "collected 598 samples" in retraining.said[0]


def test_broken_records_are_counted_and_left_out(retraining: Retraining) -> None:
    retraining.send(waves(300))
    retraining.broker.append("raw", b"broken", partition=0)
    retraining.send(waves(300, first=300))
    assert retraining.run() == Outcome.PROMOTED
    assert "1 not readable" in retraining.said[0]


@pytest.mark.parametrize("rows", [0, 100])
def test_too_little_data_is_refused_with_the_reason(retraining: Retraining, rows: int) -> None:
    retraining.send(waves(rows))
    assert retraining.run() == Outcome.UNUSABLE_DATA
    assert retraining.said[-1].startswith("the data cannot be used")
    assert retraining.store.versions() == []


def test_two_retrainings_at_once_are_one(retraining: Retraining) -> None:
    retraining.send(waves(600))
    with InMemorySignal(retraining.redis).lock("retrain", 30.0):
        assert retraining.run() == Outcome.LOCKED
    assert retraining.store.versions() == []
    assert retraining.run() == Outcome.PROMOTED


def test_a_server_that_is_away_is_an_exit_code_not_a_crash(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.store.away()
    assert retraining.run() == Outcome.SERVER_AWAY
    retraining.store.back()
    retraining.redis.away()
    assert retraining.run() == Outcome.SERVER_AWAY


def test_workers_that_do_not_come_up_bring_the_champion_before_back(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    first = retraining.champion
    stubborn = WorkerStatus("w1", Health.DEGRADED, first.identity, 0, 0, problems=("version 2 refused: no memory",))
    retraining.signal.report(stubborn, 100_000.0)
    retraining.send(waves(300, first=600))
    assert retraining.run() == Outcome.ROLLED_BACK
    assert retraining.champion.version == "1"
    desired = retraining.signal.desired()
    assert desired is not None
    assert desired.model == first.identity
    assert any("version 2 refused: no memory" in sentence for sentence in retraining.said)


def test_a_champion_that_cannot_be_loaded_does_not_stand_in_the_way(retraining: Retraining, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    broken = retraining.store.register(tmp_path, {}, {})
    retraining.store.promote(broken.version)
    retraining.send(waves(600))
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.champion.version == "2"


def test_a_run_that_died_after_registering_is_finished_by_the_next(retraining: Retraining, tmp_path: Path) -> None:
    retraining.send(waves(600))
    retraining.run()
    key = retraining.champion.tags[RUN_KEY]
    again = Retraining()
    again.send(waves(600))
    folder = retraining.store.fetch("1", tmp_path / "registered")
    again.store.register(folder, {RUN_KEY: key}, {})
    again.run()
    assert [version.version for version in again.store.versions()] == ["1"]
    assert again.champion.version == "1"


def test_a_version_that_was_rolled_back_is_not_promoted_again_by_itself(retraining: Retraining) -> None:
    retraining.send(waves(600))
    retraining.run()
    retraining.send(waves(300, first=600))
    well = retraining.world
    retraining.world = replace(well, signal=Following(retraining.redis))
    assert retraining.run() == Outcome.ROLLED_BACK
    retraining.world = well
    assert retraining.run() == Outcome.NOT_PROMOTED
    assert (
        "version 2 was made of the same, and it is left at that: version 2 rolled back: 50% of" in retraining.said[-1]
    )
    assert retraining.champion.version == "1"
    retrain = retraining.settings.retrain.model_copy(update={"promote": "always"})
    retraining.settings = retraining.settings.model_copy(update={"retrain": retrain})
    assert retraining.run() == Outcome.PROMOTED
    assert [version.version for version in retraining.store.versions()] == ["1", "2"]


def test_a_retraining_whose_lease_another_one_took_leaves_everything_as_it_is(retraining: Retraining) -> None:
    retraining.send(waves(600))

    others = InMemorySignal(retraining.redis)
    store = AsleepWhenItRegisters(retraining.clock, retraining.redis, others, "retrain")
    retraining.world = replace(retraining.world, store=store)
    assert retraining.run() == Outcome.LOCKED
    assert store.champion() is None
    assert retraining.signal.desired() is None


@contextmanager
def no_room() -> Iterator[None]:
    """No file may become as long as the smallest weights are."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_disk_without_room_is_an_exit_code_and_says_what_to_do(retraining: Retraining) -> None:
    retraining.send(waves(600))
    for version in ("1", "2"):
        # The candidate has no room at first, and the champion, which is fetched, the second time.
        with no_room():
            assert retraining.run() == Outcome.SERVER_AWAY
        assert retraining.said[-1].startswith("a file cannot be written ([Errno 27] File too large")
        assert "make room in" in retraining.said[-1]
        assert retraining.run() == Outcome.PROMOTED
        assert retraining.champion.version == version
        retraining.send(waves(300, first=600))


@pytest.mark.parametrize("hours", [-30, 30], ids=["behind", "ahead"])
def test_a_clock_that_is_hours_off_changes_neither_the_data_nor_the_version(retraining: Retraining, hours: int) -> None:
    retraining.send(waves(600))
    skewed = ManualClock(retraining.clock.wall_ms() + hours * 3_600_000, moves_itself=True)
    retraining.world = replace(retraining.world, clock=skewed)
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.champion.tags["stream_ae.offsets"] == "0:0-600"
    retraining.world = replace(retraining.world, clock=retraining.clock)
    assert retraining.run() == Outcome.PROMOTED
    assert "nothing to do" in retraining.said[-2]


def test_a_clock_that_is_further_ahead_than_the_span_reaches_back_is_an_empty_span(retraining: Retraining) -> None:
    retrain = retraining.settings.retrain.model_copy(update={"span_s": 3600.0})
    retraining.settings = retraining.settings.model_copy(update={"retrain": retrain})
    retraining.send(waves(600))
    skewed = ManualClock(retraining.clock.wall_ms() + 30 * 3_600_000, moves_itself=True)
    retraining.world = replace(retraining.world, clock=skewed)
    assert retraining.run() == Outcome.UNUSABLE_DATA
    assert "no record of the last 3600 s" in retraining.said[-1]


def test_a_topic_whose_channels_are_no_longer_those_of_the_champion_is_refused_with_both(
    retraining: Retraining,
) -> None:
    retraining.send(waves(600))
    retraining.run()
    for row in waves(600):
        second = retraining.clock.wall_ms() // 1000
        value = {"stream": "s", "timestamp": second, "values": {"speed": float(row[0]), "torque": float(row[1])}}
        retraining.broker.append("raw", json.dumps(value).encode(), partition=0, timestamp_ms=second * 1000)
        retraining.clock.advance(1)
    retrain = retraining.settings.retrain.model_copy(update={"span_s": 300.0})
    retraining.settings = retraining.settings.model_copy(update={"retrain": retrain})
    assert retraining.run() == Outcome.UNUSABLE_DATA
    assert retraining.said[-1].startswith("the data cannot be used: 0 usable samples in 300 records")
    assert retraining.said[-1].endswith(
        "They were read with the champion's channels, a, b: if the topic has others now, serve them under another "
        "pipeline name; if the champion is the wrong one, promote another"
    )
