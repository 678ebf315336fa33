"""A small U-Net along time: for denoising only, its skip connections leave no bottleneck to detect by."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream_ae.models.config import UNetConfig

# The deepest level has at most 16 samples: these reach over all of it from the middle.
DEEPEST, DILATIONS = 16, (1, 2, 4)


def unet_config(channels: int, window: int) -> UNetConfig:
    """A U-Net whose middle sees all of such windows."""
    strides: list[int] = []
    left = window
    while left > DEEPEST:
        # The first level is the dearest one and holds mostly noise: a long window may leave it in one stride.
        strides.append(4 if not strides and window >= 128 else 2)
        left = -(-left // strides[-1])
    return UNetConfig(channels=channels, window=window, widths=(12, *(24,) * len(strides)), strides=tuple(strides))


@dataclass(frozen=True, slots=True)
class _Part:
    """Samples [begin, end) of a level; below 0 or past its length there is padding with zeros."""

    begin: int
    end: int

    def widened(self, by: int) -> "_Part":
        return _Part(self.begin - by, self.end + by)

    def within(self, length: int) -> "_Part":
        return _Part(max(self.begin, 0), min(self.end, length))

    def below(self, stride: int) -> "_Part":
        """What must be known one level deeper to repeat each sample `stride` times."""
        return _Part(self.begin // stride, (self.end - 1) // stride + 1)


class UNet(nn.Module):
    """Windows (B, C, T) in the network's units, and where they were observed, to denoised samples of them.

    Only what the asked-for samples depend on is computed on the way up: for one sample that costs little more than the
    encoder, and the result is the same up to rounding. It predicts what to take off (Zhang et al. 2017, section 3.2).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.window, self.strides, self.reach = config.window, config.strides, config.kernel // 2
        C, widths, kernel = config.channels, config.widths, config.kernel
        self.stem = nn.Conv1d(2 * C, widths[0], 2 * kernel - 1)
        inputs = (2 * C, *widths[1:])
        self.down = nn.ModuleList(
            nn.Conv1d(inputs[level], widths[level + 1], 2 * stride + 1, stride, padding=stride)
            for level, stride in enumerate(config.strides)
        )
        self.middle = nn.ModuleList(
            nn.Conv1d(inputs[-1], inputs[-1], 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        above = (widths[-1], *widths[1:])
        self.up = nn.ModuleList(
            nn.Conv1d(above[level + 1] + widths[level], widths[level], kernel) for level in range(len(config.strides))
        )
        self.last = nn.Conv1d(widths[0], C, 1)

    def forward(self, x: Tensor, observed: Tensor | None, first: int = 0, end: int | None = None) -> Tensor:
        """Samples [first, end) of the window, (B, C, end - first); `x` is filled in where it was not observed."""
        seen = torch.ones_like(x) if observed is None else observed.to(x.dtype)
        given = torch.cat((x, seen), 1)
        part = _Part(first, self.window if end is None else end)
        features = self._features(given)
        if not len(self.up):
            rows = self._stem(given, part)
        else:
            rows = self._climbed(given, features, self._needed(part, features))
        noise: Tensor = self.last(rows)
        return x[..., part.begin : part.end] - noise

    def _features(self, given: Tensor) -> list[Tensor]:
        """What each level below the first knows, the deepest last."""
        features = []
        for layer in self.down:
            given = functional.relu(layer(given))
            features.append(given)
        if features:
            for layer in self.middle:
                features[-1] = features[-1] + functional.relu(layer(features[-1]))
        return features

    def _needed(self, part: _Part, features: list[Tensor]) -> list[_Part]:
        """For each level from the first on, what the convolution on the way up has to see of it."""
        lengths = [self.window, *(level.shape[-1] for level in features)]
        needed = []
        for level, stride in enumerate(self.strides):
            needed.append(part.widened(self.reach))
            part = needed[-1].within(lengths[level]).below(stride)
        return needed

    def _climbed(self, given: Tensor, features: list[Tensor], needed: list[_Part]) -> Tensor:
        rows, known = features[-1], 0
        for level in reversed(range(len(needed))):
            stride, wanted = self.strides[level], needed[level]
            length = self.window if level == 0 else features[level - 1].shape[-1]
            inner = wanted.within(length)
            source = inner.below(stride)
            deep = rows[..., source.begin - known : source.end - known].repeat_interleave(stride, -1)
            offset = inner.begin - source.begin * stride
            deep = deep[..., offset : offset + inner.end - inner.begin]
            skip = self._stem(given, inner) if level == 0 else features[level - 1][..., inner.begin : inner.end]
            both = functional.pad(torch.cat((deep, skip), 1), (inner.begin - wanted.begin, wanted.end - inner.end))
            rows, known = functional.relu(self.up[level](both)), wanted.begin + self.reach
        return rows

    def _stem(self, given: Tensor, part: _Part) -> Tensor:
        """The finest features, of `part` alone."""
        wanted = part.widened(2 * self.reach)
        inner = wanted.within(self.window)
        padding = (inner.begin - wanted.begin, wanted.end - inner.end)
        return functional.relu(self.stem(functional.pad(given[..., inner.begin : inner.end], padding)))
