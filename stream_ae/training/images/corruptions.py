"""What spoils images, as seeded transforms: frames (B, C, H, W) in the network's units to spoilt copies.

A pixel that is lost becomes NaN, as in the raw data. All that is random comes from the generator: the same seed spoils
alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from stream_ae.models.images.scoring import blurred
from stream_ae.models.normaliser import Normaliser


class Corruption(Protocol):
    """Frames to spoilt ones of the same shape, the given ones left untouched."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class White:
    """Gaussian noise; each frame draws its standard deviation evenly on a logarithmic scale, in channel scales."""

    least: float = 0.05
    most: float = 2.0

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return x + _between(self.least, self.most, x, generator) * torch.randn(x.shape, generator=generator)


@dataclass(frozen=True, slots=True)
class Photons:
    """Shot noise of few photons, then a little of the read-out's (Poisson-Gaussian, Foi et al. 2008).

    low, high: (C, 1, 1) values of black and white. Each frame draws how many photons white is: `least` to `most`.
    """

    low: Tensor
    high: Tensor
    least: float = 5.0
    most: float = 200.0

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        photons = _between(self.least, self.most, x, generator)
        light = ((x - self.low) / (self.high - self.low)).clamp(min=0.0)
        counted = torch.poisson(photons * light, generator=generator) / photons
        read_out = 0.02 * torch.randn(x.shape, generator=generator)
        return torch.where(x < self.low, x, self.low + (counted + read_out) * (self.high - self.low))


@dataclass(frozen=True, slots=True)
class SaltAndPepper:
    """Pixels that are black or white whatever they should be, in all channels alike; each frame draws the share."""

    low: Tensor
    high: Tensor
    least: float = 0.01
    most: float = 0.35

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        drawn = torch.rand((len(x), 1, *x.shape[2:]), generator=generator)
        share = _between(self.least, self.most, x, generator)
        x = torch.where(drawn < share / 2, self.low, x)
        return torch.where(drawn > 1.0 - share / 2, self.high, x)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rectangles that are lost, sides up to `most` of the frame's; `dark`: share of frames in which they do not become
    NaN but black, as of a sensor that does not know it."""

    low: Tensor
    most: float = 0.4
    dark: float = 0.3

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        hit = lost_blocks(x, self.most, generator)
        dark = torch.rand((len(x), 1, 1, 1), generator=generator) < self.dark
        return torch.where(hit, torch.where(dark, self.low, torch.nan), x)


@dataclass(frozen=True, slots=True)
class Covered:
    """A rectangle of one colour, anything from black to white, sides up to `most` of the frame's."""

    low: Tensor
    high: Tensor
    most: float = 0.4

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        drawn = torch.rand((*x.shape[:2], 1, 1), generator=generator)
        return torch.where(lost_blocks(x, self.most, generator), self.low + drawn * (self.high - self.low), x)


@dataclass(frozen=True, slots=True)
class Blur:
    """A lens out of focus: a Gaussian of so many pixels, the same for the frames of a batch."""

    least: float = 0.4
    most: float = 1.5

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        sigma = self.least + (self.most - self.least) * float(torch.rand((), generator=generator))
        return blurred(x, sigma, ~torch.isnan(x)).where(~torch.isnan(x), torch.nan)


@dataclass(frozen=True, slots=True)
class Chain:
    """Corruptions one after the other, each on a share of the frames."""

    parts: Sequence[tuple[Corruption, float]]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        x = x.clone()
        for corruption, share in self.parts:
            hit = torch.rand(len(x), generator=generator) < share
            if bool(hit.any()):
                x[hit] = corruption(x[hit], generator)
        return x


def any_corruption(normaliser: Normaliser) -> Chain:
    """What a denoiser has to expect when nobody said what will come; some frames stay clean."""
    low, high = black_and_white(normaliser)
    return Chain(
        (
            (Blur(), 0.1),
            (Photons(low, high), 0.15),
            (White(), 0.6),
            (SaltAndPepper(low, high), 0.3),
            (Blocks(low), 0.3),
        )
    )


def black_and_white(normaliser: Normaliser) -> tuple[Tensor, Tensor]:
    """(C, 1, 1) least and largest values that were seen, in the network's units: the bounds were widened by the range
    on either side."""
    third = (normaliser.high - normaliser.low) / 3.0
    ends = (normaliser.low + third, normaliser.high - third)
    low, high = (((end - normaliser.centre) / normaliser.scale)[..., None] for end in ends)
    return low, high


def lost_blocks(x: Tensor, most: float, generator: Generator) -> Tensor:
    """(B, 1, H, W) true in one rectangle of each frame, at least one pixel large."""
    inside = []
    for axis, side in ((0, x.shape[2]), (1, x.shape[3])):
        length = 1 + torch.randint(0, max(round(most * side), 1), (len(x), 1, 1, 1), generator=generator)
        begin = torch.floor(torch.rand((len(x), 1, 1, 1), generator=generator) * (side - length + 1))
        place = torch.arange(side).view(1, 1, -1, 1) if axis == 0 else torch.arange(side).view(1, 1, 1, -1)
        inside.append((place >= begin) & (place < begin + length))
    return inside[0] & inside[1]


def neighbours(x: Tensor, generator: Generator, reach: int = 2) -> Tensor:
    """(B, C, H, W) for every pixel one of those within `reach` of it, never itself (Krull et al. 2019, section 3.4)."""
    side = 2 * reach + 1
    # Every offset but the one in the middle.
    drawn = torch.randint(0, side * side - 1, (len(x), 1, *x.shape[2:]), generator=generator)
    drawn = drawn + (drawn >= side * side // 2)
    rows = torch.arange(x.shape[2])[:, None] + drawn // side - reach
    columns = torch.arange(x.shape[3]) + drawn % side - reach
    index = _reflected(rows, x.shape[2]) * x.shape[3] + _reflected(columns, x.shape[3])
    return x.flatten(2).gather(2, index.flatten(2).expand(-1, x.shape[1], -1)).view_as(x)


def _reflected(index: Tensor, side: int) -> Tensor:
    return (side - 1 - (side - 1 - index.abs()).abs()).clamp(0, side - 1)


def _between(least: float, most: float, x: Tensor, generator: Generator) -> Tensor:
    """(B, 1, 1, 1) drawn evenly on a logarithmic scale."""
    drawn = torch.rand((len(x), 1, 1, 1), generator=generator)
    return torch.exp(math.log(least) + math.log(most / least) * drawn)
