"""What every ModelSignal promises: the one in memory and the one on Redis."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import LockHeldError
from stream_ae.ports import Desired, ModelSignal
from stream_ae.records import ModelIdentity
from stream_ae.registry.signal import RedisSignal
from stream_ae.settings import RedisSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.testing import InMemoryRedis, InMemorySignal

CLOCK = SystemClock()
LONG_S = 20.0

Connect = Callable[[], ModelSignal]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def connect(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> Iterator[Connect]:
    """Makes clients of one server that share one pipeline."""
    opened: list[ModelSignal] = []
    pipeline = unique("pipeline")
    server = InMemoryRedis(CLOCK)
    url = "" if request.param == "memory" else request.getfixturevalue("redis_url")

    def connected() -> ModelSignal:
        signal: ModelSignal = InMemorySignal(server, pipeline)
        if url:
            signal = RedisSignal(RedisSettings.model_validate({"url": url, "timeout_s": 5.0}), pipeline, CLOCK)
        opened.append(signal)
        return signal

    yield connected
    for signal in opened:
        signal.close()


@pytest.fixture
def signal(connect: Connect) -> ModelSignal:
    return connect()


def _desired(version: int, reason: str = "") -> Desired:
    return Desired(ModelIdentity("pump", str(version), f"{version:064x}"), 1_700_000_000_000 + version, reason)


def _status(worker: str, **fields: object) -> WorkerStatus:
    known = {"health": Health.RUNNING, "model": _desired(1).model, "updated_ms": 7, "started_ms": 5}
    return WorkerStatus(worker=worker, **(known | fields))  # type: ignore[arg-type]


def test_nothing_is_desired_before_the_first_announcement(signal: ModelSignal) -> None:
    assert signal.desired() is None
    assert signal.history() == []


def test_what_was_announced_last_is_desired_by_every_client(connect: Connect) -> None:
    job, worker = connect(), connect()
    job.announce(_desired(1))
    job.announce(_desired(2, "drift on pump 7, Düse"))
    assert worker.desired() == _desired(2, "drift on pump 7, Düse")


def test_the_history_is_newest_first_and_limited(signal: ModelSignal) -> None:
    for version in (1, 2, 3):
        signal.announce(_desired(version))
    assert signal.history() == [_desired(3), _desired(2), _desired(1)]
    assert signal.history(limit=2) == [_desired(3), _desired(2)]


def test_an_announcement_between_subscribing_and_waiting_is_not_missed(connect: Connect) -> None:
    job, worker = connect(), connect()
    worker.subscribe()
    job.announce(_desired(1))
    assert worker.wait(LONG_S)
    assert worker.desired() == _desired(1)


def test_a_wait_without_an_announcement_ends_with_its_timeout(signal: ModelSignal) -> None:
    signal.subscribe()
    assert not signal.wait(0.01)


def test_every_subscriber_is_nudged(connect: Connect) -> None:
    job, *workers = connect(), connect(), connect()
    for worker in workers:
        worker.subscribe()
    job.announce(_desired(1))
    assert [worker.wait(LONG_S) for worker in workers] == [True, True]


def test_an_announcement_wakes_a_client_that_waits(connect: Connect) -> None:
    job, worker = connect(), connect()
    worker.subscribe()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.wait, LONG_S)
        job.announce(_desired(1))
        assert waiting.result()


def test_subscribing_twice_is_harmless(connect: Connect) -> None:
    job, worker = connect(), connect()
    worker.subscribe()
    worker.subscribe()
    job.announce(_desired(1))
    assert worker.wait(LONG_S)


def test_announcers_at_the_same_time_leave_one_of_them_desired_and_all_in_the_history(connect: Connect) -> None:
    first, second = connect(), connect()
    numbers = range(1, 21)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: (first if n % 2 else second).announce(_desired(n)), numbers))
    history = first.history()
    assert sorted(int(entry.model.version) for entry in history) == list(numbers)
    assert first.desired() == history[0]


def test_statuses_come_back_whole_and_by_name(connect: Connect) -> None:
    worker, job = connect(), connect()
    full = _status(
        "b", partitions=("raw/0", "raw/1"), problems=("MLflow is away",), lag=12, address="127.0.0.1:80", scores=(1, 2)
    )
    worker.report(full, 60.0)
    worker.report(_status("a", health=Health.WAITING, model=None), 60.0)
    assert job.workers() == [_status("a", health=Health.WAITING, model=None), full]


def test_a_newer_status_replaces_the_older_one(signal: ModelSignal) -> None:
    signal.report(_status("a", records=1), 60.0)
    signal.report(_status("a", records=2), 60.0)
    assert [worker.records for worker in signal.workers()] == [2]


def test_a_status_expires(signal: ModelSignal) -> None:
    signal.report(_status("a"), 0.05)
    signal.report(_status("b"), 60.0)
    deadline, never = Deadline.after(CLOCK, LONG_S), threading.Event()
    while len(signal.workers()) > 1 and not deadline.passed():
        CLOCK.wait(never, 0.02)
    assert [worker.worker for worker in signal.workers()] == ["b"]


def test_a_lock_excludes_others_at_once_and_is_free_afterwards(connect: Connect) -> None:
    one, other = connect(), connect()
    with one.lock("retrain", 30.0):
        with pytest.raises(LockHeldError, match=r"retrain.* locked"), other.lock("retrain", 30.0):
            pytest.fail("two hold one lock")
        with other.lock("something else", 30.0):
            pass
    with other.lock("retrain", 30.0):
        pass


def test_a_lock_is_freed_when_its_block_fails(connect: Connect) -> None:
    one, other = connect(), connect()
    with pytest.raises(KeyError), one.lock("retrain", 30.0):
        raise KeyError
    with other.lock("retrain", 30.0):
        pass


def test_what_is_withdrawn_is_not_desired_until_something_is_announced_again(connect: Connect) -> None:
    job, worker = connect(), connect()
    job.announce(_desired(1))
    worker.subscribe()
    job.withdraw()
    assert worker.wait(LONG_S)
    assert worker.desired() is None
    assert worker.history() == [_desired(1)]
    job.announce(_desired(1))
    assert worker.desired() == _desired(1)


def test_an_announcement_under_a_lock_is_made_while_it_is_held(connect: Connect) -> None:
    one, other = connect(), connect()
    with one.lock("retrain", 30.0) as lease:
        one.check(lease)
        one.announce(_desired(1), lease)
    with other.lock("retrain", 30.0):
        with pytest.raises(LockHeldError, match=r"retrain.* taken by"):
            one.check(lease)
        with pytest.raises(LockHeldError, match=r"retrain.* taken by"):
            one.announce(_desired(2), lease)
    # Whoever took it meanwhile may be gone again.
    with pytest.raises(LockHeldError, match=r"retrain.* taken by"):
        one.announce(_desired(2), lease)
    assert other.history() == [_desired(1)]


def test_an_announcement_in_place_of_another_is_made_if_that_one_is_still_desired(connect: Connect) -> None:
    one, other = connect(), connect()
    assert not one.replace(_desired(1).model.digest, _desired(2))
    assert one.replace("", _desired(1))
    assert not other.replace("", _desired(2))
    assert other.replace(_desired(1).model.digest, _desired(3))
    assert not one.replace(_desired(1).model.digest, _desired(2))
    assert one.history() == [_desired(3), _desired(1)]


def test_two_pipelines_do_not_hear_of_each_other(redis_url: str, unique: Callable[[str], str]) -> None:
    settings = RedisSettings.model_validate({"url": redis_url})
    one, other = (RedisSignal(settings, unique("pipeline"), CLOCK) for _ in range(2))
    one.announce(_desired(1))
    one.report(_status("a"), 60.0)
    assert other.desired() is None
    assert other.workers() == []
    one.close()
    other.close()
