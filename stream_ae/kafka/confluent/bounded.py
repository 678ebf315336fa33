"""A time limit for calls of librdkafka that have none."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from confluent_kafka import cimpl

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import TransientError

T = TypeVar("T")


class BoundedCalls:
    """Runs one call at a time on a thread of its own and stops waiting for it after a while.

    `Consumer.commit(asynchronous=False)` takes no time limit and, with the brokers down, returns when they are back,
    be it tomorrow (librdkafka 2.16). Given up here it may still succeed later, which is harmless: its offsets were
    answered, and a group that has moved on refuses it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        threading.Thread(target=self._serve, name="kafka-bounded", daemon=True).start()

    @property
    def busy(self) -> bool:
        """A call that was given up has not returned yet."""
        return not self._idle.is_set()

    def run(self, call: Callable[[], T], timeout_s: float, doing: str) -> T:
        """`call()`; TransientError if it, or one given up before, has not returned within the time."""
        deadline = Deadline.after(self._clock, timeout_s)
        self._wait_for_idle(deadline, timeout_s, doing)
        results: list[T] = []
        errors: list[Exception] = []

        caller = threading.get_ident()

        def job() -> None:
            # A consumer lets one thread in at a time. Inside a rebalance callback that is the thread that polls, and
            # only who presents its identity (as the library's own AIOConsumer does) is let in too.
            cimpl._reentry_identity_var.set(caller)
            try:
                results.append(call())
            except Exception as error:  # noqa: BLE001  raised again on the thread that called
                errors.append(error)

        self._idle.clear()
        self._jobs.put(job)
        self._wait_for_idle(deadline, timeout_s, doing)
        if errors:
            raise errors[0]
        return results[0]

    def close(self) -> None:
        """End the thread when its last call returns."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._idle.set()

    def _wait_for_idle(self, deadline: Deadline, timeout_s: float, doing: str) -> None:
        if not self._clock.wait(self._idle, deadline.left_s()):
            raise TransientError(f"{doing}: no answer within {timeout_s:g} s; try again")
