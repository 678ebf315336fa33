"""Samples of many streams gathered by slot, so that one numpy call serves all streams at once."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Bool, Int64

Scalar = TypeVar("Scalar", bound=np.generic)

# Slots below this sort as 16-bit integers, which numpy sorts by radix: about five times as fast.
RADIX_LIMIT = 2**15


@dataclass(frozen=True, slots=True)
class Groups:
    """N samples sorted by slot (stable, so each slot keeps its order), one group for each of G slots.

    order:  (N,) sample at each sorted place.
    slot:   (G,) ascending.
    first:  (G,) sorted place where each group begins.
    count:  (G,) samples of each group, at least 1.
    group:  (N,) group of each sorted place.
    """

    order: Int64
    slot: Int64
    first: Int64
    count: Int64
    group: Int64

    def rank(self) -> Int64:
        """(N,) how many samples of its group come before each sorted place."""
        return np.arange(len(self.order)) - self.first[self.group]

    def last(self) -> Int64:
        """(G,) sorted place of each group's last sample."""
        return self.first + self.count - 1


def grouped(slots: Int64) -> Groups:
    """Gather samples by slot."""
    small = len(slots) > 0 and int(slots.max()) < RADIX_LIMIT
    order = np.argsort(slots.astype(np.int16) if small else slots, kind="stable")
    sorted_slots = slots[order]
    begins = np.empty(len(slots), np.bool_)
    begins[:1] = True
    np.not_equal(sorted_slots[1:], sorted_slots[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    count = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=count[:-1])
    count[-1:] = len(slots) - first[-1:]
    return Groups(order, sorted_slots[first], first, count, np.cumsum(begins) - 1)


def rounds(slots: Int64, fresh: Bool) -> list[Int64]:
    """Cut samples into rounds, so that within a round only a slot's first sample is fresh.

    A stream that starts afresh twice in one batch is rare: almost always there is one round, with every sample.
    """
    if not fresh.any():
        return [np.arange(len(slots))]
    groups = grouped(slots)
    restarts = np.cumsum(fresh[groups.order])
    age = np.empty(len(slots), np.int64)
    age[groups.order] = restarts - restarts[groups.first][groups.group]
    return [np.flatnonzero(age == number) for number in range(int(age.max()) + 1)]


def grown(array: NDArray[Scalar], capacity: int) -> NDArray[Scalar]:
    """The array with room for `capacity` rows; new rows are zero."""
    if len(array) >= capacity:
        return array
    longer = np.zeros((capacity, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
