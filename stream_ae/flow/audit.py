"""Proof that every raw record left exactly one trace: a cleaned record or a dead letter that names it as its source.

Memory is one byte for each offset between a partition's first and last raw record, whatever the records hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stream_ae.flow.columns import UInt8
from stream_ae.flow.headers import Source, source_of
from stream_ae.records import Int64, Partition, RecordBatch

# A byte for each offset: 0 = no raw record there (compaction and transaction markers leave such gaps), else 1 + its
# traces, which saturate.
RAW_BYTE = 1
FULL_BYTE = 255


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found. `first_...` is the first one by partition and offset, None if there is none.

    lost:     raw records without a trace.
    doubled:  raw records with more than one.
    foreign:  outputs that name no raw record of those read, or no source at all: another topic's, another
              program's, or of records that retention has deleted.
    """

    raw: int
    cleaned: int
    dead_letters: int
    lost: int
    doubled: int
    foreign: int
    first_lost: Source | None
    first_doubled: Source | None

    @property
    def clean(self) -> bool:
        """Whether nothing is lost and nothing doubled."""
        return self.lost == self.doubled == 0


def audit(
    raw: Iterable[RecordBatch], cleaned: Iterable[RecordBatch], dead_letters: Iterable[RecordBatch]
) -> AuditReport:
    """Compare what went in with what came out. `raw` is read first, all of it."""
    ledger: dict[Partition, _Ledger] = {}
    raw_count = 0
    for batch in raw:
        raw_count += len(batch)
        for number in np.unique(batch.partition).tolist():
            of_partition = ledger.setdefault(Partition(batch.topic, number), _Ledger())
            of_partition.add_raw(batch.offset[batch.partition == number])
    cleaned_count, foreign = _count_traces(ledger, cleaned)
    dead_count, foreign_dead = _count_traces(ledger, dead_letters)
    lost = [_sources(partition, ledger[partition].lost()) for partition in sorted(ledger)]
    doubled = [_sources(partition, ledger[partition].doubled()) for partition in sorted(ledger)]
    return AuditReport(
        raw=raw_count,
        cleaned=cleaned_count,
        dead_letters=dead_count,
        lost=sum(count for count, _ in lost),
        doubled=sum(count for count, _ in doubled),
        foreign=foreign + foreign_dead,
        first_lost=next((first for _, first in lost if first), None),
        first_doubled=next((first for _, first in doubled if first), None),
    )


class _Ledger:
    """The raw records of one partition and how many traces each left."""

    def __init__(self) -> None:
        self._first = 0
        self._bytes: UInt8 = np.zeros(0, np.uint8)

    def add_raw(self, offsets: Int64) -> None:
        self._cover(int(offsets.min()), int(offsets.max()) + 1)
        at = offsets - self._first
        self._bytes[at] = np.maximum(self._bytes[at], RAW_BYTE)

    def add_trace(self, offset: int) -> bool:
        """Count a trace; false if there is no such raw record."""
        at = offset - self._first
        if not 0 <= at < len(self._bytes) or self._bytes[at] == 0:
            return False
        self._bytes[at] = min(int(self._bytes[at]) + 1, FULL_BYTE)
        return True

    def lost(self) -> Int64:
        return np.flatnonzero(self._bytes == RAW_BYTE) + self._first

    def doubled(self) -> Int64:
        return np.flatnonzero(self._bytes > RAW_BYTE + 1) + self._first

    def _cover(self, begin: int, end: int) -> None:
        """Make room for offsets [begin, end), twice as much as asked behind, so that growing stays cheap."""
        if len(self._bytes) == 0:
            self._first = begin
        before = max(self._first - begin, 0)
        missing = max(end - self._first - len(self._bytes), 0)
        if before or missing:
            behind = max(missing, len(self._bytes)) if missing else 0
            self._bytes = np.pad(self._bytes, (before, behind))
            self._first -= before


def _count_traces(ledger: dict[Partition, _Ledger], outputs: Iterable[RecordBatch]) -> tuple[int, int]:
    """Enter the sources of outputs; how many outputs there were, and how many of them are foreign."""
    count = foreign = 0
    for batch in outputs:
        count += len(batch)
        for headers in batch.headers:
            source = source_of(headers)
            of_partition = ledger.get(Partition(source.topic, source.partition)) if source else None
            if source is None or of_partition is None or not of_partition.add_trace(source.offset):
                foreign += 1
    return count, foreign


def _sources(partition: Partition, offsets: Int64) -> tuple[int, Source | None]:
    """How many, and the first one."""
    first = Source(partition.topic, partition.number, int(offsets[0])) if len(offsets) else None
    return len(offsets), first
