"""How far back each stream still needs the log: the offset of the oldest sample that its next answer depends on."""

import numpy as np

from stream_ae.flow.grouping import grouped, grown, rounds
from stream_ae.flow.offsets import Rewind
from stream_ae.records import Bool, Int64


def depth_of(window: int, close_after: int) -> int:
    """Newest samples of a stream that what comes out next depends on: each of the last `close_after` has a window."""
    return window + close_after - 1


class Horizon:
    """For every slot a ring of the newest samples' record offsets, and the partition time at each record.

    As many samples as `depth_of` says and no more: there the window begins of the first sample that has a say in what
    the next one is in the course of events, see `flow.decide.Decider`.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._marks = np.zeros((0, depth, 2), np.int64)
        self._count = np.zeros(0, np.int64)
        self._oldest = np.zeros((0, 2), np.int64)

    def reserve(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        self._marks = grown(self._marks, capacity)
        self._count = grown(self._count, capacity)
        self._oldest = grown(self._oldest, capacity)

    def push(self, slots: Int64, fresh: Bool, offset: Int64, at_ms: Int64) -> None:
        """Note the record that each sample came from; a fresh one forgets what its slot held."""
        marks = np.stack((offset, at_ms), axis=1)
        for chosen in rounds(slots, fresh):
            one = slice(None) if len(chosen) == len(slots) else chosen
            self._push(slots[one], fresh[one], marks[one])

    def offset(self, slots: Int64) -> Int64:
        """Oldest offset that each slot's stream needs."""
        offset: Int64 = self._oldest[slots, 0]
        return offset

    def at_ms(self, slots: Int64) -> Int64:
        """Partition time at that offset's record."""
        at_ms: Int64 = self._oldest[slots, 1]
        return at_ms

    def newest(self, slot: int) -> Rewind:
        """What was pushed last; means nothing for a slot that has never been pushed to."""
        offset, at_ms = self._marks[slot, (self._count[slot] - 1) % self._depth].tolist()
        return Rewind(offset, at_ms)

    def adapt(self, depth: int) -> "Horizon":
        """The same for windows of another length; what is not held any more cannot be asked for."""
        order = (self._count[:, None] + np.arange(self._depth)) % self._depth
        held = np.take_along_axis(self._marks, order[:, :, None], axis=1)
        missing = max(depth - self._depth, 0)
        other = Horizon(depth)
        other._marks = np.concatenate((np.repeat(held[:, :1], missing, axis=1), held[:, -depth:]), axis=1)
        other._count = np.zeros_like(self._count)
        other._oldest = other._marks[:, 0].copy()
        return other

    def _push(self, slots: Int64, fresh: Bool, marks: Int64) -> None:
        if len(slots) == 0:
            return
        new = np.flatnonzero(fresh)
        self._marks[slots[new]] = marks[new, None]
        groups = grouped(slots)
        place = (self._count[groups.slot][groups.group] + groups.rank()) % self._depth
        # Where a slot is written more often than it is long, numpy keeps the last one, as a ring should.
        self._marks[groups.slot[groups.group], place] = marks[groups.order]
        self._count[groups.slot] += groups.count
        self._oldest[groups.slot] = self._marks[groups.slot, self._count[groups.slot] % self._depth]
