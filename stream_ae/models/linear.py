"""The linear view: what the principal components of recent samples cannot say about them.

A network forgets most of a window's own level, so that one model serves streams at several levels, and with it the
shifts that last. Principal components of windows in absolute units keep them (Jolliffe 2002, section 10.1: the squares
of the last components). Measured on SKAB, whose faults are such shifts: VUS-PR .74 without, .88 with it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stream_ae.models.missing import filled

LIMIT = 1e3
"""Scales off the centre beyond which all values are equally far off: their squares must stay finite in float32."""


@dataclass(frozen=True, slots=True)
class LinearView:
    """Principal components of the `span` samples up to the target, T' = span, and what is left beside them.

    centre, scale:  (C, 1) in the input's units.
    mean:           (T' * C,) of scaled windows that lie as (T', C).
    components:     (T' * C, K), orthonormal columns.
    level:          (C,) mean square of what is left of normal windows: divides it.
    """

    centre: Tensor
    scale: Tensor
    mean: Tensor
    components: Tensor
    level: Tensor

    @property
    def span(self) -> int:
        return len(self.mean) // len(self.centre)

    def scaled(self, windows: Tensor, observed: Tensor | None) -> Tensor:
        """(B, T' * C) what the components are about: the newest samples of windows (B, C, T), NaN = missing."""
        if observed is not None:
            windows = filled(windows, observed, self.centre)
        x = ((windows[..., -self.span :] - self.centre) / self.scale).clamp_(-LIMIT, LIMIT)
        return x.transpose(1, 2).flatten(1)

    def contributions(self, windows: Tensor, observed: Tensor | None) -> Tensor:
        """(B, C) mean square of what is left over what is normal; 0 for a channel of which nothing was observed.

        windows: (B, C, T) in the input's units with the target sample last; `observed` is None if no value is missing.
        """
        x = self.scaled(windows, observed) - self.mean
        left = torch.addmm(x, x @ self.components, self.components.T, alpha=-1.0).square_()
        left = left.view(len(x), self.span, -1)
        if observed is None:
            return left.mean(1) / self.level
        seen = observed[..., -self.span :].transpose(1, 2)
        return (left * seen).sum(1) / seen.sum(1).clamp(min=1) / self.level

    def with_level(self, level: Tensor) -> "LinearView":
        return replace(self, level=level)

    def to(self, device: torch.device) -> "LinearView":
        parts = (self.centre, self.scale, self.mean, self.components, self.level)
        return LinearView(*(part.to(device) for part in parts))
