"""From scores to events: what is an anomaly, and where one begins and ends."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stream_ae.flow.grouping import Groups, grouped, grown
from stream_ae.records import Bool, Float64, Int64

States = NDArray[np.int8]


class State(IntEnum):
    """What a sample is in its stream's course of events.

    An alert consumer can act on OPEN and CLOSE alone, and count an event of which it has heard nothing for the stream's
    time to live as over: a stream that falls silent for longer ends its event without a CLOSE.

    Such a CLOSE cannot wait for the stream to start afresh: who took the partition over meanwhile would not know of
    the event, because nothing is kept of silent streams (else any of them could hold the rewind offset back for good),
    and what comes out would depend on who is asked. Nor can it come when the stream is forgotten, which depends on how
    the log was cut into batches.

    A quiet sample within an event is NORMAL too: nothing is told of it.
    """

    NORMAL = 0
    OPEN = 1
    ONGOING = 2
    CLOSE = 3


@dataclass(frozen=True, slots=True)
class Decided:
    """(N,) the state of each sample, and what its score was held against."""

    state: States
    threshold: Float64


def flagged(score: Float64, threshold: float | Float64) -> Bool:
    """Above the threshold (one, or one each), or not finite: a score that cannot be computed is an anomaly.

    >>> flagged(np.array([0.5, 2.0, np.nan]), 1.0).tolist()
    [False, True, True]
    """
    flags: Bool = ~(score <= threshold) | np.isinf(score)
    return flags


class Decider:
    """Remembers of every slot how many more quiet samples end its event.

    An event goes on while one of the newest `close_after` samples was flagged and closes at that many quiet ones in a
    row, so the state of a sample is told by its flag and those of the `close_after` samples before it: no more needs to
    be read again to rebuild it.
    """

    def __init__(self, close_after: int = 1) -> None:
        self._close_after = close_after
        # Quiet samples in a row until the event closes; 0 = there is none.
        self._left = np.zeros(0, np.int64)

    def reserve(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        self._left = grown(self._left, capacity)

    def states_without(self, failed: Bool, slots: Int64, fresh: Bool, flags: Bool) -> States:
        """The same, passing over samples that the model failed on: they neither open an event nor bring its end nearer.

        They are NORMAL, for nobody will hear of them: their records become dead letters.
        """
        if not failed.any():
            return self.states(slots, fresh, flags)
        states, fresh = np.zeros(len(slots), np.int8), fresh.copy()
        ended = []
        for place in np.flatnonzero(failed & fresh).tolist():
            later = place + 1 + np.flatnonzero((slots[place + 1 :] == slots[place]) & ~failed[place + 1 :])
            fresh[later[:1]] = True
            if not len(later):
                ended.append(slots[place])
        states[~failed] = self.states(slots[~failed], fresh[~failed], flags[~failed])
        self._left[ended] = 0
        return states

    def states(self, slots: Int64, fresh: Bool, flags: Bool) -> States:
        """(N,) the `State` of each sample, given in stream order; a fresh one has no sample before it."""
        states = np.zeros(len(slots), np.int8)
        if not flags.any() and not self._left[slots].any():
            return states
        involved = self._left > 0
        involved[slots[flags]] = True
        chosen = np.flatnonzero(involved[slots])
        groups = grouped(slots[chosen])
        sorted_samples = chosen[groups.order]
        now = flags[sorted_samples]
        left = self._left_before(groups, now, fresh[sorted_samples])
        self._left[groups.slot] = np.where(now, self._close_after, np.maximum(left - 1, 0))[groups.last()]
        states[sorted_samples] = np.where(
            now, np.where(left > 0, State.ONGOING, State.OPEN), np.where(left == 1, State.CLOSE, State.NORMAL)
        )
        return states

    def _left_before(self, groups: Groups, flags: Bool, fresh: Bool) -> Int64:
        """How many quiet samples would have closed the event before each of these, which are sorted by slot."""
        begins = fresh.copy()
        begins[groups.first] = True
        held = np.zeros(len(flags), np.int64)
        held[groups.first] = self._left[groups.slot]
        held[fresh] = 0
        # On this axis runs of samples that know of each other lie so far apart that no flag reaches into the next.
        place = np.arange(len(flags)) + np.cumsum(begins) * (self._close_after + 1)
        newest = np.full(len(flags), -1, np.int64)
        newest[1:] = np.where(flags[:-1], place[:-1], -1)
        newest[begins] = (place - 1 - self._close_after + held)[begins]
        quiet = place - 1 - np.maximum.accumulate(newest)
        left: Int64 = np.maximum(self._close_after - quiet, 0)
        return left
