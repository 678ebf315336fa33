"""Input units to the network's units and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stream_ae.models.missing import filled
from stream_ae.models.rows import Rows

CLIP = 8.0
"""The network sees at most this many scales off the window's base: a wild value must not bend all the others."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """Windows as the network sees them.

    x:         (B, C, T), filled in, clipped to +-CLIP.
    base:      (B, C, 1), what was subtracted, in the input's units.
    observed:  (B, C, T) where the input had a value; None when it had them all.
    """

    x: Tensor
    base: Tensor
    observed: Tensor | None

    def part(self, rows: Rows) -> "Normalised":
        """These rows of a whole batch."""
        observed = rows.cut(self.observed) if self.observed is not None else None
        return Normalised(rows.cut(self.x), rows.cut(self.base), observed)


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Subtracts a base that follows the window's own mean, and divides by the channel's scale.

    base = centre + recentre * (mean of the window - centre). recentre 0 keeps absolute levels, 1 forgets them: one
    model then serves streams that work at different levels. All tensors are (C, 1); `low` and `high` bound what is
    taken for a value at all (beyond: the network sees the bound, the error sees the value).
    """

    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    recentre: float

    def apply(self, windows: Tensor) -> Normalised:
        """Windows (B, C, T) in input units, NaN = missing, left untouched."""
        observed = None
        # One pass instead of two: a sum is NaN if a value is (or if infinities of both signs are: no harm).
        if bool(torch.isnan(windows.sum())):
            observed = ~torch.isnan(windows)
            windows = filled(windows, observed, self.centre)
        x = windows.clamp(self.low, self.high)
        base = torch.lerp(self.centre, x.mean(-1, keepdim=True), self.recentre)
        x = x.sub_(base).mul_(1.0 / self.scale).clamp_(-CLIP, CLIP)
        return Normalised(x, base, observed)

    def base_of(self, x: Tensor) -> Tensor:
        """(B, C, 1) the base that windows (B, C, T) in the network's units were given, told by their own mean.

        `apply` leaves 1 - recentre of a window's distance from the centre in it; where it leaves nothing, the centre.
        """
        if self.recentre >= 1.0:
            return self.centre.expand(len(x), -1, -1)
        return self.centre + self.scale * x.mean(-1, keepdim=True) * self.recentre / (1.0 - self.recentre)

    def restore(self, x: Tensor, base: Tensor) -> Tensor:
        """The network's units back to the input's."""
        return x * self.scale + base

    def to(self, device: torch.device) -> "Normaliser":
        centre, scale, low, high = (tensor.to(device) for tensor in (self.centre, self.scale, self.low, self.high))
        return Normaliser(centre, scale, low, high, self.recentre)
