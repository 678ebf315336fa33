"""Announcing a version and watching the workers come up on it."""

import pytest

from stream_ae.ports import Desired
from stream_ae.records import ModelIdentity
from stream_ae.registry.rollout import Healthy, Rollout, roll_out, watch
from stream_ae.status import Health, WorkerStatus
from stream_ae.testing import InMemoryRedis, InMemorySignal, ManualClock

OLD = ModelIdentity("pump", "1", "aa")
NEW = ModelIdentity("pump", "2", "bb")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(moves_itself=True)


@pytest.fixture
def signal(clock: ManualClock) -> InMemorySignal:
    return InMemorySignal(InMemoryRedis(clock), "pump")


def report(signal: InMemorySignal, worker: str, model: ModelIdentity, first_batch_ms: int = 0) -> None:
    signal.report(
        WorkerStatus(worker, Health.RUNNING, model, updated_ms=0, started_ms=0, first_batch_ms=first_batch_ms), 3600.0
    )


def test_without_workers_the_announcement_is_all_there_is_to_do(signal: InMemorySignal, clock: ManualClock) -> None:
    assert roll_out(signal, Desired(NEW, clock.wall_ms(), "test"), clock, timeout_s=10).complete
    desired = signal.desired()
    assert desired is not None
    assert desired.model == NEW


def test_it_waits_until_the_last_worker_is_on_the_version(signal: InMemorySignal, clock: ManualClock) -> None:
    report(signal, "w1", OLD)
    report(signal, "w2", OLD)
    looks: list[Rollout] = []

    def workers_follow(rollout: Rollout) -> None:
        looks.append(rollout)
        report(signal, f"w{len(looks)}", NEW, first_batch_ms=rollout.announced_ms + 500 * len(looks))

    rollout = roll_out(signal, Desired(NEW, clock.wall_ms(), "test"), clock, timeout_s=10, watch=workers_follow)
    assert rollout.complete
    assert [len(look.on_it) for look in looks] == [0, 1, 2]
    assert rollout.slowest_s == 1.0


def test_a_worker_that_does_not_follow_is_named_after_the_time_limit(
    signal: InMemorySignal, clock: ManualClock
) -> None:
    report(signal, "w1", OLD)
    rollout = roll_out(signal, Desired(NEW, clock.wall_ms(), "test"), clock, timeout_s=10)
    assert not rollout.complete
    assert [worker.worker for worker in rollout.not_on_it] == ["w1"]
    assert clock.monotonic_s() >= 10


class Fleet(InMemorySignal):
    """One worker on the new version, which says something else at every look."""

    def __init__(self, clock: ManualClock, *looks: WorkerStatus | None) -> None:
        super().__init__(InMemoryRedis(clock), "pump")
        self._looks = list(looks)

    def workers(self) -> list[WorkerStatus]:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return [look] if look is not None else []


def on_new(
    records: int = 0, flagged: int = 0, dead: int = 0, health: Health = Health.RUNNING, model: ModelIdentity = NEW,
    started_ms: int = 1, problems: tuple[str, ...] = (),
) -> WorkerStatus:  # fmt: skip
    return WorkerStatus(
        "w1", health, model, 0, started_ms, records=records, flagged=flagged, dead_letters=dead, problems=problems
    )


LIMITS = Healthy(flagged_share=0.2, dead_share=0.05)


def test_workers_that_stay_as_they_are_pass_the_watch_after_its_time(clock: ManualClock) -> None:
    fleet = Fleet(clock, on_new(100), on_new(5000, flagged=50, dead=10))
    assert watch(fleet, NEW, clock, 30.0, LIMITS) is None
    assert clock.monotonic_s() >= 30.0


def test_without_a_worker_on_the_version_there_is_nothing_to_watch(clock: ManualClock) -> None:
    assert watch(Fleet(clock, None), NEW, clock, 30.0, LIMITS) is None
    assert clock.monotonic_s() < 1.0


@pytest.mark.parametrize(
    ("later", "wrong"),
    [
        (None, "worker w1 has died or was started again"),
        (on_new(started_ms=2), "worker w1 has died or was started again"),
        (on_new(health=Health.STALLED, problems=("model for 60 s",)), "worker w1 has stalled: model for 60 s"),
        (on_new(model=OLD), "worker w1 does not run it any more"),
        (on_new(1100, flagged=400), "40% of 1000 records were flagged, at most 20% may be"),
        (on_new(1100, dead=100), "10% of 1000 records became dead letters, at most 5% may"),
    ],
)
def test_what_goes_wrong_under_watch_is_said_at_once(
    clock: ManualClock, later: WorkerStatus | None, wrong: str
) -> None:
    found = watch(Fleet(clock, on_new(100), on_new(150), later), NEW, clock, 30.0, LIMITS)
    assert found is not None
    assert found.startswith(wrong)
    assert clock.monotonic_s() < 2.0


def test_a_stream_that_was_broken_before_does_not_take_a_version_back(clock: ManualClock) -> None:
    fleet = Fleet(clock, on_new(1000, dead=60), on_new(2000, dead=130))
    assert watch(fleet, NEW, clock, 5.0, LIMITS) is None
    worse = watch(Fleet(clock, on_new(1000, dead=60), on_new(2000, dead=200)), NEW, clock, 5.0, LIMITS)
    assert worse == "14% of 1000 records became dead letters, at most 12% may"


def test_a_few_records_say_nothing_yet(clock: ManualClock) -> None:
    assert watch(Fleet(clock, on_new(), on_new(100, flagged=90, dead=90)), NEW, clock, 5.0, LIMITS) is None
