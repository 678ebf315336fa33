"""What training does to the input while the target stays clean: seeded, without parameters to learn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stream_ae.models.missing import filled


@dataclass(frozen=True, slots=True)
class Corruption:
    """Gaussian noise, single values lost, whole channels lost from some point of the window on.

    noise:   standard deviation, in the network's units.
    values:  share of values lost, in the windows that lose any.
    channels: share of channels that break off, in the windows that lose any.
    windows: share of the windows that lose any; the others keep the network good at complete input.
    """

    noise: float = 0.1
    values: float = 0.1
    channels: float = 0.1
    windows: float = 0.25

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A corrupted copy of `x` (B, C, T); what is lost is filled in just as in serving."""
        corrupted = x + self.noise * torch.randn(x.shape, generator=generator)
        count = round(len(x) * self.windows)
        if count == 0:
            return corrupted
        # Batches come shuffled, so the first ones are any ones.
        some = corrupted[:count]
        corrupted[:count] = filled(some, self._observed(some, generator), torch.zeros(()))
        return corrupted

    def _observed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        batch, channels, window = x.shape
        single = torch.rand(x.shape, generator=generator) < self.values
        breaks = torch.rand((batch, channels, 1), generator=generator) < self.channels
        since = torch.randint(0, window, (batch, channels, 1), generator=generator)
        return ~(single | (breaks & (torch.arange(window) >= since)))
