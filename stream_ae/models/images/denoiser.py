"""Who cleans a pixel, channel by channel: nobody, the autoencoder, or a U-Net beside it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stream_ae.models.config import ChannelChoice
from stream_ae.models.images.config import ImageUNetConfig
from stream_ae.models.images.unet import ImageUNet


@dataclass(frozen=True, slots=True)
class ImageSide:
    """The U-Net with the arguments that build it again; `blind`: it learnt without clean frames."""

    config: ImageUNetConfig
    unet: ImageUNet
    blind: bool


@dataclass(frozen=True, slots=True)
class ImageDenoiser:
    """What was chosen for each channel; nothing in it changes."""

    choices: tuple[ChannelChoice, ...]
    side: ImageSide | None = None

    def asked(self, observed: Tensor | None) -> ImageSide | None:
        """The U-Net, if it has a say about frames that were observed so (None: everywhere)."""
        missing = observed is not None and not bool(observed.all())
        has_a_say = any(choice.by == "unet" or (missing and choice.fill == "unet") for choice in self.choices)
        return self.side if has_a_say else None

    def cleaned(self, x: Tensor, observed: Tensor | None, autoencoder: Tensor, unet: Tensor | None) -> Tensor:
        """(B, C, H, W) cleaned pixels from the given ones and the estimates, all in the input's units.

        A channel that is left alone keeps its values to the bit; what is infinite, or what the U-Net has no finite
        answer to, is answered by the autoencoder.
        """
        usable = torch.where(torch.isfinite(unet), unet, autoencoder) if unet is not None else autoencoder
        estimates = {"unet": usable, "autoencoder": autoencoder, "identity": torch.where(x.isfinite(), x, autoencoder)}
        channels = []
        for number, choice in enumerate(self.choices):
            best = estimates[choice.by][:, number]
            if observed is not None:
                best = torch.where(observed[:, number], best, estimates[choice.fill][:, number])
            channels.append(best)
        return torch.stack(channels, 1)

    def to(self, device: torch.device) -> "ImageDenoiser":
        side = self.side
        return replace(self, side=replace(side, unet=side.unet.to(device)) if side is not None else None)
