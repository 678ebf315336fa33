"""A lease in Redis: held as long as its owner lives and reaches Redis, free soon after."""

import os
import socket
import threading
import uuid
from types import TracebackType
from typing import Any

import redis

from stream_ae.clock import Clock
from stream_ae.errors import LockHeldError, TransientError
from stream_ae.ports import Lease
from stream_ae.registry.connection import bounded
from stream_ae.telemetry import Log

log = Log("registry.lock")

# Each is one step in Redis: nobody else's lease is ever renewed or deleted.
# KEYS: the lock, and who took it last. That outlives the lease: an owner that slept while another one came and went
# finds the lock free, and must not take it for its own. A wiped Redis knows neither: then nobody took it.
ACQUIRE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('GET', KEYS[1]) end
redis.call('SET', KEYS[2], ARGV[1])
return false
"""
OTHER = """
local function other(lock, last, owner)
  local holder = redis.call('GET', lock) or redis.call('GET', last)
  return holder and holder ~= owner and holder
end
"""
HELD = f"{OTHER} return other(KEYS[1], KEYS[2], ARGV[1])"
RENEW = f"""{OTHER}
local taken = other(KEYS[1], KEYS[2], ARGV[1])
if taken then return taken end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return false
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
RENEWALS_PER_LEASE = 3


class RedisLock:
    """A context manager; see `ports.ModelSignal.lock`."""

    def __init__(self, client: redis.Redis, key: str, lease: Lease, lease_s: float, clock: Clock, where: str) -> None:
        self._client = client
        self._key = key
        self._lease = lease
        self._lease_ms = max(round(lease_s * 1000), 1)
        self._clock = clock
        self._where = where
        self._released = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Lease:
        with bounded(self._where, f"lock {self._key} not taken"):
            holder = self._run(ACQUIRE)
        if holder:
            raise LockHeldError(
                f"{self._key} is locked by {_named(holder)}: wait until it has finished; {self._lease_ms / 1000:g} s "
                "after its death the lock is free"
            )
        # A daemon: an owner that is torn down without leaving the block must not be kept alive by its lease.
        self._renewing = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._renewing.start()
        return self._lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._renewing is not None:
            self._renewing.join()
        try:
            if error is None:
                self.check()
            with bounded(self._where, f"lock {self._key} not released; it frees itself"):
                self._run(RELEASE)
        except LockHeldError:
            raise
        except TransientError as failure:
            log.warning("lock not released", reason=str(failure))

    def check(self) -> None:
        """Renew the lease. Raises LockHeldError if somebody else has taken the lock meanwhile."""
        with bounded(self._where, f"lock {self._key} not renewed"):
            taken = self._run(RENEW)
        if taken:
            raise lost(self._key, taken, self._where)

    def _renew(self) -> None:
        while not self._clock.wait(self._released, self._lease_ms / 1000 / RENEWALS_PER_LEASE):
            try:
                self.check()
            except LockHeldError as failure:
                log.error("lock lost", reason=str(failure))
                return
            except TransientError as failure:
                log.warning("lock not renewed", reason=str(failure))

    def _run(self, script: str) -> Any:
        return self._client.eval(script, 2, self._key, last_owner(self._key), self._lease.owner, self._lease_ms)


def new_owner() -> str:
    """Tells this process from all others, and this lease from all its others."""
    return f"{socket.gethostname()} process {os.getpid()} {uuid.uuid4().hex}"


def last_owner(key: str) -> str:
    """The key that says who took the lock last."""
    return f"{key}:last"


def lost(key: str, taken: bytes, where: str) -> LockHeldError:
    """What an owner is told that slept, or was cut off, for longer than its lease."""
    return LockHeldError(
        f"{key} was taken by {_named(taken)} while this process was asleep or cut off from {where} for longer than its "
        "lease: it leaves everything as that one has it"
    )


def _named(owner: bytes) -> str:
    return owner.decode().rpartition(" ")[0]
