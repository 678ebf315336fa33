"""Encoder, bottleneck and decoder of images, composed. Axes (B, C, H, W); a patch is what the network sees at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from stream_ae.models.blocks import halved
from stream_ae.models.bottleneck import (
    LEAST_LOGVAR,
    MOST_LOGVAR,
    Deterministic,
    GaussianPosterior,
    Posterior,
    Variational,
)
from stream_ae.models.images.config import AutoencoderConfig, BottleneckKind
from stream_ae.models.rows import Rows

# A flat code is read from a level of about this side; a spatial one keeps a quarter of each side (Rombach et al. 2022:
# reconstructions suffer beyond a factor of 8).
SMALLEST, SPATIAL_HALVINGS = 4, 2
FIRST_WIDTH, WIDTH = 16, 32
LATENT: dict[BottleneckKind, int] = {"deterministic": 32, "variational": 16, "spatial": 4}


class ImageEncoder(nn.Module):
    """Patches to feature maps (B, F, h, w): convolutions, each halving both sides."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *widths)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class ImageDecoder(nn.Module):
    """Feature maps to patches: the way back, each level after doubling both sides.

    Pixels are repeated and then convolved: strided transposed convolutions leave a pattern (Odena et al. 2016).
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((*widths, widths[-1])):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        x_hat: Tensor = self.last(self.layers(features))
        return x_hat


class SpatialVariational(nn.Module):
    """A Gaussian at every place: features (B, F, h, w) to means and log-variances (B, Z, h, w)."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(features, 2 * latent, 1)

    def forward(self, features: Tensor) -> GaussianPosterior:
        mu, logvar = self.project(features).chunk(2, dim=1)
        return GaussianPosterior(mu, logvar.clamp(LEAST_LOGVAR, MOST_LOGVAR))


@dataclass(frozen=True, slots=True)
class ImageReconstruction:
    """x_hat (B, C, H, W) and the posterior that it was decoded from."""

    x_hat: Tensor
    posterior: Posterior


class ImageAutoencoder(nn.Module):
    """Patches (B, C, H, W) in the network's units, there and back; codes are (B, Z), or (B, Z, h, w) if spatial."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch, self.spatial = config.patch, config.bottleneck == "spatial"
        self.least = smallest(config)
        features, latent = config.widths[-1], config.latent
        flat = features * self.least[0] * self.least[1]
        self.encoder = ImageEncoder(config.channels, config.widths)
        self.bottleneck: Deterministic | Variational | SpatialVariational
        self.enter: nn.Linear | nn.Conv2d
        if self.spatial:
            self.bottleneck, self.enter = SpatialVariational(features, latent), nn.Conv2d(latent, features, 1)
        else:
            kind = Variational if config.bottleneck == "variational" else Deterministic
            self.bottleneck, self.enter = kind(flat, latent), nn.Linear(latent, flat)
        self.decoder = ImageDecoder(config.channels, config.widths[::-1])

    def encode(self, x: Tensor) -> Posterior:
        features = self.encoder(x)
        posterior: Posterior = self.bottleneck(features if self.spatial else features.flatten(1))
        return posterior

    def decode(self, z: Tensor) -> Tensor:
        features = self.enter(z).relu()
        if not self.spatial:
            features = features.unflatten(1, (-1, *self.least))
        x_hat: Tensor = self.decoder(features)
        # Odd sides were rounded up on the way in.
        return x_hat[..., : self.patch[0], : self.patch[1]]

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, rows: Rows | None = None
    ) -> ImageReconstruction:
        posterior = self.encode(x)
        return ImageReconstruction(self.decode(posterior.sample(generator, rows)), posterior)


def smallest(config: AutoencoderConfig) -> tuple[int, int]:
    """Sides of the smallest level."""
    height, width = (halved(side, len(config.widths)) for side in config.patch)
    return height, width


def code_shape(config: AutoencoderConfig) -> tuple[int, ...]:
    """Shape of one patch's code: (Z,) or (Z, h, w)."""
    return (config.latent, *smallest(config)) if config.bottleneck == "spatial" else (config.latent,)


def autoencoder_config(channels: int, patch: tuple[int, int], bottleneck: BottleneckKind) -> AutoencoderConfig:
    """An autoencoder that fits patches of this size."""
    halvings = 1
    if bottleneck == "spatial":
        halvings = SPATIAL_HALVINGS
    while bottleneck != "spatial" and halved(max(patch), halvings) > SMALLEST:
        halvings += 1
    widths = (FIRST_WIDTH, *(WIDTH,) * (halvings - 1))
    return AutoencoderConfig(
        channels=channels, patch=patch, widths=widths, latent=LATENT[bottleneck], bottleneck=bottleneck
    )
