"""A challenger beside the champion: it answers the same windows, and whatever becomes of it the champion goes on."""

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream_ae.errors import ModelError
from stream_ae.histogram import SCORE_BINS
from stream_ae.ports import Desired
from stream_ae.records import Float32, Inference, ModelIdentity, ModelVersion
from stream_ae.registry.cache import VersionCache
from stream_ae.settings import BatchSettings
from stream_ae.status import Health, ShadowStatus
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock
from stream_ae.worker.reconcile import ShadowReconciler, VersionWorld
from stream_ae.worker.shadow import ShadowScorer, ShadowService
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from tests.worker.fakes import MeanModel

KINDS = {
    "good": {},
    "short": {"window": 2},
    "long": {"window": 9},
    "two channels": {"channels": ("a", "b")},
}


class FailsOnFives(MeanModel):
    """As a network does on values that it was not made for."""

    def infer(self, windows: Float32) -> Inference:
        if (windows == 5).any():
            raise RuntimeError("shapes cannot be multiplied")
        return super().infer(windows)


class Shadowing:
    """A worker's champion, and a challenger that is told of by Redis; version folders say which model they are."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(moves_itself=True)
        self.folder = folder
        self.store = InMemoryStore(self.clock, "pump")
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis, "pump-shadow")
        self.slot = ModelSlot()
        self.slot.swap(MeanModel())
        self.board = StatusBoard("w", self.clock)
        self.board.swapped(ModelIdentity("pump", "1", "1" * 64))
        service = ShadowService(self.slot, self.board, self.load, BatchSettings(max_records=8))
        world = VersionWorld(self.store, self.signal, VersionCache(folder / "cache"))
        self.reconciler = ShadowReconciler(world, service, self.board, self.clock)
        self.scorer = ShadowScorer(self.slot, self.board, self.clock)

    @staticmethod
    def load(folder: Path, identity: ModelIdentity) -> MeanModel:
        kind = (folder / "kind").read_text()
        if kind == "unreadable":
            raise ModelError("the weights are truncated: register the version again")
        model = FailsOnFives() if kind == "fails on fives" else MeanModel(**KINDS[kind])  # type: ignore[arg-type]
        model.identity, model.threshold = identity, 2.0
        return model

    def announce(self, kind: str) -> ModelVersion:
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)
        (folder / "kind").write_text(kind)
        version = self.store.register(folder, {}, {})
        self.signal.announce(Desired(version.identity, self.clock.wall_ms()))
        self.reconciler.reconcile()
        return version

    def answer(self, newest: list[float]) -> None:
        """The champion answers windows of three zeros and these; the challenger looks for what there is for it."""
        windows = np.zeros((len(newest), 1, 4), np.float32)
        windows[:, 0, -1] = newest
        champion = self.slot.model
        assert champion is not None
        self.slot.answered(windows, champion.infer(windows).score > champion.threshold)
        if not self.slot.for_shadow.empty():
            self.scorer.score(*self.slot.for_shadow.get())

    def withdraw(self) -> None:
        self.signal.withdraw()
        self.reconciler.reconcile()

    def scores(self) -> bool:
        """Whether there is a challenger that would be asked."""
        return self.slot.shadow is not None

    @property
    def status(self) -> ShadowStatus | None:
        return self.board.snapshot().shadow


@pytest.fixture
def shadowing(tmp_path: Path) -> Shadowing:
    return Shadowing(tmp_path)


def test_a_challenger_answers_the_windows_of_the_champion_and_is_counted_beside_it(shadowing: Shadowing) -> None:
    version = shadowing.announce("good")
    # The score is three quarters of the newest value; the champion's threshold is 10, the challenger's 2.
    shadowing.answer([0.0, 1.0, 4.0, 20.0])
    shadowing.answer([0.0])
    status = shadowing.status
    assert status is not None
    assert status.model == version.identity
    assert (status.windows, status.flagged, status.flagged_by_champion, status.agreed) == (5, 2, 1, 4)
    assert status.batches == 2
    assert status.scores == SCORE_BINS.counts([0.0, 0.75, 3.0, 15.0, 0.0])


def test_a_challenger_with_a_shorter_window_sees_the_newest_samples(shadowing: Shadowing) -> None:
    shadowing.announce("short")
    shadowing.answer([6.0])
    status = shadowing.status
    assert status is not None
    # Half of the newest value, of two samples.
    assert status.scores == SCORE_BINS.counts([3.0])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("long", "it wants windows of 9 samples, those of the champion have 4"),
        ("two channels", "it is for channels a, b, this stream has a"),
        ("unreadable", "the weights are truncated"),
    ],
)
def test_a_challenger_that_cannot_answer_is_refused_and_the_one_before_goes_on(
    shadowing: Shadowing, kind: str, reason: str
) -> None:
    good = shadowing.announce("good")
    bad = shadowing.announce(kind)
    assert shadowing.board.snapshot().problems[0].startswith(f"shadow: version {bad.version} refused: {reason}")
    status = shadowing.status
    assert status is not None
    assert status.model == good.identity
    shadowing.withdraw()
    assert shadowing.board.snapshot().problems == ()


def test_a_challenger_that_fails_is_dropped_and_the_status_says_why(shadowing: Shadowing) -> None:
    version = shadowing.announce("fails on fives")
    shadowing.answer([1.0])
    shadowing.answer([5.0])
    shadowing.answer([1.0])
    shadowing.reconciler.reconcile()
    snapshot = shadowing.board.snapshot()
    assert snapshot.problems == (
        f"shadow: version {version.version} failed and is dropped: shapes cannot be multiplied",
    )
    assert snapshot.shadow is not None
    assert snapshot.shadow.windows == 1
    assert not shadowing.scores()
    assert snapshot.model == ModelIdentity("pump", "1", "1" * 64)
    # Chosen anew it is tried again.
    shadowing.withdraw()
    shadowing.announce("fails on fives")
    assert shadowing.scores()
    assert shadowing.board.snapshot().health == Health.RUNNING


class Interrupted(MeanModel):
    """While it answers something else happens; then it may fail."""

    def __init__(self, meanwhile: Callable[[], object], fails: bool) -> None:
        super().__init__()
        self.identity = ModelIdentity("pump", "7", "7" * 64)
        self.meanwhile, self.fails = meanwhile, fails

    def infer(self, windows: Float32) -> Inference:
        self.meanwhile()
        if self.fails:
            raise RuntimeError("shapes cannot be multiplied")
        return super().infer(windows)


@pytest.mark.parametrize("fails", [True, False])
def test_what_comes_of_a_challenger_that_was_replaced_meanwhile_says_nothing_of_the_next(
    shadowing: Shadowing, fails: bool
) -> None:
    shadowing.announce("good")
    shadowing.slot.shadow = Interrupted(lambda: shadowing.announce("short"), fails)
    shadowing.answer([1.0])
    assert shadowing.scores()
    assert shadowing.board.snapshot().problems == ()
    assert shadowing.status == ShadowStatus(shadowing.store.versions()[-1].identity, scores=SCORE_BINS.nothing)
    shadowing.slot.shadow = Interrupted(shadowing.withdraw, fails)
    shadowing.answer([1.0])
    snapshot = shadowing.board.snapshot()
    assert (snapshot.shadow, snapshot.problems) == (None, ())


def test_a_challenger_that_no_longer_fits_beside_a_new_champion_is_dropped(shadowing: Shadowing) -> None:
    version = shadowing.announce("good")
    champion = MeanModel("2")
    champion.lookahead = 1
    shadowing.slot.swap(champion)
    shadowing.answer([1.0])
    assert not shadowing.scores()
    assert shadowing.board.snapshot().problems == (
        f"shadow: version {version.version} failed and is dropped: it waits for 0 newer samples, the champion for 1",
    )


def test_windows_that_a_champion_before_left_behind_are_passed_over(shadowing: Shadowing) -> None:
    shadowing.slot.swap(MeanModel("2", window=9))
    shadowing.announce("long")
    shadowing.answer([1.0])
    assert shadowing.scores()
    assert shadowing.board.snapshot().problems == ()


def test_a_withdrawn_challenger_is_gone_and_redis_away_leaves_it_there(shadowing: Shadowing) -> None:
    shadowing.announce("good")
    shadowing.redis.away()
    shadowing.reconciler.reconcile()
    assert shadowing.scores()
    shadowing.redis.back()
    shadowing.withdraw()
    assert not shadowing.scores()
    shadowing.answer([1.0])
    assert shadowing.status is None
    shadowing.announce("good")
    shadowing.answer([1.0])
    assert shadowing.status == ShadowStatus(
        shadowing.store.versions()[-1].identity, 1, 0, 0, 1, 1, 0.0, SCORE_BINS.counts([0.75])
    )


def test_the_thread_lets_go_of_a_challenger_that_was_withdrawn(shadowing: Shadowing) -> None:
    shadowing.announce("good")
    shadowing.answer([1.0])
    gone, stop = threading.Event(), threading.Event()
    assert shadowing.slot.shadow is not None
    weakref.finalize(shadowing.slot.shadow, gone.set)
    shadowing.withdraw()
    thread = threading.Thread(target=shadowing.scorer.run, args=(stop,))
    thread.start()
    let_go = gone.wait(10)
    stop.set()
    thread.join(30)
    assert let_go
    assert not thread.is_alive()


def test_a_challenger_that_is_busy_misses_batches_and_the_champion_waits_for_nothing(shadowing: Shadowing) -> None:
    shadowing.announce("good")
    windows = np.zeros((3, 1, 4), np.float32)
    for _ in range(5):
        shadowing.slot.answered(windows, np.zeros(3, bool))
    shadowing.scorer.score(*shadowing.slot.for_shadow.get())
    assert shadowing.slot.for_shadow.empty()
    status = shadowing.status
    assert status is not None
    assert status.windows == 3


def test_a_pipeline_without_a_challenger_does_not_take_the_champion_for_one(shadowing: Shadowing) -> None:
    version = shadowing.announce("good")
    shadowing.signal.withdraw()
    shadowing.store.promote(version.version)
    for _ in range(3):
        shadowing.reconciler.reconcile()
    assert not shadowing.scores()
    assert shadowing.signal.desired() is None
