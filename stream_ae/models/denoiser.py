"""Who cleans a value, channel by channel: nobody, the autoencoder, or a U-Net beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stream_ae.models.config import ChannelChoice, UNetConfig
from stream_ae.models.missing import filled
from stream_ae.models.normaliser import CLIP, Normaliser
from stream_ae.models.unet import UNet

# Windows of 512 samples a second and core: 7,100 by 16 at once, 18,200 by 256 or 512, 12,700 by 2048.
AT_ONCE_ON_CPU = 256


@dataclass(frozen=True, slots=True)
class SideNetwork:
    """The U-Net with the arguments that build it again; `blind`: it must not be shown the target sample."""

    config: UNetConfig
    unet: UNet
    blind: bool

    def estimate(self, windows: Tensor, normaliser: Normaliser, target: int) -> Tensor:
        """(B, C) what sample `target` of windows (B, C, T), NaN = missing, should be, all in the input's units.

        A pure function of the window. Where the network answers NaN or infinity, so does this.
        """
        if windows.device.type != "cpu":
            return self._estimate(windows, normaliser, target)
        parts = [self._estimate(part, normaliser, target) for part in torch.split(windows, AT_ONCE_ON_CPU)]
        return torch.cat(parts)

    def _estimate(self, windows: Tensor, normaliser: Normaliser, target: int) -> Tensor:
        observed = ~torch.isnan(windows)
        if self.blind:
            observed[..., target] = False
        x = absolute(windows, observed, normaliser)
        found: Tensor = self.unet(x, observed, target, target + 1)
        return normaliser.restore(found, normaliser.centre)[..., 0]


def absolute(windows: Tensor, observed: Tensor, normaliser: Normaliser) -> Tensor:
    """Windows (B, C, T) as the U-Net sees them: missing values filled in, in scales around the channel's centre.

    Unlike the autoencoder's they keep their level: a baseline that drifts could not be told from one that was taken.
    """
    x = filled(windows, observed, normaliser.centre).clamp(normaliser.low, normaliser.high)
    return ((x - normaliser.centre) / normaliser.scale).clamp(-CLIP, CLIP)


@dataclass(frozen=True, slots=True)
class _Marks:
    """The choices as tensors, (C,): whom to ask for an observed value and for a missing one."""

    keep: Tensor
    by_unet: Tensor
    fill_unet: Tensor

    @classmethod
    def of(cls, choices: Sequence[ChannelChoice], device: torch.device) -> "_Marks":
        keep = torch.tensor([choice.by == "identity" for choice in choices], device=device)
        by_unet = torch.tensor([choice.by == "unet" for choice in choices], device=device)
        fill_unet = torch.tensor([choice.fill == "unet" for choice in choices], device=device)
        return cls(keep, by_unet, fill_unet)


@dataclass(frozen=True, slots=True)
class Denoiser:
    """What was chosen for each channel; nothing in it changes."""

    choices: tuple[ChannelChoice, ...]
    network: SideNetwork | None
    marks: _Marks

    @classmethod
    def of(
        cls, choices: Sequence[ChannelChoice], network: SideNetwork | None = None, device: str | torch.device = "cpu"
    ) -> "Denoiser":
        """All tensors on `device`, that of the network."""
        return cls(tuple(choices), network, _Marks.of(choices, torch.device(device)))

    def choosing(self, choices: Sequence[ChannelChoice]) -> "Denoiser":
        """The same network with other choices."""
        return Denoiser.of(choices, self.network, self.marks.keep.device)

    def asked(self, observed: Tensor) -> SideNetwork | None:
        """The U-Net, if it has a say about targets that were observed so, (B, C)."""
        marks = self.marks
        has_a_say = bool(marks.by_unet.any()) or bool((marks.fill_unet & ~observed).any())
        return self.network if has_a_say else None

    def cleaned(self, x: Tensor, observed: Tensor, autoencoder: Tensor, unet: Tensor | None) -> Tensor:
        """(B, C) cleaned values from the observed ones and the estimates, all in the input's units.

        A channel that is left alone keeps its values to the bit. What the U-Net has no finite answer to is answered by
        the autoencoder, and so is an infinite value.
        """
        by, fill = autoencoder, autoencoder
        if unet is not None:
            usable = torch.isfinite(unet)
            by = torch.where(self.marks.by_unet & usable, unet, autoencoder)
            fill = torch.where(self.marks.fill_unet & usable, unet, autoencoder)
        best = torch.where(self.marks.keep & torch.isfinite(x), x, by)
        return torch.where(observed, best, fill)

    def to(self, device: torch.device) -> "Denoiser":
        network = self.network
        if network is not None:
            network = replace(network, unet=network.unet.to(device))
        return Denoiser.of(self.choices, network, device)


def unmeasured(channels: int, reason: str) -> tuple[ChannelChoice, ...]:
    """The autoencoder for every channel, with nothing measured."""
    choice = ChannelChoice(by="autoencoder", fill="autoencoder", reason=reason, figures={})
    return (choice,) * channels
