"""Windows over all streams at once, and the same windows over one array.

The rule, online and offline alike: the window of sample i holds the T samples of its stream that end at i + lookahead.
Before a stream's first sample stands that sample again; after its last one (an idle stream, the end of an array)
the newest again. So every sample gets a window.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from stream_ae.errors import InvariantError
from stream_ae.flow.grouping import Groups, grouped, grown, rounds
from stream_ae.records import Bool, Float32, Int32, Int64


def windows_of(x: Float32, window: int, lookahead: int = 0) -> Float32:
    """Windows (N, C, T) of one stream x (N, C) in time order: a read-only view that costs one copy of x.

    Copy slices of it as they are needed: all at once they take T times the memory of x.

    >>> windows_of(np.array([[1.0], [2.0], [3.0]], np.float32), window=3)[:, 0].tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    """
    if len(x) == 0:
        return np.empty((0, x.shape[1], window), np.float32)
    before = np.repeat(x[:1], window - 1 - lookahead, axis=0)
    after = np.repeat(x[-1:], lookahead, axis=0)
    return sliding_window_view(np.concatenate((before, x, after), dtype=np.float32), window, axis=0)


@dataclass(frozen=True, slots=True)
class Ready:
    """B samples whose windows are complete.

    tokens:  (B,) what the caller named each sample by when it pushed it.
    slots:   (B,) of each sample's stream.
    windows: (B, C, T) oldest sample first; the caller owns it.
    """

    tokens: Int64
    slots: Int64
    windows: Float32

    def __len__(self) -> int:
        return len(self.tokens)


class Windows:
    """The newest T samples of every stream, by slot. Slots are handed out by the caller (`flow.streams`)."""

    def __init__(self, channels: int, window: int, lookahead: int) -> None:
        if not 0 <= lookahead < window:
            raise InvariantError(f"lookahead {lookahead} must be at least 0 and below the window of {window}")
        self.window = window
        self.lookahead = lookahead
        self._channels = channels
        self._values = np.zeros((0, window * channels), np.float32)
        self._tokens = np.zeros((0, lookahead), np.int64)
        self._pending = np.zeros(0, np.int32)

    def reserve(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        self._values = grown(self._values, capacity)
        self._tokens = grown(self._tokens, capacity)
        self._pending = grown(self._pending, capacity)

    @property
    def pending(self) -> Int32:
        """(capacity,) samples of each slot that wait for newer ones; at most `lookahead`."""
        return self._pending

    def push(self, slots: Int64, fresh: Bool, values: Float32, tokens: Int64) -> Ready:
        """Take in samples and give those whose windows are complete now, in push order within a stream.

        fresh: (N,) the stream starts here, whatever its slot holds; what was pending there is answered first.
        """
        parts = []
        for chosen in rounds(slots, fresh):
            one = slice(None) if len(chosen) == len(slots) else chosen
            if self.lookahead and fresh[one].any():
                parts.append(self._flushed(slots[one][fresh[one]]))
            parts.append(self._pushed(slots[one], fresh[one], values[one], tokens[one]))
        return self._joined(parts)

    def flush(self, slots: Int64) -> Ready:
        """Answer what is pending in these slots with what there is: the newest sample stands for the missing ones."""
        if len(slots) == 0:
            return Ready(slots, slots, np.empty((0, self._channels, self.window), np.float32))
        return self._joined([self._flushed(slots)])

    def forget(self, slots: Int64) -> None:
        """Drop what is pending in these slots; their next sample must be fresh."""
        self._pending[slots] = 0

    def adapt(self, window: int, lookahead: int) -> "Windows":
        """Windows of another length that keep what is held here; flush first where the look-ahead differs."""
        if lookahead != self.lookahead and self._pending.any():
            raise InvariantError("windows cannot change their look-ahead while samples are pending: flush them first")
        other = Windows(self._channels, window, lookahead)
        held = self._values.reshape(-1, self.window, self._channels)
        missing = max(window - self.window, 0)
        padded = np.concatenate((np.repeat(held[:, :1], missing, axis=1), held[:, -window:]), axis=1)
        other._values = padded.reshape(len(held), -1)
        other._tokens = self._tokens if lookahead == self.lookahead else np.zeros((len(held), lookahead), np.int64)
        other._pending = self._pending
        return other

    def _pushed(self, slots: Int64, fresh: Bool, values: Float32, tokens: Int64) -> tuple[Int64, Int64, Float32]:
        T, C = self.window, self._channels
        if len(slots) == 0:
            return tokens, slots, np.empty((0, T * C), np.float32)
        groups = grouped(slots)
        new = np.flatnonzero(fresh)
        if len(new):
            self._values[slots[new]] = np.tile(values[new], T)
        # Each touched stream's history, then its new samples, end to end in one array; a window is one block of it.
        rows = np.empty((len(slots) + len(groups.slot) * T, C), np.float32)
        blocks = _blocks(rows, T)
        history = groups.first + np.arange(len(groups.slot)) * T
        blocks[history] = self._values[groups.slot]
        place = np.empty(len(slots), np.int64)
        place[groups.order] = np.arange(len(slots)) + (groups.group + 1) * T
        rows[place] = values
        self._values[groups.slot] = blocks[history + groups.count]
        if not self.lookahead:
            return tokens, slots, blocks[place - (T - 1)]
        ready, of = self._ripe(groups, tokens)
        return of, slots[ready], blocks[place[ready] - (T - 1)]

    def _ripe(self, groups: Groups, tokens: Int64) -> tuple[Int64, Int64]:
        """Which of the pushed samples complete a window (push order), and the token of the sample each completes."""
        d = self.lookahead
        pending = self._pending[groups.slot]
        complete = np.empty(len(tokens), np.bool_)
        complete[groups.order] = groups.rank() + pending[groups.group] >= d
        self._pending[groups.slot] = np.minimum(pending + groups.count, d)
        # The same layout as that of the values: d held tokens before each stream's new ones.
        row = np.empty(len(tokens) + len(groups.slot) * d, np.int64)
        held = (groups.first + np.arange(len(groups.slot)) * d)[:, None] + np.arange(d)
        row[held] = self._tokens[groups.slot]
        place = np.empty(len(tokens), np.int64)
        place[groups.order] = np.arange(len(tokens)) + (groups.group + 1) * d
        row[place] = tokens
        self._tokens[groups.slot] = row[held + groups.count[:, None]]
        ready = np.flatnonzero(complete)
        return ready, row[place[ready] - d]

    def _flushed(self, slots: Int64) -> tuple[Int64, Int64, Float32]:
        T, C, d = self.window, self._channels, self.lookahead
        slots = slots[self._pending[slots] > 0]
        pending = self._pending[slots].astype(np.int64)
        held = self._values[slots].reshape(-1, T, C)
        rows = np.concatenate((held, np.repeat(held[:, -1:], d, axis=1)), axis=1).reshape(-1, C)
        stream = np.repeat(np.arange(len(slots)), pending)
        # The youngest of q pending samples is the newest one held; the oldest stands q - 1 before it.
        age = np.repeat(np.cumsum(pending), pending) - np.arange(len(stream)) - 1
        self._pending[slots] = 0
        tokens = self._tokens[slots][stream, d - 1 - age]
        return tokens, slots[stream], _blocks(rows, T)[stream * (T + d) + d - age]

    def _joined(self, parts: list[tuple[Int64, Int64, Float32]]) -> Ready:
        tokens, slots, windows = parts[0]
        if len(parts) > 1:
            tokens = np.concatenate([part[0] for part in parts])
            slots = np.concatenate([part[1] for part in parts])
            windows = np.concatenate([part[2] for part in parts])
        return Ready(tokens, slots, windows.reshape(-1, self.window, self._channels).transpose(0, 2, 1))


def _blocks(rows: Float32, window: int) -> Float32:
    """Every run of `window` rows as one contiguous block: (len(rows) - window + 1, window * C), a writable view."""
    channels = rows.shape[1]
    count = max(len(rows) - window + 1, 0)
    return as_strided(rows, (count, window * channels), (channels * rows.itemsize, rows.itemsize))
