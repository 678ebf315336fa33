"""The alias in MLflow and what is announced in Redis: moved by hand, the alias wins."""

from pathlib import Path

import pytest

from stream_ae.ports import Desired
from stream_ae.registry.alias import FORGOTTEN, MOVED, AliasFollower
from stream_ae.registry.rollout import ROLLED_BACK, finish_rollback
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock


class Pipeline:
    """Two versions, the first of which was promoted and announced."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(moves_itself=True)
        self.store = InMemoryStore(self.clock, "pump")
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis, "pump")
        self.versions = []
        for number in ("1", "2"):
            (folder / number).mkdir()
            (folder / number / "weights").write_text(number)
            self.versions.append(self.store.register(folder / number, {}, {}))
        self.store.promote("1")
        self.announce(0)
        self.follower = AliasFollower(self.signal, self.clock)

    def announce(self, index: int) -> None:
        self.signal.announce(Desired(self.versions[index].identity, self.clock.wall_ms(), "retrained"))

    def look(self, follower: AliasFollower | None = None) -> bool:
        """Whether something was announced."""
        before = self.signal.desired()
        after = (follower or self.follower).look(self.store.champion(), before)
        assert after == self.signal.desired()
        return after != before

    def announced(self) -> tuple[str, str]:
        desired = self.signal.desired()
        assert desired is not None
        return desired.model.version, desired.reason


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def test_an_alias_that_was_moved_by_hand_is_announced_at_the_second_look(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    assert not pipeline.look()
    assert pipeline.follower.waiting
    assert pipeline.announced() == ("1", "retrained")
    assert pipeline.look()
    assert pipeline.announced() == ("2", MOVED)
    assert not pipeline.look()
    assert not pipeline.follower.waiting


def test_a_promotion_that_is_announced_a_moment_later_is_left_alone(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    assert not pipeline.look()
    pipeline.announce(1)
    assert not pipeline.look()
    assert pipeline.announced() == ("2", "retrained")
    assert len(pipeline.signal.history()) == 2


def test_of_many_followers_one_announces(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    followers = [AliasFollower(pipeline.signal, pipeline.clock) for _ in range(3)]
    for _ in range(3):
        # All of them look at the same moment.
        champion, desired = pipeline.store.champion(), pipeline.signal.desired()
        for follower in followers:
            follower.look(champion, desired)
    assert [desired.reason for desired in pipeline.signal.history()] == [MOVED, "retrained"]


def test_where_nothing_is_announced_any_more_the_champion_is(pipeline: Pipeline) -> None:
    pipeline.redis.wipe()
    assert [pipeline.look() for _ in range(3)] == [False, True, False]
    assert pipeline.announced() == ("1", FORGOTTEN)


def test_an_alias_that_a_rollback_could_not_move_is_not_followed(pipeline: Pipeline) -> None:
    pipeline.store.promote("2")
    pipeline.announce(1)
    back = Desired(pipeline.versions[0].identity, 0, "version 2 rolled back", pipeline.versions[1].digest)
    pipeline.signal.announce(back)
    assert [pipeline.look() for _ in range(3)] == [False, False, False]
    assert finish_rollback(pipeline.store, pipeline.signal) is not None
    champion = pipeline.store.champion()
    assert champion is not None
    assert champion.version == "1"
    assert pipeline.store.versions()[1].tags[ROLLED_BACK] == "version 2 rolled back"
    assert finish_rollback(pipeline.store, pipeline.signal) is None


def test_a_version_that_was_rolled_back_is_followed_when_a_person_chooses_it_again(pipeline: Pipeline) -> None:
    test_an_alias_that_a_rollback_could_not_move_is_not_followed(pipeline)
    pipeline.store.promote("2")
    assert [pipeline.look() for _ in range(3)] == [False, True, False]
    assert finish_rollback(pipeline.store, pipeline.signal) is None


def test_without_a_champion_nothing_is_announced(tmp_path: Path) -> None:
    clock = ManualClock(moves_itself=True)
    signal = InMemorySignal(InMemoryRedis(clock), "pump")
    follower = AliasFollower(signal, clock)
    assert [follower.look(None, signal.desired()) for _ in range(3)] == [None] * 3
    assert signal.desired() is None
