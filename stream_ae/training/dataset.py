"""Streams to windows, split in time: what is fitted on, what stops the fit, what is held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stream_ae.errors import ConfigError
from stream_ae.flow.window import windows_of
from stream_ae.records import Float32, Int64

VALIDATION_SHARE = 0.1
LEAST_ROWS = 100
# 1 % of the smallest scale there is (`training.normalise`): what varies by less could not be told from no error at all.
LEAST_VALUE = 1e-32


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of several streams, gathered only when asked for.

    views:  per stream (N_i, T, C), views that share their memory, see `flow.window.windows_of`.
    stream, row: (N,) which window of which view; the target sample of a window is the row of the same number.
    """

    views: Sequence[Float32]
    stream: Int64
    row: Int64

    def __len__(self) -> int:
        return len(self.row)

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled as rows: as windows they would take T times the room.
        rows = [np.concatenate((view[0], view[1:, -1])) if len(view) else view[:, 0] for view in self.views]
        return _from_rows, (rows, self.views[0].shape[1], self.stream, self.row)

    def windows(self, chosen: Int64) -> Float32:
        """The chosen windows (B, C, T), a fresh array that lies in memory as (B, T, C)."""
        _, T, C = self.views[0].shape
        rows = np.empty((len(chosen), T, C), np.float32)
        stream = self.stream[chosen]
        for code in np.unique(stream):
            place = np.flatnonzero(stream == code)
            rows[place] = self.views[code][self.row[chosen[place]]]
        return rows.transpose(0, 2, 1)

    def batches(self, size: int) -> Iterator[Float32]:
        """All windows in order, (B, C, T) with B <= size."""
        for begin in range(0, len(self), size):
            yield self.windows(np.arange(begin, min(begin + size, len(self))))

    def sample(self, at_most: int) -> "WindowSet":
        """At most that many of them, evenly spread."""
        if len(self) <= at_most:
            return self
        chosen = np.linspace(0, len(self) - 1, at_most).astype(np.int64)
        return WindowSet(self.views, self.stream[chosen], self.row[chosen])


def _from_rows(rows: Sequence[Float32], window: int, stream: Int64, row: Int64) -> WindowSet:
    """Windows of streams that are padded already."""
    empty = np.empty((0, window, rows[0].shape[1]), np.float32)
    views = [sliding_window_view(x, window, axis=0).transpose(0, 2, 1) if len(x) else empty for x in rows]
    return WindowSet(views, stream, row)


def joined(sets: Sequence[WindowSet]) -> WindowSet:
    """Windows of the same streams as one set."""
    stream, row = np.concatenate([one.stream for one in sets]), np.concatenate([one.row for one in sets])
    return WindowSet(sets[0].views, stream, row)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows from `begin` on in each stream: not fitted on, so that models can be compared on them."""

    streams: Sequence[Float32]
    begin: Sequence[int]

    def windows(self, window: int, lookahead: int) -> WindowSet:
        """The windows whose target is held out; they may look back at rows that are not."""
        return _set(self.streams, window, lookahead, [slice(begin, None) for begin in self.begin])


@dataclass(frozen=True, slots=True)
class Split:
    """Each stream's oldest part to fit on, then one to stop by, the newest to calibrate and compare on."""

    fit: WindowSet
    validation: WindowSet
    held_out: HeldOut


def split(streams: Sequence[Float32], window: int, lookahead: int, holdout_share: float) -> Split:
    """Split every stream in time; windows never reach from one stream into another."""
    last = [round(len(x) * (1.0 - holdout_share)) for x in streams]
    first = [round(end * (1.0 - VALIDATION_SHARE)) for end in last]
    fit = _set(streams, window, lookahead, [slice(0, end) for end in first])
    validation = _set(streams, window, lookahead, [slice(a, b) for a, b in zip(first, last, strict=True)])
    return Split(fit, validation, HeldOut(streams, last))


def checked(streams: Sequence[Float32], channels: Sequence[str], window: int) -> list[Float32]:
    """The streams as float32, empty ones left out. Raises ConfigError for what nothing can be learnt from."""
    if len(set(channels)) != len(channels) or not channels:
        raise ConfigError(f"channels must be named, each once; got {list(channels)}")
    kept = [_checked_stream(x, index, len(channels)) for index, x in enumerate(streams)]
    rows = sum(int((~np.isnan(x)).any(1).sum()) for x in kept)
    least = max(LEAST_ROWS, 2 * window)
    if rows < least:
        raise ConfigError(
            f"{rows} rows with at least one value in {len(streams)} streams: too few to train a window of {window} on; "
            f"give at least {least}, or a smaller window"
        )
    _check_sizes(kept, channels)
    return [x for x in kept if len(x)]


def _check_sizes(streams: Sequence[Float32], channels: Sequence[str]) -> None:
    largest = np.fmax.reduce([np.fmax.reduce(np.abs(x), axis=0, initial=0.0) for x in streams])
    small = np.flatnonzero((largest > 0.0) & (largest < LEAST_VALUE))
    if len(small):
        raise ConfigError(
            f"channel '{channels[small[0]]}' holds no value above {largest[small[0]]:.3g}, too small for float32: give "
            "it in a smaller unit"
        )


def _checked_stream(x: Float32, index: int, channels: int) -> Float32:
    array = np.asarray(x)
    if array.ndim != 2 or array.shape[1] != channels:
        raise ConfigError(
            f"stream {index} has shape {array.shape}; training takes (rows, {channels}): one column per channel"
        )
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise ConfigError(f"stream {index} holds {array.dtype}, not numbers: convert it to float, NaN = missing")
    with np.errstate(over="ignore"):
        values = np.asarray(array, np.float32)
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        raise ConfigError(
            f"stream {index}, row {row}, column {column} is infinite in float32: replace it, NaN = missing"
        )
    return values


def _set(streams: Sequence[Float32], window: int, lookahead: int, parts: Sequence[slice]) -> WindowSet:
    """Windows whose target rows lie in `parts` and hold at least one value."""
    views = [windows_of(x, window, lookahead).transpose(0, 2, 1) for x in streams]
    stream, row = [], []
    for code, (x, part) in enumerate(zip(streams, parts, strict=True)):
        chosen = np.arange(len(x), dtype=np.int64)[part]
        chosen = chosen[~np.isnan(x[chosen]).all(1)]
        stream.append(np.full(len(chosen), code, np.int64))
        row.append(chosen)
    return WindowSet(views, np.concatenate(stream), np.concatenate(row))
