"""From scores to events: what is an anomaly, and where one begins and ends."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stream_ae.flow.grouping import grouped, grown
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
    """

    NORMAL = 0
    OPEN = 1
    ONGOING = 2
    CLOSE = 3


def flagged(score: Float64, threshold: float | Float64) -> Bool:
    """Above the threshold (one, or one each), or not finite: a score that cannot be computed is an anomaly.

    >>> flagged(np.array([0.5, 2.0, np.nan]), 1.0).tolist()
    [False, True, True]
    """
    flags: Bool = ~(score <= threshold) | np.isinf(score)
    return flags


class Decider:
    """Remembers of every slot whether its newest answered sample was flagged."""

    def __init__(self) -> None:
        self._flagged: Bool = np.zeros(0, np.bool_)

    def reserve(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        self._flagged = grown(self._flagged, capacity)

    def states_without(self, failed: Bool, slots: Int64, fresh: Bool, flags: Bool) -> States:
        """The same, passing over samples that the model failed on: they neither open an event nor end one.

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
        self._flagged[ended] = False
        return states

    def states(self, slots: Int64, fresh: Bool, flags: Bool) -> States:
        """(N,) the `State` of each sample, given in stream order; a fresh one has no sample before it."""
        states = np.zeros(len(slots), np.int8)
        if not flags.any() and not self._flagged[slots].any():
            return states
        involved = self._flagged.copy()
        involved[slots[flags]] = True
        chosen = np.flatnonzero(involved[slots])
        groups = grouped(slots[chosen])
        sorted_samples = chosen[groups.order]
        now = flags[sorted_samples]
        before = np.empty_like(now)
        before[1:] = now[:-1]
        before[groups.first] = self._flagged[groups.slot]
        before &= ~fresh[sorted_samples]
        self._flagged[groups.slot] = now[groups.last()]
        states[sorted_samples] = np.where(
            now, np.where(before, State.ONGOING, State.OPEN), np.where(before, State.CLOSE, State.NORMAL)
        )
        return states
