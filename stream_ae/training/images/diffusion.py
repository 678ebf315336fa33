"""Frames to a diffusion prior over their codes (Ho et al. 2020, algorithm 1, on codes as Rombach et al. 2022 do)."""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stream_ae.errors import ConfigError
from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.models.images.config import BottleneckKind
from stream_ae.models.images.detector import ImageDetector
from stream_ae.models.images.diffusion import LatentPrior, LatentUNet, diffusion_config, schedule_of
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.descend import PRIOR, Length, descend
from stream_ae.training.fit import reproducible
from stream_ae.training.ranks import Batch, Ranks

BATCH = 64


def check_prior(bottleneck: BottleneckKind, whole: bool, options: TrainingSettings) -> None:
    """Raises ConfigError before anything is trained if `options.diffusion_steps` asks for a prior that cannot be had;
    whole: the network sees a frame at once."""
    if not options.diffusion_steps:
        return
    asked = f"training.diffusion_steps is {options.diffusion_steps}, but "
    if bottleneck != "spatial":
        raise ConfigError(
            f"{asked}the model is {bottleneck}: a diffusion prior is over the codes of training.model conv2d-spatial; "
            "set that, or training.diffusion_steps to 0"
        )
    if not whole:
        raise ConfigError(
            f"{asked}the frames are cut into tiles, whose codes would be drawn one by one and not fit each other: give "
            "smaller frames, or set training.diffusion_steps to 0"
        )
    schedule_of(diffusion_config(1))


def fitted_prior(
    detector: ImageDetector, frames: NDArray[Any], options: TrainingSettings, support: Support = UNSUPPORTED
) -> LatentPrior:
    """A prior over the codes of frames (N, C, H, W), NaN = missing, learnt in `options.diffusion_steps` (1 or more);
    the same frames, options and number of threads give the same one on a CPU, and with several ranks up to rounding.

    Raises ConfigError if the model's codes are not spatial, frames are cut into tiles or `diffusers` is missing."""
    check_prior(detector.network.config.bottleneck, detector.network.tiling.whole, options)
    config = diffusion_config(detector.network.config.latent)
    schedule, codes = schedule_of(config), _codes(detector, frames)
    with reproducible(options.seed, options.threads) as generator:
        unet = LatentUNet(config).to(memory_format=torch.channels_last)
        taught = _Taught(unet, codes, schedule, generator)
        descend(taught, Length(PRIOR, options.diffusion_steps), options, support)
    return LatentPrior(config, unet.requires_grad_(False).eval())


@dataclass(frozen=True, slots=True)
class _Taught:
    """A U-Net over codes and what it learns from."""

    network: LatentUNet
    codes: GaussianPosterior
    schedule: Any
    generator: Generator

    def loss(self, ranks: Ranks) -> Tensor:
        """Of the next batch: how the noise and the code mix, predicted from their mixture."""
        batch = Batch.of(BATCH, ranks)
        chosen = torch.randint(0, len(self.codes.mu), (BATCH,), generator=self.generator)
        z = GaussianPosterior(self.codes.mu[chosen], self.codes.logvar[chosen]).sample(self.generator)
        noise = torch.randn(z.shape, generator=self.generator)
        times = torch.randint(0, self.schedule.config.num_train_timesteps, (BATCH,), generator=self.generator)
        z, noise, times = (batch.rows.cut(drawn) for drawn in (z, noise, times))
        velocity = self.network(self.schedule.add_noise(z, noise, times), times)
        return batch.mean_part((velocity - self.schedule.get_velocity(z, noise, times)).square())


def _codes(detector: ImageDetector, frames: NDArray[Any]) -> GaussianPosterior:
    """Of all frames. The prior learns codes that are drawn from them, as the decoder did: Frechet distance of MNIST's
    features after 2000 steps 58 with the most likely codes, 50 with codes that were drawn, once for each frame."""
    parts = []
    with torch.no_grad():
        for part in detector.parts(frames):
            posterior = detector.network.autoencoder.encode(detector.seen(part).rest)
            assert isinstance(posterior, GaussianPosterior)
            parts.append((posterior.mu.cpu(), posterior.logvar.cpu()))
    mu, logvar = (torch.cat(values) for values in zip(*parts, strict=True))
    return GaussianPosterior(mu, logvar)
