"""Announcing a version and watching the workers come up on it."""

import pytest

from stream_ae.ports import Health, WorkerStatus
from stream_ae.records import ModelIdentity
from stream_ae.registry.rollout import Rollout, roll_out
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
    assert roll_out(signal, NEW, "test", clock, timeout_s=10).complete
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

    rollout = roll_out(signal, NEW, "test", clock, timeout_s=10, watch=workers_follow)
    assert rollout.complete
    assert [len(look.on_it) for look in looks] == [0, 1, 2]
    assert rollout.slowest_s == 1.0


def test_a_worker_that_does_not_follow_is_named_after_the_time_limit(
    signal: InMemorySignal, clock: ManualClock
) -> None:
    report(signal, "w1", OLD)
    rollout = roll_out(signal, NEW, "test", clock, timeout_s=10)
    assert not rollout.complete
    assert [worker.worker for worker in rollout.not_on_it] == ["w1"]
    assert clock.monotonic_s() >= 10
