"""How single quantities of normal samples were spread when a version was made, and counts of later ones in those bins.

A quantity is a channel's value, the brightness or the contrast of a frame's channel, or a dimension of the latent code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from stream_ae.records import Float32, Float64, Int64

Table = tuple[tuple[int, ...], ...]
"""Counts by quantity and bin, as they are published; empty where nothing is counted."""

# A status travels every two seconds and is kept small: 128 channels of 11 bins are some 8 kB of JSON.
MOST_CHANNELS = 128
MOST_LATENTS = 16
# Of each side of a frame: what more pixels say of its mean and contrast, fewer say as well.
MOST_PIXELS = 64
# So many samples spread as expected are added to those counted: an empty bin is then no infinity, and counts that are
# spread as expected have an index of 0 as they had.
PRIOR_SAMPLES = 1.0


@dataclass(frozen=True, slots=True)
class Marginal:
    """How one quantity was spread.

    edges:   strictly ascending; bin 0 is below the first, bin i holds [edges[i - 1], edges[i]), the next is open.
    shares:  (len(edges) + 2,) of normal samples in each bin, the last one of missing values; above 0, their sum is 1.
    usual:   the highest index that a stretch of consecutive normal samples had against all of them.
    """

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    usual: float


@dataclass(frozen=True)
class Marginals:
    """Q quantities that are counted together, in tables of W bins. The last bin is of missing values; a quantity with
    fewer edges leaves those before it empty.
    """

    each: tuple[Marginal, ...] = ()

    def __len__(self) -> int:
        return len(self.each)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(Q, W) of a table."""
        return len(self.each), max((len(one.edges) for one in self.each), default=0) + 2

    @cached_property
    def shares(self) -> Float64:
        """(Q, W) what is expected, 0 in bins that a quantity has not."""
        found = np.zeros(self.shape)
        for row, one in zip(found, self.each, strict=True):
            row[: len(one.shares) - 1], row[-1] = one.shares[:-1], one.shares[-1]
        return found

    def counts(self, values: Float32) -> Int64:
        """(Q, W) how many of (N, Q) values are in each bin; NaN = missing."""
        quantities, bins = self.shape
        # Faster than a search for each quantity: the edges are few. Comparisons with NaN are false.
        place = np.zeros(values.shape, np.int8)
        for edge in self._edges:
            place += values >= edge
        place[np.isnan(values)] = bins - 1
        flat = place + self._first
        return np.bincount(flat.ravel(), minlength=quantities * bins).reshape(self.shape)

    @cached_property
    def _first(self) -> Int64:
        """(Q,) where each quantity's bins begin in a table that is laid flat."""
        quantities, bins = self.shape
        return np.arange(0, quantities * bins, bins)

    @cached_property
    def _edges(self) -> Float32:
        """(W - 2, Q), NaN where a quantity has no more."""
        edges = np.full((self.shape[1] - 2, len(self.each)), np.nan, np.float32)
        for row, one in zip(edges.T, self.each, strict=True):
            row[: len(one.edges)] = one.edges
        return edges


@dataclass(frozen=True, slots=True)
class DriftBins:
    """What a version remembers of its normal samples; inputs in the units that came in."""

    inputs: Marginals
    latents: Marginals


def stability_index(counts: ArrayLike, expected: Float64) -> Float64:
    """(...) population stability index of (..., bins) counts against (..., bins) shares; bins expected to hold 0 are
    not looked at.

    Sum of (a - e) ln(a / e) over the bins (Siddiqi 2006, Credit Risk Scorecards): never below 0, and 0 for equal
    shares. The usual reading: below 0.1 nothing, to 0.25 some, above it a shift.
    """
    there = expected > 0
    found = np.where(there, np.asarray(counts, np.float64), 0.0)
    observed = (found + PRIOR_SAMPLES * expected) / (found.sum(-1, keepdims=True) + PRIOR_SAMPLES)
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=there)
    index: Float64 = np.maximum(((observed - expected) * np.log(ratio)).sum(-1), 0.0)
    return index


def input_names(channels: Sequence[str], frames: bool) -> tuple[str, ...]:
    """What `inputs_of` gives, in its order.

    >>> input_names(("red", "green"), frames=True)
    ('red mean', 'green mean', 'red contrast', 'green contrast')
    """
    if frames:
        return tuple(f"{name} {what}" for what in ("mean", "contrast") for name in channels)
    return tuple(channels[place] for place in counted_channels(len(channels)))


def counted_channels(channels: int) -> list[int]:
    """All of them, or MOST_CHANNELS evenly spread: what shifts inputs seldom spares all but a few, and the score sees
    every channel.
    """
    return [round(place) for place in np.linspace(0, channels - 1, min(channels, MOST_CHANNELS)).tolist()]


def inputs_of(samples: Float32, frame: tuple[int, int, int] | None) -> Float32:
    """(N, Q) the quantities of samples (N, V): values of channels, or of frames (C, H, W) each channel's mean and
    standard deviation over the pixels that are there.
    """
    if frame is None:
        channels = samples.shape[1]
        return samples if channels <= MOST_CHANNELS else samples[:, counted_channels(channels)]
    rows, columns = (slice(None, None, -(-side // MOST_PIXELS)) for side in frame[1:])
    pixels = samples.reshape(-1, *frame)[:, :, rows, columns]
    missing = np.isnan(pixels)
    there = np.count_nonzero(~missing, axis=(2, 3))
    size = np.where(there > 0, there, np.nan)
    filled = np.where(missing, 0.0, pixels)
    mean = filled.sum((2, 3)) / size
    off = np.where(missing, 0.0, pixels - mean[:, :, None, None])
    return np.concatenate((mean, np.sqrt(np.square(off).sum((2, 3)) / size)), axis=1, dtype=np.float32)


def latents_of(codes: Float32) -> Float32:
    """(N, Q) the quantities of latent codes (N, K): the code itself, or 16 sums of its dimensions with random signs
    (Achlioptas 2003), which a shift in any direction moves and which nothing need be stored for.
    """
    if codes.shape[1] <= MOST_LATENTS:
        return codes
    # The numbers of this old generator never change (NEP 19), so that a version is counted as it was made.
    signs = np.random.RandomState(0).randint(0, 2, (codes.shape[1], MOST_LATENTS)) * 2 - 1
    return codes @ signs.astype(np.float32)
