"""Do no harm: every denoiser is compared with leaving the pixel alone, channel by channel, and the better is served.

The reasoning is that of `training.choose`: without clean frames the loss on pixels that a network was not shown is
compared with twice the noise's power, with clean ones noise is added and the gain is measured.
"""

import numpy as np
import torch

from stream_ae.models.config import ChannelChoice
from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Bool, Float32, Float64
from stream_ae.training.choose import NETWORKS, Losses, by_gains, by_masked_loss
from stream_ae.training.images.corruptions import Corruption, SaltAndPepper, White, black_and_white
from stream_ae.training.images.noise_power import noise_power

MOST_FRAMES = 500
MOST_PIXELS = 4_000_000
HIDDEN_SHARE = 0.05


def choose(detector: ImageDetector, frames: Float32, seed: int = 0) -> tuple[ChannelChoice, ...]:
    """The choice for each channel by frames (N, C, H, W) that the networks were not fitted on, noisy as they are."""
    noise = noise_in_units(detector, frames).tolist()
    losses = _masked_losses(detector, _some(frames), seed).of_channels()
    return tuple(by_masked_loss(*one) for one in zip(noise, losses, strict=True))


def choose_by_clean(detector: ImageDetector, frames: Float32, seed: int = 0) -> tuple[ChannelChoice, ...]:
    """The choice for each channel by clean frames that the networks were not fitted on, with noise added to them."""
    some = _some(frames)
    low, high = black_and_white(detector.network.normaliser)
    noises: dict[str, Corruption] = {
        **{f"gain_gaussian_{size:g}": White(size, size) for size in (0.1, 0.5, 1.0)},
        "gain_salt_and_pepper": SaltAndPepper(low, high, 0.1, 0.1),
    }
    losses = _masked_losses(detector, some, seed).of_channels()
    gains = np.stack([_gains(detector, some, noise, seed) for noise in noises.values()])
    return tuple(by_gains(gains[..., c], loss, tuple(noises)) for c, loss in enumerate(losses))


def chosen_for(detector: ImageDetector, frames: Float32, seed: int = 0) -> ImageDetector:
    """The detector with its choices made anew by recent frames (N, C, H, W) of a source that training did not see."""
    return detector.choosing(choose(detector, frames, seed))


def noise_in_units(detector: ImageDetector, frames: Float32) -> Float64:
    """(C,) variance of the white noise in frames, in the network's units."""
    noise: Float64 = noise_power(frames) / np.square(_scale(detector))
    return noise


def _some(frames: Float32) -> Float32:
    return frames[: max(min(MOST_FRAMES, MOST_PIXELS // max(frames[0].size, 1)), 1)]


def _scale(detector: ImageDetector) -> Float64:
    scale: Float64 = detector.network.normaliser.scale[:, 0].double().cpu().numpy()
    return scale


def _masked_losses(detector: ImageDetector, frames: Float32, seed: int) -> Losses:
    generator = np.random.default_rng(seed)
    networks = NETWORKS if detector.denoiser.side is not None else NETWORKS[:1]
    scale = _scale(detector)
    sums, count = np.zeros((len(networks), len(scale))), np.zeros(len(scale))
    for part in detector.parts(frames):
        hidden = generator.random((len(part), 1, *part.shape[2:])) < HIDDEN_SHARE
        known = hidden & ~np.isnan(part)
        count += known.sum((0, 2, 3))
        estimates = detector.estimates(np.where(hidden, np.nan, part).astype(np.float32))
        for row, estimate in enumerate(estimates[: len(networks)]):
            sums[row] += _squares(estimate, part, known, scale)
    return Losses(sums, count, networks)


def _gains(detector: ImageDetector, frames: Float32, noise: Corruption, seed: int) -> Float64:
    """(networks, C) dB by which the networks' errors are below the noise that was added."""
    generator, scale = torch.Generator().manual_seed(seed), _scale(detector)
    unit, centre = (
        values[:, 0].cpu().numpy()[:, None, None]
        for values in (detector.network.normaliser.scale, detector.network.normaliser.centre)
    )
    before, after = np.zeros(len(scale)), np.zeros((2, len(scale)))
    for part in detector.parts(frames):
        known = ~np.isnan(part)
        spoilt = noise(torch.from_numpy((part - centre) / unit), generator).numpy() * unit + centre
        before += _squares(spoilt, part, known, scale)
        for row, estimate in enumerate(detector.estimates(spoilt)):
            after[row] += _squares(estimate, part, known, scale)
    tiny = np.finfo(np.float64).tiny
    gains: Float64 = 10.0 * np.log10(np.maximum(before, tiny) / np.maximum(after, tiny))
    return gains


def _squares(estimate: Float32, truth: Float32, known: Bool, scale: Float64) -> Float64:
    """(C,) sums of squared errors in the network's units over what is known."""
    off = (estimate.astype(np.float64) - np.where(known, truth, 0.0)) / scale[:, None, None]
    sums: Float64 = np.where(known, np.square(off), 0.0).sum((0, 2, 3))
    return sums
