"""Marks on offsets: which records of a partition something was said of, as runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange
from stream_ae.records import Bool, Int64, Partition, RecordBatch

Int8 = NDArray[np.int8]


class Stroke(NamedTuple):
    """One mark (above 0) on some offsets."""

    where: OffsetRange
    mark: int


class _Runs(NamedTuple):
    """marks[i] from begins[i] up to begins[i + 1]; the last one is 0."""

    begins: Int64
    marks: Int8


@dataclass(frozen=True, slots=True)
class Marks:
    """A small number for each offset; 0 where nothing was said."""

    _runs: Mapping[Partition, _Runs] = field(default_factory=dict)

    @classmethod
    def painted(cls, strokes: Iterable[Stroke]) -> "Marks":
        """Later strokes lie over earlier ones.

        >>> from stream_ae.records import Partition
        >>> p = Partition("raw", 0)
        >>> marks = Marks.painted([Stroke(OffsetRange(p, 2, 9), 1), Stroke(OffsetRange(p, 4, 5), 2)])
        >>> marks.at(p, np.array([1, 2, 4, 5, 9])).tolist()
        [0, 1, 2, 1, 0]
        """
        by_partition: dict[Partition, list[Stroke]] = {}
        for stroke in strokes:
            by_partition.setdefault(stroke.where.partition, []).append(stroke)
        return cls({partition: _painted(some) for partition, some in by_partition.items()})

    def at(self, partition: Partition, offsets: Int64) -> Int8:
        """(N,) the mark of each offset."""
        runs = self._runs.get(partition)
        if runs is None:
            return np.zeros(len(offsets), np.int8)
        place = np.searchsorted(runs.begins, offsets, side="right") - 1
        return np.where(place >= 0, runs.marks[place], np.int8(0)).astype(np.int8)

    def of(self, batch: RecordBatch) -> Int8:
        """(N,) the mark of each record."""
        found = np.zeros(len(batch), np.int8)
        for number in np.unique(batch.partition).tolist() if self._runs else ():
            here = batch.partition == number
            found[here] = self.at(Partition(batch.topic, number), batch.offset[here])
        return found

    def within(self, ranges: Sequence[OffsetRange]) -> list[tuple[int, int, int, int]]:
        """Partition, first offset, end offset and mark of each run that lies in the ranges."""
        found = []
        for one in ranges:
            begins, marks = self._runs.get(one.partition, _Runs(np.empty(0, np.int64), np.empty(0, np.int8)))
            for begin, end, mark in zip(begins[:-1].tolist(), begins[1:].tolist(), marks[:-1].tolist(), strict=True):
                first, last = max(begin, one.begin), min(end, one.end)
                if mark and first < last:
                    found.append((one.partition.number, first, last, mark))
        return found


def _painted(strokes: Sequence[Stroke]) -> _Runs:
    begins = np.unique(np.array([(s.where.begin, s.where.end) for s in strokes], np.int64))
    marks = np.zeros(len(begins), np.int8)
    for where, mark in strokes:
        first, last = np.searchsorted(begins, (where.begin, where.end))
        marks[first:last] = mark
    return _Runs(begins, marks)


def marked_text(partition: Int64, offset: Int64, marked: Bool) -> str:
    """Those of these records that are marked, as `offset_ranges` reads them.

    >>> marked_text(np.zeros(4, int), np.array([3, 4, 5, 7]), np.array([True, True, False, True]))
    '0:3-5,0:7-8'
    """
    order = np.lexsort((offset[marked], partition[marked]))
    where, at = partition[marked][order], offset[marked][order]
    first = np.flatnonzero((np.diff(at, prepend=-2) != 1) | (np.diff(where, prepend=-1) != 0))
    last = np.append(first[1:], len(at)) - 1
    runs = zip(where[first].tolist(), at[first].tolist(), at[last].tolist(), strict=True) if len(at) else ()
    return ",".join(f"{number}:{begin}-{end + 1}" for number, begin, end in runs)


def offsets_text(ranges: Iterable[OffsetRange]) -> str:
    """`0:17-900,1:0-450`: partition, first offset, end offset (not included), as `offset_ranges` reads them."""
    return ",".join(f"{one.partition.number}:{one.begin}-{one.end}" for one in ranges)


def offset_ranges(topic: str, text: str) -> list[OffsetRange]:
    """`0:17-900,1:0-450`: partition, first offset, end offset (not included). Raises ConfigError for anything else."""
    found = []
    for part in filter(None, text.replace(" ", "").split(",")):
        number, _, offsets = part.partition(":")
        begin, _, end = offsets.partition("-")
        if not all(one.isascii() and one.isdigit() for one in (number, begin, end)) or int(begin) >= int(end):
            raise ConfigError(
                f"offsets {part!r} cannot be read: write partition:first-end, the end not included, such as "
                "0:17-900,1:0-450"
            )
        found.append(OffsetRange(Partition(topic, int(number)), int(begin), int(end)))
    return found
