"""How many samples of its stream came before each sample, and what that means for the decision about it."""

import numpy as np

from stream_ae.flow.grouping import grouped, grown
from stream_ae.flow.model import ServedModel
from stream_ae.records import Bool, Float64, Int64


def held_against(model: ServedModel, threshold: float | Float64, age: Int64) -> Float64:
    """(N,) what the scores of samples are held against that so many of their streams came before.

    threshold:  one, or one each: the model's, or the streams' own.
    Where a window reaches back beyond the first sample of its stream, the model's start threshold if that is higher.
    """
    early = age < model.window - 1 - model.lookahead
    return np.where(early, np.maximum(threshold, model.start_threshold), threshold)


class Ages:
    """Counts the samples of every slot since its stream's start, or since the offset that was rewound to.

    The second lies at least a window and a course of events back (`flow.horizon`), so that whoever asks whether a
    window reaches beyond the start of its stream hears the same before and after.
    """

    def __init__(self) -> None:
        self._count = np.zeros(0, np.int64)

    def reserve(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        self._count = grown(self._count, capacity)

    def push(self, slots: Int64, fresh: Bool) -> Int64:
        """(N,) samples before each of these, given in stream order; a fresh one has none before it.

        >>> ages = Ages()
        >>> ages.reserve(2)
        >>> ages.push(np.array([0, 1, 0, 0]), np.array([True, True, False, True])).tolist()
        [0, 0, 1, 0]
        >>> ages.push(np.array([0, 1]), np.array([False, False])).tolist()
        [1, 1]
        """
        groups = grouped(slots)
        place, begins = np.arange(len(slots)), fresh[groups.order]
        begins[groups.first] = True
        # Where a sample would stand whose stream began at place 0 of this axis.
        since = np.where(begins, place, 0)
        continued = groups.first[~fresh[groups.order[groups.first]]]
        since[continued] -= self._count[slots[groups.order[continued]]]
        age = np.empty(len(slots), np.int64)
        age[groups.order] = place - since[np.maximum.accumulate(np.where(begins, place, 0))]
        self._count[groups.slot] = age[groups.order[groups.last()]] + 1
        return age
