"""Encoders and decoders: what fits the data. Axes (B, C, T) outside, whatever is fast inside."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of these sizes, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class DenseEncoder(nn.Module):
    """Windows (B, C, T) to features (B, F). Cheapest on windows that lie in memory as (B, T, C)."""

    def __init__(self, channels: int, window: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.features = hidden[-1]
        self.layers = mlp([channels * window, *hidden])

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x.transpose(1, 2).flatten(1))
        return features


class DenseDecoder(nn.Module):
    """Codes (B, Z) to windows (B, C, T), or to some of their rows only."""

    def __init__(self, channels: int, window: int, hidden: Sequence[int], latent: int) -> None:
        super().__init__()
        self.channels, self.window = channels, window
        self.layers = mlp([latent, *hidden])
        self.last = nn.Linear(hidden[-1], channels * window)

    def forward(self, z: Tensor, first: int = 0, end: int | None = None) -> Tensor:
        """Samples [first, end) of the window, (B, C, end - first): the rest is not computed."""
        part = slice(first * self.channels, (self.window if end is None else end) * self.channels)
        rows = nn.functional.linear(self.layers(z), self.last.weight[part], self.last.bias[part])
        return rows.view(len(rows), -1, self.channels).transpose(1, 2)


def halved(window: int, times: int) -> int:
    """Samples that are left of a window after so many layers that halve it, rounded up.

    >>> halved(32, 2), halved(7, 2)
    (8, 2)
    """
    return -(-window // (1 << times))


class ConvEncoder(nn.Module):
    """Windows (B, C, T) to features (B, F): convolutions along time, each halving it."""

    def __init__(self, channels: int, window: int, widths: Sequence[int], kernel: int) -> None:
        super().__init__()
        self.features = widths[-1] * halved(window, len(widths))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *widths)):
            layers += [nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x).flatten(1)
        return features


class ConvDecoder(nn.Module):
    """Codes (B, Z) to windows (B, C, T): the way back, each layer after doubling the time.

    Samples are repeated and then convolved: strided transposed convolutions leave a pattern (Odena et al. 2016).
    """

    def __init__(self, channels: int, window: int, widths: Sequence[int], kernel: int, latent: int) -> None:
        super().__init__()
        self.window, self.shortest = window, halved(window, len(widths))
        self.first = nn.Linear(latent, widths[0] * self.shortest)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((*widths, widths[-1])):
            layers += [nn.Upsample(scale_factor=2), nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv1d(widths[-1], channels, 1)

    def forward(self, z: Tensor, first: int = 0, end: int | None = None) -> Tensor:
        """Samples [first, end) of the window, (B, C, end - first)."""
        features = self.layers(self.first(z).relu().unflatten(1, (-1, self.shortest)))
        rows: Tensor = self.last(features[..., first : self.window if end is None else end])
        return rows


def finite(tensor: Tensor) -> bool:
    """True if no value is NaN or infinite."""
    return bool(torch.isfinite(tensor).all())
