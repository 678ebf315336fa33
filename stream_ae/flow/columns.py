"""Decoded records, and how batches are joined and cut: rows that wait for look-ahead leave with later batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Int32, RecordBatch, Rejection, SampleBatch

UInt8 = NDArray[np.uint8]
Objects = NDArray[np.object_]


class Shape(IntEnum):
    """How a record holds its values; NONE = it has none to give (a tombstone or a rejected record)."""

    NONE = 0
    NAMED = 1
    LISTED = 2
    NAMED_BLOCK = 3
    LISTED_BLOCK = 4
    FRAME = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each record's values stand in its bytes: `value[start:end]` is replaced, the rest is kept.

    Columns have one entry a record: shape (a `Shape`), start, end (these mean nothing where the shape is NONE).
    forms:  of frames, which are replaced as a whole, the form that each came in (`flow.images`).
    """

    shape: UInt8
    start: Int32
    end: Int32
    forms: Objects | None = None

    def __len__(self) -> int:
        return len(self.shape)

    def selected(self, rows: NDArray[np.integer[Any]]) -> "Layout":
        forms = self.forms[rows] if self.forms is not None else None
        return Layout(self.shape[rows], self.start[rows], self.end[rows], forms)

    @classmethod
    def joined(cls, parts: "Sequence[Layout]") -> "Layout":
        forms = [part.forms for part in parts if part.forms is not None]
        return cls(
            np.concatenate([part.shape for part in parts]),
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.end for part in parts]),
            np.concatenate(forms) if forms else None,
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a record batch says. Each row has samples, or is among the rejections, or among the tombstones.

    rejections:  in row order.
    tombstones:  rows whose value is None, ascending: passed on as they are.
    """

    samples: SampleBatch
    rejections: list[Rejection]
    tombstones: Int32
    layout: Layout

    def __len__(self) -> int:
        return len(self.layout)


def concat_records(batches: Sequence[RecordBatch]) -> RecordBatch:
    """The records of one or more batches of one topic, in the order given."""
    if len(batches) == 1:
        return batches[0]
    return RecordBatch(
        batches[0].topic,
        _joined(batches, lambda b: b.partition),
        _joined(batches, lambda b: b.offset),
        _joined(batches, lambda b: b.timestamp_ms),
        [key for batch in batches for key in batch.keys],
        [value for batch in batches for value in batch.values],
        [headers for batch in batches for headers in batch.headers],
    )


def select_records(batch: RecordBatch, rows: NDArray[np.integer[Any]]) -> RecordBatch:
    """The given rows of a batch (indices, not a mask), in the order given."""
    cut = _cut(rows)
    if cut is not None:
        if len(rows) == len(batch):
            return batch
        keys, values, headers = batch.keys[cut], batch.values[cut], batch.headers[cut]
    else:
        picked = rows.tolist()
        keys = [batch.keys[row] for row in picked]
        values = [batch.values[row] for row in picked]
        headers = [batch.headers[row] for row in picked]
    index: slice | NDArray[np.integer[Any]] = rows if cut is None else cut
    return RecordBatch(
        batch.topic, batch.partition[index], batch.offset[index], batch.timestamp_ms[index], keys, values, headers
    )


def concat_decoded(parts: Sequence[Decoded]) -> Decoded:
    """Several decoded batches as one: rows renumbered as `concat_records` lays them, stream tables merged."""
    if len(parts) == 1:
        return parts[0]
    first_row = np.cumsum([0, *(len(part) for part in parts)])
    code: dict[str, int] = {}
    streams = [
        np.array([code.setdefault(stream, len(code)) for stream in part.samples.streams], np.int32)[part.samples.stream]
        for part in parts
    ]
    samples = SampleBatch(
        np.concatenate(
            [part.samples.row + first for part, first in zip(parts, first_row, strict=False)], dtype=np.int32
        ),
        np.concatenate(streams),
        list(code),
        _joined(parts, lambda p: p.samples.timestamp_ms),
        _joined(parts, lambda p: p.samples.values),
    )
    shifted = zip(parts, first_row.tolist(), strict=False)
    rejections = [r._replace(row=r.row + first) for part, first in shifted for r in part.rejections]
    tombstones = [part.tombstones + first for part, first in zip(parts, first_row, strict=False)]
    layout = Layout.joined([part.layout for part in parts])
    return Decoded(samples, rejections, np.concatenate(tombstones, dtype=np.int32), layout)


def select_decoded(decoded: Decoded, rows: NDArray[np.integer[Any]]) -> Decoded:
    """The given rows (ascending), renumbered as `select_records` lays them; the stream table stays as it is."""
    if len(rows) == len(decoded) and _cut(rows) is not None:
        return decoded
    new_row = np.full(len(decoded), -1, np.int32)
    new_row[rows] = np.arange(len(rows), dtype=np.int32)
    layout = decoded.layout.selected(rows)
    tombstones = new_row[decoded.tombstones]
    moved = [rejection._replace(row=int(new_row[rejection.row])) for rejection in decoded.rejections]
    samples = _samples_of(decoded.samples, new_row)
    return Decoded(samples, [r for r in moved if r.row >= 0], tombstones[tombstones >= 0], layout)


def reject(decoded: Decoded, rejections: Sequence[Rejection]) -> Decoded:
    """The same rows with some more of them rejected, whole: their samples are taken out."""
    if not rejections:
        return decoded
    row = np.arange(len(decoded), dtype=np.int32)
    shape = decoded.layout.shape.copy()
    for rejection in rejections:
        row[rejection.row] = -1
        shape[rejection.row] = Shape.NONE
    merged = sorted([*decoded.rejections, *rejections], key=lambda rejection: rejection.row)
    layout = replace(decoded.layout, shape=shape)
    return Decoded(_samples_of(decoded.samples, row), merged, decoded.tombstones, layout)


def _samples_of(samples: SampleBatch, new_row: Int32) -> SampleBatch:
    """The samples whose record has a new row >= 0."""
    row = new_row[samples.row]
    kept = row >= 0
    return SampleBatch(
        row[kept], samples.stream[kept], samples.streams, samples.timestamp_ms[kept], samples.values[kept]
    )


def _cut(rows: NDArray[np.integer[Any]]) -> slice | None:
    """The rows as a slice if they are consecutive: cutting lists is much faster than picking from them."""
    if len(rows) == 0 or rows[-1] - rows[0] != len(rows) - 1 or not bool(np.all(rows[1:] > rows[:-1])):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _joined(parts: Sequence[Any], column: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([column(part) for part in parts])
