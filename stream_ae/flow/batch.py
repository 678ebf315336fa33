"""When a batch closes: on its count, its bytes or the age of its oldest record, whichever is first."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from stream_ae.flow.columns import concat_records, select_records
from stream_ae.records import Int64, RecordBatch
from stream_ae.settings import BatchSettings


@dataclass(frozen=True, slots=True)
class Closed:
    """A batch of records that go through the model together; `size_bytes` counts their keys and values."""

    records: RecordBatch
    size_bytes: int


@dataclass(slots=True)
class Batcher:
    """Gathers polled records into batches of at most `max_records` and, but for a single larger one, `max_bytes`.

    most:  fewer records than `max_records`, once it is known how much a sample holds (`flow.model.fitting`).
    """

    limits: BatchSettings
    most: int = 0
    records: int = 0
    size_bytes: int = 0
    _held: list[RecordBatch] = field(default_factory=list)
    _oldest_s: float = 0.0

    def __post_init__(self) -> None:
        self.most = self.most or self.limits.max_records

    def add(self, records: RecordBatch, now_s: float) -> list[Closed]:
        """Take in what a poll gave; the batches that it filled."""
        size_bytes = _size_bytes(records)
        if self.records + len(records) < self.most and (self.size_bytes + size_bytes < self.limits.max_bytes):
            self._append(records, size_bytes, now_s)
            return []
        return self._fill(records, now_s)

    def close(self, now_s: float, device_idle: bool) -> Closed | None:
        """What there is, if its oldest record has waited long enough or the device has nothing to do."""
        if not self.records or not (device_idle or now_s - self._oldest_s >= self.limits.max_age_s):
            return None
        closed = Closed(concat_records(self._held), self.size_bytes)
        self._held, self.records, self.size_bytes = [], 0, 0
        return closed

    def drop(self, partitions: Collection[int]) -> None:
        """Forget the records of these partitions."""
        held, oldest_s = self._held, self._oldest_s
        self._held, self.records, self.size_bytes = [], 0, 0
        for records in held:
            kept = select_records(records, np.flatnonzero(~np.isin(records.partition, list(partitions))))
            self._append(kept, _size_bytes(kept), oldest_s)

    def _append(self, records: RecordBatch, size_bytes: int, now_s: float) -> None:
        if not len(records):
            return
        if not self.records:
            self._oldest_s = now_s
        self._held.append(records)
        self.records += len(records)
        self.size_bytes += size_bytes

    def _fill(self, records: RecordBatch, now_s: float) -> list[Closed]:
        """Cut the records where batches are full; the rest stays."""
        closed = []
        cumulated = np.cumsum(_sizes(records))
        begin, taken = 0, 0
        while begin < len(records):
            end = begin + self._fitting(cumulated[begin:] - taken)
            size_bytes = int(cumulated[end - 1]) - taken if end > begin else 0
            self._append(select_records(records, np.arange(begin, end)), size_bytes, now_s)
            begin, taken = end, taken + size_bytes
            if begin < len(records) or self._full():
                closed += [batch for batch in [self.close(now_s, device_idle=True)] if batch is not None]
        return closed

    def _fitting(self, cumulated_bytes: Int64) -> int:
        """How many of the next records still fit; one does in an empty batch, however large it is."""
        by_bytes = int(np.searchsorted(cumulated_bytes, self.limits.max_bytes - self.size_bytes, side="right"))
        return max(min(self.most - self.records, by_bytes), 0 if self.records else 1)

    def _full(self) -> bool:
        return self.records >= self.most or self.size_bytes >= self.limits.max_bytes


def _size_bytes(records: RecordBatch) -> int:
    return sum(map(len, filter(None, records.values))) + sum(map(len, filter(None, records.keys)))


def _sizes(records: RecordBatch) -> Int64:
    return np.array(
        [len(value or b"") + len(key or b"") for value, key in zip(records.values, records.keys, strict=True)]
    )
