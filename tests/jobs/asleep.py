"""A job that falls asleep in the middle of its work, for longer than its lease."""

from typing import Any

from stream_ae.ports import ModelSignal
from stream_ae.records import ModelVersion
from stream_ae.testing import InMemoryRedis, InMemoryStore, ManualClock


class AsleepWhenItRegisters(InMemoryStore):
    """Meanwhile another owner takes the lock of that name, and gives it back."""

    def __init__(self, clock: ManualClock, redis: InMemoryRedis, others: ModelSignal, lock: str) -> None:
        super().__init__(clock)
        self._redis, self._others, self._name_of_lock = redis, others, lock

    def register(self, *given: Any, **named: Any) -> ModelVersion:
        self._redis.expire_leases()
        with self._others.lock(self._name_of_lock, 30.0):
            return super().register(*given, **named)
