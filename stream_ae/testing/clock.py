"""A clock that a test moves."""

import threading


class ManualClock:
    """Implements `stream_ae.clock.Clock`; time stands still until `advance`.

    A thread in `wait` goes on when its event is set or when `advance` has reached its time. With `moves_itself`, for
    tests with a single thread, `wait` on an event that is not set moves the clock to the end of the wait and returns.

    >>> clock = ManualClock(wall_ms=1_000)
    >>> clock.advance(2.5)
    >>> clock.wall_ms(), clock.monotonic_s()
    (3500, 2.5)
    """

    def __init__(self, wall_ms: int = 1_700_000_000_000, *, moves_itself: bool = False) -> None:
        self._start_ms = wall_ms
        self._now_s = 0.0
        self._moves_itself = moves_itself
        self._moved = threading.Condition()

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_ms(self) -> int:
        return self._start_ms + round(self._now_s * 1000)

    def advance(self, seconds: float) -> None:
        """Move time forward and wake everybody who waits for it."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        with self._moved:
            self._now_s += seconds
            self._moved.notify_all()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        until_s = self._now_s + timeout_s
        if self._moves_itself and not event.is_set():
            self.advance(max(timeout_s, 0.0))
        with self._moved:
            # An event cannot notify a condition, so it is looked at now and then; time is not.
            while not event.is_set() and self._now_s < until_s:
                self._moved.wait(0.005)
        return event.is_set()
