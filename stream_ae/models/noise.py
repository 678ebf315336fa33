"""Noise of many kinds as seeded transforms: windows (B, C, T) in units of the channels' spread to spoilt copies.

A value that a transform loses becomes NaN, as in the raw data. All that is random comes from the generator: the same
seed spoils alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor


class Transform(Protocol):
    """Windows (B, C, T) to spoilt ones of the same shape, the given ones left untouched."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """White noise; each channel of each window draws its signal-to-noise ratio evenly between two, in dB.

    One network for all levels ("blind", Zhang et al. 2017, section 3.3). 0 dB is noise as large as the spread, 1.
    """

    least_db: float = -5.0
    most_db: float = 22.0

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        db = self.least_db + (self.most_db - self.least_db) * _uniform(x, generator)
        return x + 10.0 ** (-db / 20.0) * torch.randn(x.shape, generator=generator)


@dataclass(frozen=True, slots=True)
class Masking:
    """Values lost one by one, in one span of a channel, or a channel from some sample on.

    values: share of values lost in each channel, drawn evenly up to it; spans, channels: share of channels that lose
    a span (up to an eighth of the window), or all from some sample on.
    """

    values: float = 0.1
    spans: float = 0.1
    channels: float = 0.02

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return torch.where(self.lost(x, generator), torch.nan, x)

    def lost(self, x: Tensor, generator: Generator) -> Tensor:
        """(B, C, T) true where a value is lost."""
        time = torch.arange(x.shape[-1])
        single = torch.rand(x.shape, generator=generator) < self.values * _uniform(x, generator)
        begin = _sample(x, generator, x.shape[-1])
        end = begin + 1 + _sample(x, generator, max(x.shape[-1] // 8, 1))
        span = (_uniform(x, generator) < self.spans) & (time >= begin) & (time < end)
        broken = (_uniform(x, generator) < self.channels) & (time >= _sample(x, generator, x.shape[-1]))
        return single | span | broken


@dataclass(frozen=True, slots=True)
class Spikes:
    """Single values thrown up or down: a share of values up to `share`, smaller ones more often, by up to `size` (of
    each channel its own), and of any sign: from a rare click to salt and pepper."""

    share: float = 0.25
    size: float = 10.0

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        hit = torch.rand(x.shape, generator=generator) < self.share * _uniform(x, generator).square()
        sign = torch.where(torch.rand(x.shape, generator=generator) < 0.5, -1.0, 1.0)
        size = self.size * _uniform(x, generator) * (0.3 + 0.7 * torch.rand(x.shape, generator=generator))
        return torch.where(hit, x + sign * size, x)


@dataclass(frozen=True, slots=True)
class Drift:
    """A baseline that wanders: two waves with periods from `shortest` to `longest` windows, each up to `size` large.

    A wander that is faster than any that was learnt is not taken off (ECG, 1024 samples a window: 11.6 dB, not 17.2).
    """

    size: float = 1.5
    shortest: float = 0.7
    longest: float = 11.0

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        time = torch.arange(x.shape[-1]) / x.shape[-1]
        size = self.size * _uniform(x, generator)
        for _ in range(2):
            period = self.shortest * (self.longest / self.shortest) ** _uniform(x, generator)
            x = x + size * torch.sin(2 * math.pi * (time / period + _uniform(x, generator)))
        return x


@dataclass(frozen=True, slots=True)
class Swap:
    """A share of the values is that of another window of the batch at the same place: noise as the data has it."""

    share: float = 0.1

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        other = x[torch.randperm(len(x), generator=generator)]
        return torch.where(torch.rand(x.shape, generator=generator) < self.share, other, x)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Transforms one after the other, each on a share of the windows."""

    parts: Sequence[tuple[Transform, float]]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        for transform, share in self.parts:
            hit = torch.rand((len(x), 1, 1), generator=generator) < share
            x = torch.where(hit, transform(x, generator), x)
        return x


ANY_NOISE = Mixture(
    ((Gaussian(), 0.75), (Drift(), 0.35), (Spikes(), 0.35), (Swap(0.02), 0.05), (Masking(), 0.25)),
)
"""What a denoiser has to expect when nobody said which noise will come; some windows stay clean."""


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    """(B, C, 1) in [0, 1)."""
    return torch.rand((*x.shape[:2], 1), generator=generator)


def _sample(x: Tensor, generator: Generator, below: int) -> Tensor:
    """(B, C, 1) whole numbers in [0, below)."""
    return torch.randint(0, below, (*x.shape[:2], 1), generator=generator)
