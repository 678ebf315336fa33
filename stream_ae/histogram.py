"""Histograms with fixed bins: those of several workers, or of several spans of time, are added bin by bin."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bins:
    """Bin i holds [edges[i], edges[i + 1]), the first one what is below it as well; the last one is open and holds
    what is not finite too.

    >>> Bins((0.0, 1.0, 2.0)).counts([0.5, 1.0, 7.0, float("nan")])
    (1, 1, 2)
    """

    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def nothing(self) -> Counts:
        return (0,) * len(self)

    def place(self, value: float) -> int:
        """The bin of one finite value, without the cost of an array."""
        return bisect_right(self.edges, value, lo=1) - 1

    def counts(self, values: ArrayLike) -> Counts:
        """How many of (N,) values are in each bin."""
        # NaN is sorted behind everything.
        places = np.searchsorted(self.edges[1:], np.asarray(values, np.float64), side="right")
        return tuple(np.bincount(places, minlength=len(self)).tolist())

    def quantile(self, counts: Counts, share: float) -> float:
        """The value below which `share` of them are, as if they were spread evenly within their bin.

        Of the open bin, its edge. There must be some.
        """
        wanted = share * sum(counts)
        for place, reached in enumerate(accumulate(counts)):
            if reached >= wanted and counts[place]:
                if place == len(self) - 1:
                    break
                low, high = self.edges[place : place + 2]
                return low + (high - low) * (wanted - (reached - counts[place])) / counts[place]
        return self.edges[-1]


def merged(histograms: Iterable[Sequence[int]]) -> Counts:
    """The histogram of the union; empty for none."""
    return tuple(sum(column) for column in zip(*histograms, strict=True))


# Of calibrated scores, -log10 of the tail probability. Fine where most are, and one bin each for what is rarer than
# one in 1000, 10,000 and a million.
SCORE_BINS = Bins((0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0))
