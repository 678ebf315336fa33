"""Lets kafka-python's rebalance callbacks run on the polling thread, where they may commit."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from kafka import TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.future import Future

T = TypeVar("T")
Call = Callable[[], None]


class Bridge:
    """Runs blocking calls on a thread of its own and, meanwhile, what they call back on the thread that called.

    kafka-python 3.0 runs rebalance listeners on its input-output thread, where a synchronous commit raises, while the
    thread that polls is blocked. But it accepts coroutines, and while one waits its loop goes on turning: so the
    listener waits, and the thread that polls, waiting here instead of in the library, does the work and commits.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Call | None] = SimpleQueue()
        self._for_caller: SimpleQueue[Call] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="kafka-python-poll", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T]) -> T:
        """`call()`, on the bridge's thread."""
        results: list[T] = []
        errors: list[BaseException] = []
        done: list[bool] = []

        def job() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001  raised again on the thread that called
                errors.append(error)
            self._for_caller.put(partial(done.append, True))

        self._jobs.put(job)
        # An interrupted run leaves its call behind; what that still asks for is answered here, in order.
        while not done:
            self._for_caller.get()()
        if errors:
            raise errors[0]
        return results[0]

    async def on_caller(self, net: Any, call: Call) -> None:
        """Wait, on the library's loop `net`, until the thread inside `run` has run `call`."""
        finished = Future()

        def called() -> None:
            try:
                call()
            finally:
                net.call_soon_with_future(finished.success, None)

        self._for_caller.put(called)
        await finished

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class BridgedListener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Hands each callback to the thread that polls."""

    def __init__(self, bridge: Bridge, net: Any, handlers: "Handlers") -> None:
        self._bridge = bridge
        self._net = net
        self._handlers = handlers

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._bridge.on_caller(self._net, partial(self._handlers.assigned, sorted(assigned)))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._bridge.on_caller(self._net, partial(self._handlers.revoked, sorted(revoked)))

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        await self._bridge.on_caller(self._net, partial(self._handlers.lost, sorted(lost)))


class Handlers:
    """What to do on the polling thread; must not raise."""

    def __init__(
        self,
        assigned: Callable[[Sequence[TopicPartition]], None],
        revoked: Callable[[Sequence[TopicPartition]], None],
        lost: Callable[[Sequence[TopicPartition]], None],
    ) -> None:
        self.assigned = assigned
        self.revoked = revoked
        self.lost = lost
