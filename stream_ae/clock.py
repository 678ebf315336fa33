"""The only file that reads the clock; everything else is handed a `Clock` or a time."""

import threading
import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Time as the program sees it; tests hand in `stream_ae.testing.ManualClock`."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` has passed; true if it is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(max(timeout_s, 0.0))


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time that several steps share, so that their waits add up to one limit."""

    clock: Clock
    at_s: float

    @classmethod
    def after(cls, clock: Clock, timeout_s: float) -> "Deadline":
        return cls(clock, clock.monotonic_s() + timeout_s)

    def left_s(self) -> float:
        """Seconds left, 0.0 once it has passed."""
        return max(self.at_s - self.clock.monotonic_s(), 0.0)

    def passed(self) -> bool:
        return self.left_s() <= 0.0
