"""The desired version in Redis: a key, a nudge, a log of announcements, and what workers say of themselves."""

from contextlib import AbstractContextManager
from typing import Any

import msgspec
import redis
from redis.client import PubSub

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import TransientError
from stream_ae.ports import Desired, Lease
from stream_ae.registry.connection import address, bounded, connect
from stream_ae.registry.lock import HELD, OTHER, RedisLock, last_owner, lost, new_owner
from stream_ae.settings import RedisSettings
from stream_ae.status import WorkerStatus
from stream_ae.telemetry import Log

log = Log("registry.signal")

HISTORY_LENGTH = 1000
# A worker that has not reported for this long is struck off the list; its status expired long before.
FORGET_AFTER_MS = 86_400_000

# One step, so that nobody sees a key without its announcement or is nudged before the key is there.
# KEYS: desired, announced, nudge; ARGV: the announcement, how many are kept.
ANNOUNCE = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'desired', ARGV[1])
redis.call('PUBLISH', KEYS[3], 'announced')
"""
# KEYS[4], KEYS[5]: a lock; ARGV[3]: who must not have lost it.
ANNOUNCE_UNDER_LOCK = f"""{OTHER}
local taken = other(KEYS[4], KEYS[5], ARGV[3])
if taken then return taken end
{ANNOUNCE}
return false
"""
# ARGV[3]: the digest that must still be desired, '' = none.
REPLACE = f"""
local now = redis.call('GET', KEYS[1])
if (now and cjson.decode(now)['model']['digest'] or '') ~= ARGV[3] then return 0 end
{ANNOUNCE}
return 1
"""
WITHDRAW = """
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[2], 'withdrawn')
"""
# By the server's clock: one worker whose own is days ahead would strike all others off.
REPORT = """
local now_ms = redis.call('TIME')[1] * 1000
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now_ms, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - ARGV[4])
"""


class RedisSignal:
    """Implements `ports.ModelSignal`. One method call is one bounded round trip; RedisError becomes TransientError.

    Safe to share between threads, but `subscribe` and `wait` belong to one of them.
    """

    def __init__(self, settings: RedisSettings, pipeline: str, clock: Clock) -> None:
        self._clock = clock
        client = connect(settings)
        # redis-py types each answer for all protocols and modes at once, which says nothing.
        self._client: Any = client
        self._where = address(client)
        # The braces keep all keys of a pipeline on one node of a Redis Cluster, as a script needs them.
        self._prefix = f"stream-ae:{{{pipeline}}}:"
        self._pubsub: PubSub | None = None

    def desired(self) -> Desired | None:
        key = self._key("desired")
        with self._bounded("desired version not read"):
            value = self._client.get(key)
        return self._decoded(value, key) if value is not None else None

    def announce(self, desired: Desired, lease: Lease | None = None) -> None:
        with self._bounded("version not announced"):
            if lease is None:
                self._announce(ANNOUNCE, desired)
                return
            lock = self._key(f"lock:{lease.name}")
            taken = self._announce(ANNOUNCE_UNDER_LOCK, desired, (lock, last_owner(lock)), (lease.owner,))
        if taken:
            raise lost(lock, taken, self._where)

    def replace(self, digest: str, desired: Desired) -> bool:
        with self._bounded("version not announced"):
            return bool(self._announce(REPLACE, desired, given=(digest,)))

    def withdraw(self) -> None:
        with self._bounded("version not withdrawn"):
            self._client.eval(WITHDRAW, 2, self._key("desired"), self._key("nudge"))

    def _announce(self, script: str, desired: Desired, keys: tuple[str, ...] = (), given: tuple[str, ...] = ()) -> Any:
        named = [self._key("desired"), self._key("announced"), self._key("nudge"), *keys]
        return self._client.eval(script, len(named), *named, msgspec.json.encode(desired), HISTORY_LENGTH, *given)

    def subscribe(self) -> None:
        if self._pubsub is not None:
            return
        with self._bounded("not listening for announcements"):
            self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            try:
                self._pubsub.subscribe(self._key("nudge"))
            except redis.RedisError:
                self._unsubscribe()
                raise

    def wait(self, timeout_s: float) -> bool:
        if self._pubsub is None:
            self.subscribe()
            return True
        deadline = Deadline.after(self._clock, timeout_s)
        with self._bounded("not listening for announcements"):
            try:
                while True:
                    if self._pubsub.get_message(timeout=deadline.left_s()) is not None:
                        return True
                    if deadline.passed():
                        return False
            except redis.RedisError:
                # The next wait subscribes anew and says true: what was announced meanwhile has been missed.
                self._unsubscribe()
                raise

    def report(self, status: WorkerStatus, expires_s: float) -> None:
        keys = [self._key(f"worker:{status.worker}"), self._key("workers")]
        given = msgspec.json.encode(status), round(expires_s * 1000), status.worker, FORGET_AFTER_MS
        with self._bounded("status not written"):
            self._client.eval(REPORT, len(keys), *keys, *given)

    def workers(self) -> list[WorkerStatus]:
        with self._bounded("workers not read"):
            names = sorted(name.decode() for name in self._client.zrange(self._key("workers"), 0, -1))
            if not names:
                return []
            values = self._client.mget([self._key(f"worker:{name}") for name in names])
        found = zip(names, values, strict=True)
        return [status for name, value in found if value and (status := self._status(name, value)) is not None]

    def history(self, limit: int = 100) -> list[Desired]:
        key = self._key("announced")
        with self._bounded("announcements not read"):
            entries = self._client.xrevrange(key, count=limit)
        return [self._decoded(fields[b"desired"], key) for _, fields in entries]

    def lock(self, name: str, lease_s: float) -> RedisLock:
        lease = Lease(name, new_owner())
        return RedisLock(self._client, self._key(f"lock:{name}"), lease, lease_s, self._clock, self._where)

    def check(self, lease: Lease) -> None:
        lock = self._key(f"lock:{lease.name}")
        with self._bounded(f"lock {lock} not looked at"):
            taken = self._client.eval(HELD, 2, lock, last_owner(lock), lease.owner)
        if taken:
            raise lost(lock, taken, self._where)

    def close(self) -> None:
        self._unsubscribe()
        self._client.close()

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _unsubscribe(self) -> None:
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None

    def _bounded(self, what: str) -> AbstractContextManager[None]:
        return bounded(self._where, what)

    def _decoded(self, value: bytes, key: str) -> Desired:
        try:
            return msgspec.json.decode(value, type=Desired)
        except msgspec.DecodeError as error:
            raise TransientError(
                f"key {key} in {self._where} does not hold an announcement ({error}): announce a version again with "
                "`stream-ae models promote`"
            ) from error

    def _status(self, name: str, value: bytes) -> WorkerStatus | None:
        try:
            return msgspec.json.decode(value, type=WorkerStatus)
        except msgspec.DecodeError as error:
            log.warning("status not readable", worker=name, reason=str(error))
            return None
