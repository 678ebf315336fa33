"""Frames to a U-Net that denoises, and to the choice of who cleans which channel.

With clean frames it learns to take off what was added, one network for everything ("blind", Zhang et al. 2017).
Without, it learns to tell pixels that it was shown a neighbour of instead: their noise it then cannot know (Noise2Void,
Krull et al. 2019).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.models.images.denoiser import ImageDenoiser, ImageSide
from stream_ae.models.images.detector import ImageDetector, Seen
from stream_ae.models.images.unet import ImageUNet, image_unet_config
from stream_ae.models.normaliser import CLIP
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.descend import UNET, Length, descend
from stream_ae.training.fit import reproducible
from stream_ae.training.images.choose import choose, choose_by_clean, noise_in_units
from stream_ae.training.images.corruptions import Corruption, any_corruption, lost_blocks, neighbours
from stream_ae.training.images.fit import patches
from stream_ae.training.images.frames import Frames
from stream_ae.training.ranks import Batch, Ranks

# A step costs about the same whatever the patch: 32 of 28 x 28 pixels.
PIXELS_A_STEP, LEAST_PATCHES = 32 * 28 * 28, 4
# Without clean frames: share of pixels that show a neighbour, and of frames in which a block is missing.
HIDDEN_SHARE, BLOCK_SHARE, LARGEST_BLOCK = 0.15, 0.25, 0.3
# Squares would listen to the noisiest frames alone, their roots hardly to large holes; the least error keeps it smooth.
# MNIST, noise .25 / .50 / salt and pepper / a missing block: 24.0 / 19.6 / 22.5 / 20.1 dB so, 23.8 / 19.6 / 22.3 / 20.9
# with a power of .75.
POWER, LEAST_ERROR = 0.6, 1e-4


def with_denoiser(
    detector: ImageDetector, frames: Frames, options: TrainingSettings, support: Support = UNSUPPORTED
) -> ImageDetector:
    """The detector with the denoiser that `options.denoiser` asks for ("auto": a U-Net), chosen for each channel on
    held-out frames."""
    choices = detector.denoiser.choices
    if options.denoiser in ("none", "autoencoder"):
        by: CleanedBy = "identity" if options.denoiser == "none" else "autoencoder"
        reason = f"asked for: training.denoiser is {options.denoiser}"
        fixed = ChannelChoice(by=by, fill="autoencoder", reason=reason, figures={})
        return detector.beside(ImageDenoiser((fixed,) * len(choices)))
    ready = detector.beside(ImageDenoiser(choices, fitted_unet(detector, frames.fit, options, support)))
    chosen = (choose_by_clean if options.clean else choose)(ready, frames.held_out, options.seed)
    return ready.choosing(chosen)


def fitted_unet(
    detector: ImageDetector, frames: Float32, options: TrainingSettings, support: Support = UNSUPPORTED
) -> ImageSide:
    """A U-Net trained on patches of the frames; the same ones, options and number of threads give the same one on a
    CPU, and with several ranks up to rounding."""
    config = image_unet_config(len(detector.channels), blind=not options.clean)
    height, width = detector.network.config.patch
    count = max(PIXELS_A_STEP // (height * width), LEAST_PATCHES)
    corruption = any_corruption(detector.network.normaliser) if options.clean else None
    with reproducible(options.seed, options.threads) as generator:
        unet = ImageUNet(config).to(memory_format=torch.channels_last)
        taught = _Taught(unet, detector, Patches(frames, count), corruption, generator)
        descend(taught, Length(UNET, options.denoiser_steps), options, support)
    noise = () if options.clean else tuple(noise_in_units(detector, frames).tolist())
    return ImageSide(config, unet.requires_grad_(False).eval(), noise)


@dataclass(frozen=True, slots=True)
class Patches:
    """Frames, and of how many of them each step sees a patch."""

    frames: Float32
    count: int


@dataclass(frozen=True, slots=True)
class _Taught:
    """A U-Net and what it learns from; corruption: what it learns to take off, None without clean frames."""

    network: ImageUNet
    detector: ImageDetector
    patches: Patches
    corruption: Corruption | None
    generator: Generator

    def loss(self, ranks: Ranks) -> Tensor:
        """Of the next batch."""
        frames, count = self.patches.frames, self.patches.count
        chosen = torch.randint(0, len(frames), (count,), generator=self.generator).numpy()
        whole = patches(self.detector, frames, chosen, self.generator)
        if self.corruption is not None:
            return clean_loss(self.network, whole, self.corruption(whole.x, self.generator), Batch.of(count, ranks))
        return blind_loss(self.network, whole, self.generator, Batch.of(count, ranks))


def clean_loss(unet: ImageUNet, whole: Seen, spoilt: Tensor, batch: Batch) -> Tensor:
    """What is left of corruptions of clean patches, NaN = lost, in the rows of this rank."""
    clean, spoilt = whole.part(batch.rows), batch.rows.cut(spoilt)
    seen = ~torch.isnan(spoilt)
    if clean.observed is not None:
        seen &= clean.observed
    shown = torch.where(seen, spoilt, 0.0).clamp(-CLIP, CLIP)
    squares = (unet(shown, seen).x_hat - clean.x).square()
    if clean.observed is not None:
        squares = torch.where(clean.observed, squares, 0.0)
    return batch.mean_part((squares.mean((1, 2, 3)) + LEAST_ERROR) ** POWER)


def blind_loss(unet: ImageUNet, noisy: Seen, generator: Generator, batch: Batch) -> Tensor:
    """Squared error on the pixels that show a neighbour, or are missing, of patches as they are; and the negative
    log-likelihood of how large it was said to be, which teaches the guess nothing. In the rows of this rank."""
    x = noisy.x
    observed = torch.ones_like(x, dtype=torch.bool) if noisy.observed is None else noisy.observed
    swapped = torch.rand((len(x), 1, *x.shape[2:]), generator=generator) < HIDDEN_SHARE
    some = torch.rand((len(x), 1, 1, 1), generator=generator) < BLOCK_SHARE
    lost = lost_blocks(x, LARGEST_BLOCK, generator) & some
    seen = observed & ~lost
    shown = torch.where(seen, torch.where(swapped, neighbours(x, generator), x), 0.0)
    asked = observed & (swapped | lost)
    mine = batch.rows.cut
    guess = unet(mine(shown), mine(seen))
    squares = (guess.x_hat - mine(x)).square()
    nats = 0.5 * (guess.logvar + squares.detach() * (-guess.logvar).exp())
    return torch.sum(torch.where(mine(asked), squares + nats, 0.0)) / asked.sum().clamp(min=1)
