"""Kafka in memory: the record ports on a broker that lives in the test, with the faults that a test wants.

    broker = InMemoryBroker()
    broker.create_topic("raw", partitions=2)
    source, sink = InMemorySource(broker, group="g"), InMemorySink(broker)

Sources of one group share partitions and hand them over as Kafka does: the old owner is told at its next poll and
may commit, then the new one. `InMemoryBroker.away`, `fail_next_flush`, `fail_next_commit`, `refuse` and
`InMemorySource.expire` make trouble. The same contract tests hold for these and for the real clients. The sink for
exactly-once is `testing.transactions.InMemoryTransactionalSink`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from stream_ae.errors import DeliveryError, InvariantError, TransientError
from stream_ae.ports import AssignmentListener, OffsetRange
from stream_ae.records import Headers, OutgoingBatch, Partition, Position, RecordBatch, empty_record_batch
from stream_ae.testing.broker import InMemoryBroker, InMemoryRecord

# An empty poll waits for records this long at most, so that a loop on a thread of its own does not spin.
LONGEST_WAIT_S = 0.001


class InMemorySource:
    """RecordSource on an `InMemoryBroker`."""

    def __init__(self, broker: InMemoryBroker, group: str, start: Literal["earliest", "latest"] = "earliest") -> None:
        self._broker = broker
        self._group = broker.group(group)
        self._start = start
        self.topic = ""
        self._listener: AssignmentListener | None = None
        self._next: dict[Partition, int] = {}
        self._origin: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._expired = False

    def subscribe(self, topic: str, listener: AssignmentListener) -> None:
        self._broker.log(topic)
        self.topic = topic
        self._listener = listener
        self._join()

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        if self._broker.away:
            raise TransientError("no broker answers: the in-memory broker is away")
        self._follow_the_group()
        with self._broker.changed:
            records = self._take(max_records)
            if not records and self._broker.changed.wait(min(timeout_s, LONGEST_WAIT_S)):
                records = self._take(max_records)
        return _batch(self.topic, records)

    def commit(self, positions: Mapping[Partition, Position]) -> None:
        if self._broker.away or self._broker.commit_fails():
            raise TransientError("offsets were not committed: the in-memory broker was told to fail")
        with self._broker.changed:
            self.check_owned(positions)
            self._group.committed.update(positions)

    def check_owned(self, positions: Mapping[Partition, Position]) -> None:
        """Raises TransientError if one of these belongs to another member."""
        foreign = [p for p in positions if self._group.owners.get(p) is not self or self._expired]
        if foreign:
            raise TransientError(f"offsets were not committed: {foreign[0]} belongs to another member now")

    def take_committed(self, positions: Mapping[Partition, Position]) -> None:
        """What a transaction carried becomes what the group has committed."""
        self._group.committed.update(positions)

    def membership(self) -> "InMemorySource":
        return self

    def go_back(self) -> None:
        if self._broker.away:
            raise TransientError("no broker answers: the in-memory broker is away")
        ours, self._next = sorted(self._next), {}
        self._paused.clear()
        if ours:
            self._begin(ours)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def lag(self) -> Mapping[Partition, int]:
        logs = self._broker.log(self.topic)
        return {p: len(logs[p.number]) - max(at, self._broker.begin(p)) for p, at in self._next.items()}

    def begins(self, partitions: Sequence[Partition], timeout_s: float) -> Mapping[Partition, int]:
        if self._broker.away:
            raise TransientError("the oldest offsets cannot be had: the in-memory broker is away")
        return {partition: self._broker.begin(partition) for partition in partitions}

    def close(self) -> None:
        if self not in self._group.members:
            return
        self._leave()
        if self._expired:
            self._forget(list(self._next), lost=True)
        else:
            self._forget(list(self._next), lost=False)

    def expire(self) -> None:
        """The session times out, as if this member had hung: others get its partitions, commits fail, and it hears
        `on_lost` at its next poll."""
        if self._expired:
            return
        self._expired = True
        self._leave()
        with self._broker.changed:
            for partition in self._next:
                self._group.owners.pop(partition, None)

    def _join(self) -> None:
        self._group.members.append(self)
        self._broker.rebalance(self._group)

    def _leave(self) -> None:
        with self._broker.changed:
            self._group.members.remove(self)
            for partition in [p for p, member in self._group.wanted.items() if member is self]:
                del self._group.wanted[partition]
        self._broker.rebalance(self._group)

    def _follow_the_group(self) -> None:
        if self._expired:
            self._forget(list(self._next), lost=True)
            self._expired = False
            self._join()
        self._forget([p for p in self._next if self._group.wanted.get(p) is not self], lost=False)
        with self._broker.changed:
            ours = [p for p, m in self._group.wanted.items() if m is self and p not in self._group.owners]
            self._group.owners.update(dict.fromkeys(ours, self))
        if ours:
            self._begin(sorted(ours))

    def _begin(self, partitions: Sequence[Partition]) -> None:
        committed = {partition: self._group.committed.get(partition) for partition in partitions}
        starts = self._heard().on_assigned(committed)
        for partition, position in committed.items():
            end = len(self._broker.log(self.topic)[partition.number])
            # Whoever goes back to "nothing committed" goes back to where it began, not to the end of today.
            origin = self._origin.setdefault(partition, 0 if self._start == "earliest" else end)
            at = starts.get(partition, position.offset if position is not None else origin)
            begin = self._broker.begin(partition)
            self._next[partition] = at if begin <= at <= end else begin

    def _forget(self, partitions: Sequence[Partition], *, lost: bool) -> None:
        if not partitions:
            return
        try:
            tell = self._heard().on_lost if lost else self._heard().on_revoked
            tell(partitions)
        finally:
            with self._broker.changed:
                for partition in partitions:
                    del self._next[partition]
                    del self._origin[partition]
                    self._paused.discard(partition)
                    if self._group.owners.get(partition) is self:
                        del self._group.owners[partition]

    def _take(self, max_records: int) -> list[InMemoryRecord]:
        logs, taken = self._broker.log(self.topic), list[InMemoryRecord]()
        for partition, at in self._next.items():
            if partition not in self._paused:
                at = max(at, self._broker.begin(partition))
                records = logs[partition.number][at : at + max_records - len(taken)]
                self._next[partition] = at + len(records)
                taken += records
        return taken

    def _heard(self) -> AssignmentListener:
        if self._listener is None:
            raise InvariantError("the source is used before subscribe()")
        return self._listener


class InMemorySink:
    """RecordSink on an `InMemoryBroker`; once a record has failed it stays failed."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker
        self._failure: str | None = None

    def produce(self, batch: OutgoingBatch) -> None:
        self._raise_failure()
        rows = zip(
            batch.values, batch.keys, batch.partition.tolist(), batch.timestamp_ms.tolist(), batch.headers, strict=True
        )
        for value, key, partition, timestamp_ms, headers in rows:
            size_bytes = len(value or b"")
            if size_bytes > self._broker.max_message_bytes:
                limit = self._broker.max_message_bytes
                self._failure = f"a record of {size_bytes} bytes is larger than max_message_bytes, {limit}"
                raise DeliveryError(self._failure)
            if self._broker.refuses(batch.topic):
                self._failure = f"a record for topic {batch.topic} was not delivered: the broker refuses it"
                return
            self._write(batch.topic, value, key, partition, timestamp_ms, headers)

    def flush(self, timeout_s: float) -> None:
        if self._broker.flush_fails():
            self._failure = "records were not acknowledged: the in-memory broker was told to fail"
        self._raise_failure()
        if self._broker.away:
            raise DeliveryError(f"records were not acknowledged within {timeout_s:g} s: the broker is away")

    def close(self) -> None:
        """Nothing to let go of."""

    def _write(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, timestamp_ms: int, headers: Headers
    ) -> None:
        self._broker.append(topic, value, key, partition, timestamp_ms, headers)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeliveryError(self._failure)


class InMemoryReader:
    """RecordReader on an `InMemoryBroker`."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker

    def ranges(self, topic: str, start_ms: int | None = None, end_ms: int | None = None) -> list[OffsetRange]:
        ranges = []
        for number, log in enumerate(self._broker.log(topic)):
            oldest = self._broker.begin(Partition(topic, number))
            begin = max(_offset_at(log, start_ms), oldest) if start_ms is not None else oldest
            end = _offset_at(log, end_ms) if end_ms is not None else len(log)
            ranges.append(OffsetRange(Partition(topic, number), begin, max(begin, end)))
        return ranges

    def read(self, ranges: Sequence[OffsetRange], max_records: int = 10_000) -> Iterator[RecordBatch]:
        for wanted in ranges:
            if self._broker.away:
                raise TransientError("the in-memory broker is away in the middle of a read")
            begin = max(wanted.begin, self._broker.begin(wanted.partition))
            log = self._broker.log(wanted.partition.topic)[wanted.partition.number][begin : wanted.end]
            for first in range(0, len(log), max_records):
                yield _batch(wanted.partition.topic, log[first : first + max_records])

    def close(self) -> None:
        """Nothing to let go of."""


def _offset_at(log: Sequence[InMemoryRecord], time_ms: int) -> int:
    """The first record at or after a time, as Kafka looks it up."""
    return next((record.offset for record in log if record.timestamp_ms >= time_ms), len(log))


def _batch(topic: str, records: Sequence[InMemoryRecord]) -> RecordBatch:
    if not records:
        return empty_record_batch(topic)
    return RecordBatch(
        topic,
        partition=np.array([r.partition.number for r in records], np.int32),
        offset=np.array([r.offset for r in records], np.int64),
        timestamp_ms=np.array([r.timestamp_ms for r in records], np.int64),
        keys=[r.key for r in records],
        values=[r.value for r in records],
        headers=[r.headers for r in records],
    )
