"""A detector before training: units, tiles and linear components are found, weights and calibration are not."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from stream_ae.models.calibration import TailScale
from stream_ae.models.config import ChannelChoice
from stream_ae.models.images.config import BottleneckKind
from stream_ae.models.images.denoiser import ImageDenoiser
from stream_ae.models.images.detector import ImageDetector, ImageNetwork
from stream_ae.models.images.linear import LinearPatch
from stream_ae.models.images.networks import ImageAutoencoder, autoencoder_config
from stream_ae.models.images.scoring import PLAIN_CONTRASTS, SOFT, ImageScoring, PixelLevels, blurred
from stream_ae.models.images.tiles import OVERLAP, Tiling, patch_of
from stream_ae.records import Float32
from stream_ae.training.images.frames import fitted_normaliser
from stream_ae.training.linear import principal_directions

# Maps are smoothed by so many pixels.
BLUR = 1.0
# What the components are found on: so many values in memory, at most.
MOST_VALUES = 1 << 25
PLAIN = TailScale(np.zeros(1), np.zeros(1), 0.0, 1.0)


def template_of(
    frames: Float32, channels: Sequence[str], bottleneck: BottleneckKind, lineage: Mapping[str, str], seed: int
) -> ImageDetector:
    """For frames (N, C, H, W), which the linear components are found on."""
    shape = frames.shape[1:]
    height, width = shape[1:]
    patch = patch_of(height, width)
    config = autoencoder_config(len(channels), patch, bottleneck)
    with torch.device("meta"):
        autoencoder = ImageAutoencoder(config)
    pixels = len(channels) * patch[0] * patch[1]
    nothing = LinearPatch(torch.zeros(pixels), torch.zeros(pixels, 1))
    tiling = Tiling((height, width), patch, min(OVERLAP, min(patch) // 2))
    network = ImageNetwork(config, autoencoder, nothing, tiling, fitted_normaliser(frames), torch.zeros(shape))
    levels = PixelLevels(torch.ones(shape), torch.ones(shape))
    scoring = ImageScoring(levels, PLAIN_CONTRASTS, BLUR, PLAIN, PLAIN, PLAIN, PLAIN, threshold=np.inf)
    choice = ChannelChoice(by="autoencoder", fill="autoencoder", reason="nothing was measured", figures={})
    bare = ImageDetector(tuple(channels), network, scoring, ImageDenoiser((choice,) * len(channels)), dict(lineage))
    ready = bare.knowing(_usual(bare, frames))
    return ready.with_linear(fitted_linear(ready, frames, seed))


def fitted_linear(template: ImageDetector, frames: Float32, seed: int) -> LinearPatch:
    """Components of the template's tiles of what is not usual in softened frames (N, C, H, W)."""
    tiling, pixels = template.network.tiling, len(template.network.linear.mean)
    tiles = len(tiling.corners)
    generator = np.random.default_rng(seed)
    few = generator.permutation(len(frames))[: max(MOST_VALUES // (pixels * tiles), 1)]
    found = [
        tiling.cut(blurred(template.seen(part).rest, SOFT), tiling.corners)
        for part in template.parts(frames[np.sort(few)])
    ]
    rows = torch.cat(found).flatten(1)
    mean = rows.mean(0)
    return LinearPatch(mean, principal_directions(rows - mean, seed))


def _usual(template: ImageDetector, frames: Float32) -> Tensor:
    """(C, H, W) mean over what was observed of each pixel, in the network's units; 0 where nothing ever was."""
    total, count = torch.zeros(template.frame, dtype=torch.float64), torch.zeros(template.frame, dtype=torch.float64)
    for part in template.parts(frames):
        seen = template.seen(part)
        observed = torch.ones_like(seen.x, dtype=torch.bool) if seen.observed is None else seen.observed
        total += torch.where(observed, seen.x, 0.0).sum(0, dtype=torch.float64)
        count += observed.sum(0)
    return (total / count.clamp(min=1)).float()
