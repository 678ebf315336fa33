"""Announcing a version and watching the workers come up on it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from stream_ae.clock import Clock, Deadline
from stream_ae.ports import Desired, ModelSignal, WorkerStatus
from stream_ae.records import ModelIdentity

LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Rollout:
    """How an announcement went: who runs the version, who does not and what they say."""

    announced_ms: int
    on_it: tuple[WorkerStatus, ...]
    not_on_it: tuple[WorkerStatus, ...]

    @property
    def complete(self) -> bool:
        """True if no living worker runs something else; also when no worker is alive."""
        return not self.not_on_it

    @property
    def slowest_s(self) -> float:
        """From the announcement to the last worker's first batch on the version; 0.0 while none has answered one."""
        return max((max(w.first_batch_ms - self.announced_ms, 0) for w in self.on_it), default=0) / 1000


def roll_out(
    signal: ModelSignal,
    model: ModelIdentity,
    reason: str,
    clock: Clock,
    timeout_s: float,
    watch: Callable[[Rollout], None] | None = None,
) -> Rollout:
    """Announce `model` and wait until every living worker reports its digest, at most `timeout_s`.

    A worker that stops reporting meanwhile is not waited for. `watch` hears of every look.
    """
    announced_ms = clock.wall_ms()
    signal.announce(Desired(model, announced_ms, reason))
    deadline = Deadline.after(clock, timeout_s)
    never = threading.Event()
    while True:
        rollout = _look(signal, model, announced_ms)
        if watch is not None:
            watch(rollout)
        if rollout.complete or deadline.passed():
            return rollout
        clock.wait(never, min(LOOK_EVERY_S, deadline.left_s()))


def _look(signal: ModelSignal, model: ModelIdentity, announced_ms: int) -> Rollout:
    on_it: list[WorkerStatus] = []
    not_on_it: list[WorkerStatus] = []
    for worker in signal.workers():
        runs_it = worker.model is not None and worker.model.digest == model.digest
        (on_it if runs_it else not_on_it).append(worker)
    return Rollout(announced_ms, tuple(on_it), tuple(not_on_it))
