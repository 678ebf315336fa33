"""RedisSignal when Redis is killed, frozen, wiped, protected by a password, or not there."""

import multiprocessing
import os
import signal as signals
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from stream_ae.clock import Clock, Deadline, SystemClock
from stream_ae.errors import ConfigError, LockHeldError, StreamAEError, TransientError
from stream_ae.localdev.process import Server
from stream_ae.localdev.valkey import embedded_valkey
from stream_ae.ports import Desired
from stream_ae.records import ModelIdentity
from stream_ae.registry.signal import RedisSignal
from stream_ae.settings import RedisSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.testing import ManualClock

pytestmark = pytest.mark.servers

CLOCK = SystemClock()
LONG_S = 20.0
DESIRED = Desired(ModelIdentity("pump", "1", "1" * 64), 1_700_000_000_000)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    with embedded_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def signal(valkey: Server) -> Iterator[RedisSignal]:
    connected = _signal(valkey.address)
    yield connected
    connected.close()


def _signal(url: str, timeout_s: float = 1.0, clock: Clock = CLOCK) -> RedisSignal:
    return RedisSignal(RedisSettings.model_validate({"url": url, "timeout_s": timeout_s}), "pump", clock)


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline, never = Deadline.after(CLOCK, LONG_S), threading.Event()
    while not condition() and not deadline.passed():
        CLOCK.wait(never, 0.02)
    return condition()


def test_a_killed_server_is_a_transient_error_and_a_restarted_one_works_again(
    valkey: Server, signal: RedisSignal
) -> None:
    signal.announce(DESIRED)
    valkey.kill()
    for call in (signal.desired, signal.workers, signal.history, lambda: signal.announce(DESIRED)):
        with pytest.raises(TransientError, match=f"Redis at {valkey.address[8:-2]}"):
            call()
    valkey.start()
    assert signal.desired() == DESIRED


def test_a_frozen_server_is_a_transient_error_within_the_timeout(valkey: Server) -> None:
    signal = _signal(valkey.address, timeout_s=0.2)
    signal.announce(DESIRED)
    valkey.pause()
    with pytest.raises(TransientError, match="did not answer in time"):
        signal.desired()
    valkey.resume()
    assert _eventually(lambda: signal.desired() == DESIRED)
    signal.close()


def test_after_a_reconnect_a_wait_is_true_because_something_may_have_been_missed(
    valkey: Server, signal: RedisSignal
) -> None:
    signal.subscribe()
    valkey.kill()
    with pytest.raises(TransientError, match="not listening"):
        signal.wait(LONG_S)
    valkey.start()
    assert signal.wait(LONG_S)
    assert not signal.wait(0.01)


def test_nudges_arrive_again_after_a_reconnect(valkey: Server, signal: RedisSignal) -> None:
    signal.subscribe()
    valkey.kill()
    with pytest.raises(TransientError):
        signal.wait(LONG_S)
    valkey.start()
    signal.wait(LONG_S)
    signal.announce(DESIRED)
    assert signal.wait(LONG_S)


def test_a_wiped_server_desires_nothing(valkey: Server, signal: RedisSignal) -> None:
    signal.announce(DESIRED)
    with redis.Redis.from_url(valkey.address) as client:
        client.flushall()
    assert signal.desired() is None
    assert signal.history() == []
    assert signal.workers() == []


def test_a_key_that_holds_something_else_is_named(valkey: Server, signal: RedisSignal) -> None:
    with redis.Redis.from_url(valkey.address) as client:
        client.set("stream-ae:{pump}:desired", "version 3, please")
    with pytest.raises(TransientError, match="stream-ae:{pump}:desired .* announce a version again"):
        signal.desired()


def test_a_status_of_another_release_hides_nobody_else(valkey: Server, signal: RedisSignal) -> None:
    with redis.Redis.from_url(valkey.address) as client:
        client.set("stream-ae:{pump}:worker:old", '{"worker": 3}')
        client.zadd("stream-ae:{pump}:workers", {"old": CLOCK.wall_ms()})
    assert signal.workers() == []


def test_a_wrong_password_is_said_without_saying_it(tmp_path: Path, valkey: Server) -> None:
    with redis.Redis.from_url(valkey.address) as client:
        client.config_set("requirepass", "right-one")
    for url in (valkey.address.replace("//", "//:s3cret-pw@"), valkey.address):
        with pytest.raises(TransientError, match=r"refuses the user or password: .*check redis\.url") as caught:
            _signal(url).desired()
        assert "s3cret-pw" not in _whole_text(caught.value)


@pytest.mark.parametrize("url", ["localhost:6379", "http://s3cret-pw@localhost", "redis://:s3cret-pw@host:port/0", ""])
def test_an_address_that_cannot_be_one_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url is not a Redis address") as caught:
        _signal(url)
    assert "s3cret-pw" not in _whole_text(caught.value)


def test_nobody_listening_is_a_transient_error_that_says_what_to_check() -> None:
    with pytest.raises(TransientError, match=r"Redis at 127.0.0.1:1 is not reached: .*redis\.url"):
        _signal("redis://:s3cret-pw@127.0.0.1:1/0").desired()


def test_a_held_lock_is_renewed(valkey: Server, signal: RedisSignal) -> None:
    with redis.Redis.from_url(valkey.address) as client, signal.lock("retrain", 0.5):
        client.pexpire("stream-ae:{pump}:lock:retrain", 60_000)
        assert _eventually(lambda: client.pttl("stream-ae:{pump}:lock:retrain") <= 500)


def test_a_dead_owners_lock_is_free_after_its_lease(valkey: Server, signal: RedisSignal) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    owner = context.Process(target=_hold_until_killed, args=(valkey.address, held))
    owner.start()
    assert held.wait(60)
    with pytest.raises(TransientError, match=rf"locked by .* process {owner.pid}"), signal.lock("retrain", 1.0):
        pytest.fail("two hold one lock")
    assert owner.pid is not None
    os.kill(owner.pid, signals.SIGKILL)
    owner.join()
    assert _eventually(lambda: _can_lock(signal))


def test_an_owner_that_slept_while_another_came_and_went_has_lost_the_lock(valkey: Server, signal: RedisSignal) -> None:
    key = "stream-ae:{pump}:lock:retrain"
    with redis.Redis.from_url(valkey.address) as client:

        def sleep_while_another_comes_and_goes() -> None:
            with signal.lock("retrain", 30.0) as lease:
                client.delete(key)
                with signal.lock("retrain", 30.0):
                    pass
                with pytest.raises(LockHeldError, match="asleep or cut off"):
                    signal.announce(DESIRED, lease)

        with pytest.raises(LockHeldError, match="asleep or cut off"):
            sleep_while_another_comes_and_goes()
        assert not client.exists(key)
    assert signal.desired() is None


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_its_owners(valkey: Server, signal: RedisSignal) -> None:
    with redis.Redis.from_url(valkey.address) as client, signal.lock("retrain", 30.0) as lease:
        client.delete("stream-ae:{pump}:lock:retrain")
        signal.announce(DESIRED, lease)
        client.flushall()
        signal.announce(DESIRED, lease)
    assert signal.desired() == DESIRED


def test_a_worker_whose_clock_is_days_ahead_or_behind_hides_nobody(valkey: Server, signal: RedisSignal) -> None:
    week_ms = 7 * 86_400_000
    skewed = [_signal(valkey.address, clock=ManualClock(CLOCK.wall_ms() + skew)) for skew in (week_ms, -week_ms)]
    for name, one in zip(("a", "b", "c"), (signal, *skewed), strict=True):
        one.report(WorkerStatus(name, Health.RUNNING, None, 0, 0), 60.0)
    for one in (signal, *skewed):
        assert [worker.worker for worker in one.workers()] == ["a", "b", "c"]
    for one in skewed:
        one.close()


def test_a_lock_that_somebody_else_took_meanwhile_is_reported_and_left_to_them(
    valkey: Server, signal: RedisSignal
) -> None:
    key = "stream-ae:{pump}:lock:retrain"
    clock = ManualClock()
    other = _signal(valkey.address, clock=clock)
    lock = other.lock("retrain", 30.0)
    with redis.Redis.from_url(valkey.address) as client:

        def hold_while_another_takes_it() -> None:
            with lock:
                client.set(key, "somebody else")
                clock.advance(10.0)
                assert _eventually(lambda: not any(thread.name == "lock" for thread in threading.enumerate()))

        with pytest.raises(TransientError, match="was taken by somebody while"):
            hold_while_another_takes_it()
        assert client.get(key) == b"somebody else"
    other.close()


def test_a_lock_outlives_a_server_that_comes_back_empty(valkey: Server, signal: RedisSignal) -> None:
    key = "stream-ae:{pump}:lock:retrain"
    with redis.Redis.from_url(valkey.address) as client, signal.lock("retrain", 0.3):
        client.flushall()
        assert _eventually(lambda: bool(client.exists(key)))


def _hold_until_killed(url: str, held: threading.Event) -> None:
    with _signal(url).lock("retrain", 1.0):
        held.set()
        threading.Event().wait()


def _can_lock(signal: RedisSignal) -> bool:
    try:
        with signal.lock("retrain", 1.0):
            return True
    except TransientError:
        return False


def _whole_text(error: StreamAEError) -> str:
    """The message and those of everything that it was raised from."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{error} {cause!r}"
