"""The outside world on one page: where records come from and go to, where models live, how workers hear of them.

Each port has two or more real implementations (`kafka/`, `registry/`) and a fake (`stream_ae.testing`); one contract
suite in `tests/contracts` runs on all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream_ae.records import ModelIdentity, ModelVersion, OutgoingBatch, Partition, Position, RecordBatch
from stream_ae.status import WorkerStatus


class AssignmentListener(Protocol):
    """What a source tells its owner; called on the thread that polls, from inside `poll` or `close`."""

    def on_assigned(self, committed: Mapping[Partition, Position | None]) -> Mapping[Partition, int]:
        """These partitions are ours from now on, with what the group last committed (None = nothing).

        Returns where to start reading, for the partitions that should start elsewhere than at the committed offset
        (to rebuild windows from the rewind offset). Offsets that retention has deleted become the oldest there is.
        """
        ...

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """These go to another worker; the source still accepts commits for them until this returns."""
        ...

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """These already belong to somebody else: commit nothing, forget them."""
        ...


class RecordSource(Protocol):
    """A consumer group's view of the raw topic. Used from one thread; never commits by itself."""

    def subscribe(self, topic: str, listener: AssignmentListener) -> None: ...

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        """At most `max_records` records, as soon as there are any; an empty batch after `timeout_s`.

        Raises TransientError when no broker answers (the caller polls again), ConfigError when the topic is gone or
        reading it is forbidden.
        """
        ...

    def commit(self, positions: Mapping[Partition, Position]) -> None:
        """Commit synchronously, with metadata. Raises TransientError if the group did not take it."""
        ...

    def pause(self, partitions: Sequence[Partition]) -> None: ...

    def resume(self, partitions: Sequence[Partition]) -> None: ...

    def lag(self) -> Mapping[Partition, int]:
        """Records between the read position and the end of each assigned partition, from what is known locally."""
        ...

    def begins(self, partitions: Sequence[Partition], timeout_s: float) -> Mapping[Partition, int]:
        """The oldest offset that each partition still holds, or its end where it holds nothing: asks the brokers.

        Everything before it has been deleted; above it, offsets without a record are natural (compaction,
        transactions). Raises TransientError when no broker says so within `timeout_s`.
        """
        ...

    def close(self) -> None:
        """Leave the group (the listener hears `on_revoked` first)."""
        ...


class TransactionalSource(RecordSource, Protocol):
    """A source whose offsets are committed by a `TransactionalSink`, together with the outputs."""

    def membership(self) -> object:
        """Who this member is at this moment, for `TransactionalSink.send_offsets`: ask anew for every transaction.

        A member that the group has meanwhile put out is refused by it. Opaque.
        """
        ...

    def go_back(self) -> None:
        """Read on from what the group last committed, in every partition that is ours.

        The listener hears `on_assigned` for all of them again and says where to start, as the first time; what was
        polled before does not count. Raises TransientError if the committed offsets cannot be had: nothing has
        changed then, call it again.
        """
        ...


class RecordSink(Protocol):
    """Idempotent producer. Used from one thread."""

    def produce(self, batch: OutgoingBatch) -> None:
        """Queue a batch; waits while the queue is full. Raises DeliveryError once an earlier record has failed."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Return when the brokers have acknowledged everything produced so far; DeliveryError if they did not."""
        ...

    def close(self) -> None: ...


class TransactionalSink(RecordSink, Protocol):
    """Producer whose records count together with the input offsets, or not at all. One process at a time has its
    name: opening it again elsewhere aborts what this one left open and puts it out of service.

    The order of calls: `begin`, `produce` as often as wanted, then `send_offsets` and `commit`, or `abort`. Each but
    `begin` repeats what may be repeated for up to `timeout_s`. They raise TransactionError when the transaction must
    be aborted, RestartError when another process has the name or the outcome cannot be known: only a new sink can go
    on then.
    """

    def begin(self) -> None: ...

    def send_offsets(self, positions: Mapping[Partition, Position], membership: object, timeout_s: float) -> None:
        """Commit these for the group of `membership` when, and only when, the transaction is committed."""
        ...

    def commit(self, timeout_s: float) -> None:
        """All that was produced is acknowledged, and visible to readers of committed records."""
        ...

    def abort(self, timeout_s: float) -> None:
        """Nothing of it will ever be visible; `begin` can follow."""
        ...

    def close(self) -> None:
        """An open transaction is aborted, so that its readers need not wait for its time-out."""
        ...


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets [begin, end) of one partition."""

    partition: Partition
    begin: int
    end: int


class RecordReader(Protocol):
    """Bounded reads outside any consumer group: retraining, audit, tail. Commits nothing."""

    def ranges(self, topic: str, start_ms: int | None = None, end_ms: int | None = None) -> list[OffsetRange]:
        """What each partition holds now, or the part of it with Kafka time in [start_ms, end_ms)."""
        ...

    def read(self, ranges: Sequence[OffsetRange], max_records: int = 10_000) -> Iterator[RecordBatch]:
        """Every record of the ranges once, in batches, in offset order within a partition.

        Ends when all ranges are read (offsets that compaction or transactions left out are passed over); raises
        TransientError when the brokers stop answering.
        """
        ...

    def close(self) -> None: ...


class ModelStore(Protocol):
    """Where version folders live and which one is champion: the durable truth. Names versions, knows no networks."""

    def register(
        self,
        folder: Path,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        pictures: Mapping[str, bytes] | None = None,
        description: str = "",
    ) -> ModelVersion:
        """Store a version folder under the next version. The folder's digest is recorded with it.

        pictures: files by name that are shown beside the metrics, not part of the version."""
        ...

    def versions(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        ...

    def champion(self) -> ModelVersion | None:
        """The version that carries the alias `champion`; None before the first promotion."""
        ...

    def promote(self, version: str) -> ModelVersion:
        """Move the alias `champion`. Raises ModelError for a version that does not exist."""
        ...

    def tag(self, version: str, tags: Mapping[str, str], description: str = "") -> None:
        """Add to what is said of a version; a description replaces the one before, an empty one does not.

        Raises ModelError for a version that does not exist.
        """
        ...

    def fetch(self, version: str, destination: Path) -> Path:
        """Copy a version's folder to `destination` (created) and return it; TransientError if the store is away."""
        ...


@dataclass(frozen=True, slots=True)
class Desired:
    """Which version workers shall run, by digest; `announced_ms` is when somebody said so.

    instead_of: the digest of the version that this announcement takes out of service for good (a rollback), else "".
    """

    model: ModelIdentity
    announced_ms: int
    reason: str = ""
    instead_of: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Of a named lock: whose it is."""

    name: str
    owner: str


class ModelSignal(Protocol):
    """What shall run now, and what does. A key is the truth here, the nudge only shortens the wait."""

    def desired(self) -> Desired | None: ...

    def announce(self, desired: Desired, lease: Lease | None = None) -> None:
        """Write the desired version, append it to the event log and nudge the workers, in one step.

        With a lease, LockHeldError and nothing written if somebody else has taken its lock since, in the same step.
        """
        ...

    def replace(self, digest: str, desired: Desired) -> bool:
        """Announce if the version of this digest ("" = none) is still the desired one, in one step; whether it was."""
        ...

    def withdraw(self) -> None:
        """From now on nothing is desired; nudge the workers, in one step."""
        ...

    def subscribe(self) -> None:
        """Start listening for nudges; call it before the first `desired`, so that none falls between."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for a nudge; true if there was one, and after a reconnect too: something may have been missed."""
        ...

    def report(self, status: WorkerStatus, expires_s: float) -> None: ...

    def workers(self) -> list[WorkerStatus]:
        """Those whose status has not expired, by name."""
        ...

    def history(self, limit: int = 100) -> list[Desired]:
        """Announcements, newest first."""
        ...

    def lock(self, name: str, lease_s: float) -> AbstractContextManager[Lease]:
        """Hold a named lock, renewed while held, freed `lease_s` after its owner's death.

        Raises LockHeldError at once if somebody else holds it, and at the end of the block if somebody else has taken
        it meanwhile: an owner that is asleep, or cut off, for longer than its lease cannot hold it.
        """
        ...

    def check(self, lease: Lease) -> None:
        """Before a step elsewhere that must not be a stale owner's: LockHeldError if somebody took the lock since."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a scheduled job. ended_ms: 0 while it is under way, and for ever if its scheduler was killed."""

    job: str
    begun_ms: int
    ended_ms: int = 0
    exit_code: int = 0


class JobHistory(Protocol):
    """When scheduled jobs ran and how they ended: what a scheduler that starts again makes up for is told from it.

    Every call raises TransientError when the server is away.
    """

    def note(self, run: JobRun) -> None:
        """Write a run down; the same job and begin again replaces it. The oldest of many runs are forgotten."""
        ...

    def runs(self, limit: int = 100) -> list[JobRun]:
        """Newest first."""
        ...


@dataclass(frozen=True, slots=True)
class DeployedRun:
    """Where the time in service of one version is written; `began_ms` is when it came into service first."""

    id: str
    began_ms: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics at one time."""

    at_ms: int
    metrics: Mapping[str, float]


class RunLog(Protocol):
    """One run per deployed version, for people to look at. One writer at a time.

    Every call raises TransientError when the server is away, ModelError when it refuses what it is given: then the run
    may have been deleted, `open` it again.
    """

    def open(self, version: ModelIdentity, at_ms: int) -> DeployedRun:
        """The run of the version with this digest, begun at `at_ms` if there is none; in service from now on."""
        ...

    def write(self, run: DeployedRun, points: Sequence[Point]) -> None:
        """Add points; the same ones again change nothing."""
        ...

    def tag(self, run: DeployedRun, name: str, value: str) -> None:
        """Set a tag; an empty value takes it away."""
        ...

    def picture(self, run: DeployedRun, name: str, png: bytes) -> None:
        """Keep a PNG with the run, as `name`, which may begin with folders; the same name again replaces it."""
        ...

    def close(self, run: DeployedRun) -> None:
        """The version is out of service, until it is opened again."""
        ...
