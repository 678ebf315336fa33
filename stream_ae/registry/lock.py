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
from stream_ae.registry.connection import bounded
from stream_ae.telemetry import Log

log = Log("registry.lock")

# Each is one step in Redis: nobody else's lease is ever renewed or deleted.
ACQUIRE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1, redis.call('INCR', KEYS[2])} end
return {0, redis.call('GET', KEYS[1])}
"""
# A lease that ran out while Redis was away, and that nobody took, is ours again.
RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
RENEWALS_PER_LEASE = 3


class RedisLock:
    """A context manager; see `ports.ModelSignal.lock`.

    `fence` grows with every owner: who writes elsewhere under this lock can pass it on, so that a stale owner is told.
    Leaving the block raises TransientError if somebody else took the lock meanwhile (Redis was away for longer than
    the lease): then two may have done the same work.
    """

    def __init__(self, client: redis.Redis, key: str, lease_s: float, clock: Clock, where: str) -> None:
        self.fence = 0
        self._client = client
        self._key = key
        self._lease_ms = max(round(lease_s * 1000), 1)
        self._clock = clock
        self._where = where
        self._owner = f"{socket.gethostname()} process {os.getpid()} {uuid.uuid4().hex}"
        self._released = threading.Event()
        self._lost = False
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> None:
        with bounded(self._where, f"lock {self._key} not taken"):
            taken, answer = self._run(ACQUIRE, self._key, f"{self._key}:fence")
        if not taken:
            holder = answer.decode().rpartition(" ")[0]
            raise LockHeldError(
                f"{self._key} is locked by {holder}: wait until it has finished; {self._lease_ms / 1000:g} s after its "
                "death the lock is free"
            )
        self.fence = answer
        # A daemon: an owner that is torn down without leaving the block must not be kept alive by its lease.
        self._renewing = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._renewing.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._renewing is not None:
            self._renewing.join()
        try:
            with bounded(self._where, f"lock {self._key} not released; it frees itself"):
                self._run(RELEASE, self._key)
        except TransientError as failure:
            log.warning("lock not released", reason=str(failure))
        if self._lost and error is None:
            raise TransientError(
                f"{self._key} was taken by somebody else while {self._where} was away: both may have done the same"
            )

    def _renew(self) -> None:
        while not self._clock.wait(self._released, self._lease_ms / 1000 / RENEWALS_PER_LEASE):
            try:
                with bounded(self._where, f"lock {self._key} not renewed"):
                    kept = self._run(RENEW, self._key)
            except TransientError as failure:
                log.warning("lock not renewed", reason=str(failure))
                continue
            if not kept:
                self._lost = True
                log.error("lock lost", key=self._key)
                return

    def _run(self, script: str, *keys: str) -> Any:
        return self._client.eval(script, len(keys), *keys, self._owner, self._lease_ms)
