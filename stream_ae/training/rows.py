"""The samples of one stream on their way into a training: columns, duplicates among them, unbroken runs of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Bool, Float32, Int32, Int64
from stream_ae.training.marks import Int8

# Where so many of a stream's times have several different samples, its clock is coarser than its samples (ten a second
# with times in seconds): one time and value is then no sign of one sample. Of few times nothing can be said.
COARSE_SHARE, LEAST_TIMES = 0.1, 10


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples of one stream in one partition, in the order of their offsets: row i of every column is one of them.

    values:  (N, V) float32, NaN = missing.
    offset:  of the record that each came in; `label`: what an operator called that, see `training.labels`.
    keep:    whether it may be trained on.
    block:   which block of the stream it is in; between blocks that do not follow each other samples are missing.
    """

    timestamp_ms: Int64
    values: Float32
    offset: Int64
    label: Int8
    keep: Bool
    block: Int32

    def __len__(self) -> int:
        return len(self.offset)

    def taken(self, chosen: Bool | Int64 | slice) -> "Rows":
        """Those rows, in all columns."""
        return Rows(
            self.timestamp_ms[chosen],
            self.values[chosen],
            self.offset[chosen],
            self.label[chosen],
            self.keep[chosen],
            self.block[chosen],
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.timestamp_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.keep for part in parts]),
        np.concatenate([part.block for part in parts]),
    )


def repeated(parts: Sequence[Rows]) -> list[Bool]:
    """Per part (N_i,): whether a sample of the same time and values stands before it, in its part or an earlier one.

    The parts are those of one stream; a producer that sends again may choose another partition. None where the clock is
    too coarse to tell: workers answer all of them.
    """
    times = np.concatenate([part.timestamp_ms for part in parts])
    found = np.zeros(len(times), np.bool_)
    order = np.argsort(times, kind="stable")
    same = np.diff(times[order]) == 0
    several = np.sort(order[np.concatenate((same, [False])) | np.concatenate(([False], same))])
    if len(several):
        values = np.concatenate([part.values for part in parts])[several]
        whole = np.concatenate(
            (times[several, None].view(np.uint8), np.ascontiguousarray(values).view(np.uint8)), axis=1
        )
        first = np.unique(_as_one(whole), return_index=True)[1]
        if not _coarse(times, times[several[first]]):
            again = np.ones(len(several), np.bool_)
            again[first] = False
            found[several] = again
    return np.split(found, np.cumsum([len(part) for part in parts])[:-1])


def _coarse(times: Int64, different: Int64) -> bool:
    """`different`: the times of samples that differ in time or value, of those that share their time."""
    all_times = len(np.unique(times))
    with_several = int((np.unique(different, return_counts=True)[1] > 1).sum())
    return all_times >= LEAST_TIMES and with_several > COARSE_SHARE * all_times


def _as_one(rows: NDArray[np.uint8]) -> NDArray[np.void]:
    """(N,) of (N, K) bytes: one thing a row, which can be compared."""
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))[:, 0]


def backwards(rows: Rows) -> Bool:
    """(N,) whether a sample is older than one before it: serving refuses it."""
    newest_before = np.maximum.accumulate(np.concatenate((rows.timestamp_ms[:1], rows.timestamp_ms[:-1])))
    return np.asarray(rows.timestamp_ms < newest_before, np.bool_)


def pieces(rows: Rows) -> list[Rows]:
    """The stream cut where blocks are missing."""
    cuts = np.flatnonzero(np.diff(rows.block) > 1) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    return [rows.taken(slice(begin, end)) for begin, end in pairwise(bounds)]


def runs(piece: Rows) -> list[Float32]:
    """The values of a piece, cut where samples are left out."""
    edges = np.flatnonzero(np.diff(piece.keep.astype(np.int8), prepend=0, append=0))
    return [piece.values[begin:end] for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
