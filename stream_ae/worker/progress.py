"""Where the loop is and what waits for it: written by the threads that work, read by the watchdog."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from stream_ae.clock import Clock
from stream_ae.records import Partition


class Stage(StrEnum):
    """What a worker does, the last of it first: whatever holds a stage up stands before it."""

    COMMIT = "commit"
    SINK = "sink"
    MODEL = "model"
    FETCH = "fetch"
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stage that has something to do: a call that has not returned, or work that none has been done of."""

    stage: Stage
    since_s: float
    in_call: bool


class Progress:
    """Since when each stage has had something to do without getting anywhere. Thread-safe.

    reached: the next offset to read of each assigned partition, once something has been read of it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: dict[Stage, float] = {}
        self._owed: dict[Stage, float] = {}
        self.reached: Mapping[Partition, int] = {}

    @contextmanager
    def within(self, stage: Stage) -> Iterator[None]:
        """A call that may block."""
        with self._lock:
            self._calls[stage] = self._clock.monotonic_s()
        try:
            yield
        finally:
            with self._lock:
                self._calls.pop(stage, None)

    def owed(self, stage: Stage) -> None:
        """Something waits to be done, since now if nothing did before."""
        with self._lock:
            self._owed.setdefault(stage, self._clock.monotonic_s())

    def done(self, stage: Stage) -> None:
        """Some of it has been done, or nothing waits any more."""
        with self._lock:
            self._owed.pop(stage, None)

    def turned(self) -> None:
        """The loop has come round, and owes the next turn."""
        with self._lock:
            self._owed[Stage.LOOP] = self._clock.monotonic_s()

    def calling(self, stage: Stage) -> bool:
        """A call of this stage has not returned yet."""
        with self._lock:
            return stage in self._calls

    def waiting(self) -> list[Waiting]:
        """Every stage that has something to do; one that is in a call and owes something is there twice."""
        with self._lock:
            calls = [Waiting(stage, since_s, in_call=True) for stage, since_s in self._calls.items()]
            return calls + [Waiting(stage, since_s, in_call=False) for stage, since_s in self._owed.items()]
