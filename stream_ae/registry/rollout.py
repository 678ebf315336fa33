"""Announcing a version and watching the workers come up on it."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from stream_ae.clock import Clock, Deadline
from stream_ae.ports import Desired, Lease, ModelSignal, ModelStore
from stream_ae.records import ModelIdentity, ModelVersion
from stream_ae.status import Health, WorkerStatus

LOOK_EVERY_S = 0.25
ROLLED_BACK: Final = "stream_ae.rolled_back"
"""Tag of a version that its workers did not stay well on: why."""


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
    desired: Desired,
    clock: Clock,
    timeout_s: float,
    lease: Lease | None = None,
    watch: Callable[[Rollout], None] | None = None,
) -> Rollout:
    """Announce a version and wait until every living worker reports its digest, at most `timeout_s`.

    A worker that stops reporting meanwhile is not waited for. `watch` hears of every look. With a lease, LockHeldError
    and nothing announced if its owner is a stale one.
    """
    signal.announce(desired, lease)
    deadline = Deadline.after(clock, timeout_s)
    never = threading.Event()
    while True:
        rollout = _look(signal, desired.model, desired.announced_ms)
        if watch is not None:
            watch(rollout)
        if rollout.complete or deadline.passed():
            return rollout
        clock.wait(never, min(LOOK_EVERY_S, deadline.left_s()))


def roll_back(
    store: ModelStore, signal: ModelSignal, to: Desired, clock: Clock, timeout_s: float, lease: Lease | None = None
) -> Rollout:
    """Put the version of `to` back for the one that it names in `instead_of`.

    The workers first: MLflow may be away, and a version that does harm must not wait for it. While the alias is still
    on that version, `unfinished` tells.
    """
    rollout = roll_out(signal, to, clock, timeout_s, lease)
    finish_rollback(store, signal)
    return rollout


def unfinished(champion: ModelVersion, desired: Desired) -> bool:
    """Whether the alias is still on a version that was rolled back. One that a person puts it on again is tagged."""
    return desired.instead_of == champion.digest and ROLLED_BACK not in champion.tags


def rolled_back(version: ModelVersion, desired: Desired | None) -> str | None:
    """Why this version was taken out of service, if it was; MLflow may have been away when that should be noted."""
    if ROLLED_BACK in version.tags:
        return version.tags[ROLLED_BACK]
    return desired.reason if desired is not None and desired.instead_of == version.digest else None


def finish_rollback(store: ModelStore, signal: ModelSignal) -> ModelVersion | None:
    """Move the alias in MLflow where a rollback could not, because MLflow was away; the version it is on then."""
    champion, desired = store.champion(), signal.desired()
    if champion is None or desired is None or not unfinished(champion, desired):
        return None
    back = store.promote(desired.model.version)
    told = "; ".join(filter(None, (desired.reason, champion.description)))
    store.tag(champion.version, {ROLLED_BACK: desired.reason}, told)
    return back


def _look(signal: ModelSignal, model: ModelIdentity, announced_ms: int) -> Rollout:
    on_it: list[WorkerStatus] = []
    not_on_it: list[WorkerStatus] = []
    for worker in signal.workers():
        (on_it if _is_on(worker, model) else not_on_it).append(worker)
    return Rollout(announced_ms, tuple(on_it), tuple(not_on_it))


@dataclass(frozen=True, slots=True)
class Healthy:
    """What workers on a new version must keep to while it is watched.

    flagged_share:  of the records answered meanwhile at most so many carry an anomaly,
    dead_share:     and at most so many became dead letters, or twice the share that did before, where that is more:
                    what cannot be read is hardly the version's fault,
    records:        once there are so many of them.
    """

    flagged_share: float
    dead_share: float
    records: int = 200


def watch(signal: ModelSignal, model: ModelIdentity, clock: Clock, watch_s: float, healthy: Healthy) -> str | None:
    """Watch the workers that are on `model` for so long. Returns what is wrong as soon as something is, else None.

    Without a worker there is nothing to watch.
    """
    before = {worker.worker: worker for worker in signal.workers() if _is_on(worker, model)}
    if not before:
        return None
    deadline, never = Deadline.after(clock, watch_s), threading.Event()
    while not deadline.passed():
        clock.wait(never, min(LOOK_EVERY_S, deadline.left_s()))
        wrong = _wrong(before, {worker.worker: worker for worker in signal.workers()}, model, healthy)
        if wrong is not None:
            return wrong
    return None


def _wrong(
    before: Mapping[str, WorkerStatus], now: Mapping[str, WorkerStatus], model: ModelIdentity, healthy: Healthy
) -> str | None:
    records = flagged = dead = 0
    dead_share = max(healthy.dead_share, 2 * _dead_share(before.values(), healthy.records))
    for name, then in before.items():
        worker = now.get(name)
        if worker is None or worker.started_ms != then.started_ms:
            return f"worker {name} has died or was started again"
        if worker.health == Health.STALLED:
            return f"worker {name} has stalled: {'; '.join(worker.problems)}"
        if not _is_on(worker, model):
            return f"worker {name} does not run it any more: {'; '.join(worker.problems) or worker.health}"
        records += worker.records - then.records
        flagged += worker.flagged - then.flagged
        dead += worker.dead_letters - then.dead_letters
    if records < healthy.records:
        return None
    if flagged > healthy.flagged_share * records:
        return f"{flagged / records:.0%} of {records} records were flagged, at most {healthy.flagged_share:.0%} may be"
    if dead > dead_share * records:
        return f"{dead / records:.0%} of {records} records became dead letters, at most {dead_share:.0%} may"
    return None


def _dead_share(workers: Collection[WorkerStatus], enough: int) -> float:
    """Of the records since the workers started; 0 while there are not `enough` to tell."""
    records = sum(worker.records for worker in workers)
    return sum(worker.dead_letters for worker in workers) / records if records >= enough else 0.0


def _is_on(worker: WorkerStatus, model: ModelIdentity) -> bool:
    return worker.model is not None and worker.model.digest == model.digest
