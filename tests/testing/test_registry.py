"""What the store and the signal in memory do beyond their ports: making trouble on demand."""

from pathlib import Path

import pytest

from stream_ae.errors import TransientError
from stream_ae.ports import Desired
from stream_ae.records import ModelIdentity
from stream_ae.status import Health, WorkerStatus
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock

DESIRED = Desired(ModelIdentity("pump", "1", "1" * 64), 1_700_000_000_000)


def test_a_store_that_is_away_is_a_transient_error_until_it_is_back(tmp_path: Path) -> None:
    store = InMemoryStore(ManualClock())
    store.away()
    for call in (store.champion, store.versions, lambda: store.fetch("1", tmp_path), lambda: store.promote("1")):
        with pytest.raises(TransientError, match="away"):
            call()
    store.back()
    assert store.champion() is None


def test_a_redis_that_is_away_is_a_transient_error_and_every_wait_is_true_when_it_is_back() -> None:
    redis = InMemoryRedis(ManualClock())
    worker, job = InMemorySignal(redis), InMemorySignal(redis)
    worker.subscribe()
    job.announce(DESIRED)
    assert worker.wait(1.0)
    redis.away()
    for call in (worker.desired, worker.workers, lambda: worker.wait(1.0), lambda: job.announce(DESIRED)):
        with pytest.raises(TransientError, match="away"):
            call()
    redis.back()
    assert worker.wait(1.0)
    assert worker.desired() == DESIRED


def test_a_wiped_redis_has_forgotten_everything() -> None:
    redis = InMemoryRedis(ManualClock())
    signal = InMemorySignal(redis)
    signal.announce(DESIRED)
    signal.report(WorkerStatus("w", Health.RUNNING, None, 0, 0), 60.0)
    redis.wipe()
    assert (signal.desired(), signal.history(), signal.workers()) == (None, [], [])


def test_a_status_expires_with_the_clock_that_the_test_moves() -> None:
    clock = ManualClock()
    signal = InMemorySignal(InMemoryRedis(clock))
    signal.report(WorkerStatus("w", Health.RUNNING, None, 0, 0), 6.0)
    clock.advance(5.9)
    assert len(signal.workers()) == 1
    clock.advance(0.2)
    assert signal.workers() == []
