"""A small residual U-Net over images, for denoising only: its skip connections leave no bottleneck to detect by."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream_ae.models.images.config import ImageUNetConfig

# The first level is the dearest one and holds mostly noise, so it is thin; the last one is nearly free, and sees what a
# hole has to be filled in from. 100 thousand parameters.
WIDTHS = (12, 24, 32, 32)
DILATIONS = (1, 2)


# Of the noise in a pixel: beyond, the likelihood would have no use for the pixel or for anything else.
LEAST_LOGVAR, MOST_LOGVAR = -9.0, 6.0


def image_unet_config(channels: int, blind: bool = False) -> ImageUNetConfig:
    return ImageUNetConfig(channels=channels, widths=WIDTHS, blind=blind)


@dataclass(frozen=True, slots=True)
class Guess:
    """What pixels should be, (B, C, H, W), and, if the network is blind, the log-variance of what they are around it:
    of its own error and of the noise together."""

    x_hat: Tensor
    logvar: Tensor | None


class _Residual(nn.Module):
    """x + relu(conv(x))."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.relu(self.layer(x))


class ImageUNet(nn.Module):
    """Images (B, C, H, W) in the network's units, and where they were observed, to denoised ones, of any size.

    It predicts what to take off (Zhang et al. 2017, section 3.2). A blind one predicts the pixel itself, which it must
    not know, and how far off it will be (Laine et al. 2019).
    """

    def __init__(self, config: ImageUNetConfig) -> None:
        super().__init__()
        C, widths, self.blind = config.channels, config.widths, config.blind
        self.stem = nn.Conv2d(2 * C, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 5 if level == 0 else 3, 2, padding=2 if level == 0 else 1)
            for level, (inputs, outputs) in enumerate(pairwise((2 * C, *widths[1:])))
        )
        self.deepen = nn.ModuleList(
            nn.Sequential(*(_Residual(width, dilation if width == widths[-1] else 1) for dilation in DILATIONS))
            for width in widths[1:]
        )
        self.up = nn.ModuleList(nn.Conv2d(deep + width, width, 3, padding=1) for width, deep in pairwise(widths))
        self.last = nn.Conv2d(widths[0], 2 * C if config.blind else C, 1)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> Guess:
        """`x` is filled in where it was not observed; None stands for everywhere."""
        seen = torch.ones_like(x) if observed is None else observed.to(x.dtype)
        given = torch.cat((x, seen), 1).contiguous(memory_format=torch.channels_last)
        skips = [functional.relu(self.stem(given))]
        for down, deepen in zip(self.down, self.deepen, strict=True):
            given = deepen(functional.relu(down(given)))
            skips.append(given)
        rows = skips.pop()
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            # Odd sides were rounded up on the way down.
            doubled = functional.interpolate(rows, scale_factor=2.0)[..., : skip.shape[2], : skip.shape[3]]
            rows = functional.relu(up(torch.cat((doubled, skip), 1)))
        found: Tensor = self.last(rows)
        if not self.blind:
            return Guess(x - found, None)
        x_hat, logvar = found.chunk(2, dim=1)
        return Guess(x_hat, logvar.clamp(LEAST_LOGVAR, MOST_LOGVAR))
