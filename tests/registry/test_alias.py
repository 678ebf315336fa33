"""The alias in MLflow and what is announced in Redis: moved by hand, the alias wins."""

from pathlib import Path

import pytest

from stream_ae.ports import Desired
from stream_ae.registry.alias import FORGOTTEN, MOVED, AliasFollower
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock


class Pipeline:
    """Two versions, the first of which was promoted and announced."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(moves_itself=True)
        self.store = InMemoryStore(self.clock, "pump")
        self.signal = InMemorySignal(InMemoryRedis(self.clock), "pump")
        self.versions = []
        for number in ("1", "2"):
            (folder / number).mkdir()
            (folder / number / "weights").write_text(number)
            self.versions.append(self.store.register(folder / number, {}, {}))
        self.store.promote("1")
        self.announce(0)
        self.follower = AliasFollower(self.store, self.signal, self.clock)

    def announce(self, index: int) -> None:
        self.signal.announce(Desired(self.versions[index].identity, self.clock.wall_ms(), "retrained"))

    def announced(self) -> tuple[str, str]:
        desired = self.signal.desired()
        assert desired is not None
        return desired.model.version, desired.reason


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def test_an_alias_that_was_moved_by_hand_is_announced_at_the_second_look(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    assert pipeline.follower.look() is None
    assert pipeline.announced() == ("1", "retrained")
    assert pipeline.follower.look() is not None
    assert pipeline.announced() == ("2", MOVED)
    assert pipeline.follower.look() is None


def test_a_promotion_that_is_announced_a_moment_later_is_left_alone(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    assert pipeline.follower.look() is None
    pipeline.announce(1)
    assert pipeline.follower.look() is None
    assert pipeline.announced() == ("2", "retrained")
    assert len(pipeline.signal.history()) == 2


def test_where_nothing_is_announced_any_more_the_champion_is(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    pipeline.signal = InMemorySignal(InMemoryRedis(pipeline.clock), "pump")
    follower = AliasFollower(pipeline.store, pipeline.signal, pipeline.clock)
    assert [follower.look() is not None for _ in range(3)] == [False, True, False]
    assert pipeline.announced() == ("1", FORGOTTEN)


def test_without_a_champion_nothing_is_announced(tmp_path: Path) -> None:
    clock = ManualClock(moves_itself=True)
    signal = InMemorySignal(InMemoryRedis(clock), "pump")
    follower = AliasFollower(InMemoryStore(clock, "pump"), signal, clock)
    assert [follower.look() for _ in range(3)] == [None] * 3
    assert signal.desired() is None
