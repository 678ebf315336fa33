"""What is left of a frame to a calibrated score, and to a map of where it is wrong.

Three views of a frame: the network's squared error on average, the worst place of the error map, and what linear
components leave. They see different faults, so each is put on a tail-probability scale. The two of the whole frame are
joined by the root of their squares, and the worst place counts where it says more than both. One-class AUROC on MNIST:
the network .970, the components .977, both .981; small faults only the worst place sees.

A frame of more contrast has more to get wrong, whatever it shows, so squared errors are divided by a power of it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stream_ae.models.calibration import TailScale
from stream_ae.records import Float32, Float64

FAR = 1e3
"""Scales off beyond which all errors count alike: their squares must stay finite in float32."""

TINY = 1e-12

CONTRAST_POWER = 1.5
"""2 if all of an error grew with the contrast, 0 if none did (one-class AUROC of 20 components on MNIST, powers 0, 1,
1.5 and 2: .952, .967, .972, .970; learnt from the normal frames of each digit .959: they are too few and too alike)."""

SOFT = 0.7
"""Pixels that frames are smoothed by before they are compared: edges that are a little off count less (AUROC of the
components .947 to .952, of the network alone +.012 on the four hardest digits)."""

PLACE = 2.5
"""Pixels over which the worst place is an average (AUROC on the four hardest digits: of 1 pixel .957, of 3 .961)."""


def blurred(x: Tensor, sigma: float, observed: Tensor | None = None) -> Tensor:
    """Frames (B, C, H, W) smoothed by a Gaussian of `sigma` pixels; only observed pixels (default: all) are averaged,
    so edges and holes do not darken. 0 where nothing is near."""
    reach = math.ceil(2.5 * sigma)
    kernel = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-reach, reach + 1)]
    weights = torch.ones_like(x[:1, :1]) if observed is None else observed.to(x.dtype)
    given = x if observed is None else torch.where(observed, x, 0.0)
    return _smeared(given, kernel) / _smeared(weights, kernel).clamp(min=TINY)


def _smeared(x: Tensor, kernel: list[float]) -> Tensor:
    """Along both axes, 0 beyond the frame. Sums of shifted frames: a convolution of one channel takes 3 (28 x 28) to 20
    times (256 x 256) as long."""
    for axis in (-2, -1):
        reach, side = len(kernel) // 2, x.shape[axis]
        padding = (0, 0, reach, reach) if axis == -2 else (reach, reach)
        padded = functional.pad(x, padding)
        total = kernel[0] * padded.narrow(axis, 0, side)
        for shift, weight in enumerate(kernel[1:], 1):
            total.add_(padded.narrow(axis, shift, side), alpha=weight)
        x = total
    return x


@dataclass(frozen=True, slots=True)
class Contrasts:
    """How large a normal squared error is at a frame's contrast: (contrast / usual) ** CONTRAST_POWER.

    contrast: standard deviation of the frame's pixels in the network's units, counted as no less than `least` and no
    more than `most`, so that glare cannot hide a fault.
    """

    usual: float
    least: float
    most: float

    def sizes(self, contrast: Tensor) -> Tensor:
        """(B,) what squared errors of such frames are divided by."""
        return (contrast.clamp(self.least, self.most) / self.usual) ** CONTRAST_POWER


PLAIN_CONTRASTS = Contrasts(1.0, 1.0, 1.0)


def contrasts(x: Tensor, observed: Tensor | None) -> Tensor:
    """(B,) standard deviation of the observed pixels around their channel's mean, in the network's units."""
    if observed is None:
        return (x - x.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()
    counts = observed.sum((2, 3), keepdim=True).clamp(min=1)
    mean = torch.where(observed, x, 0.0).sum((2, 3), keepdim=True) / counts
    squares = torch.where(observed, (x - mean).square(), 0.0).sum((2, 3), keepdim=True)
    return (squares / counts).flatten(1).mean(1).sqrt()


@dataclass(frozen=True, slots=True)
class Errors:
    """Squared errors (B, C, H, W) of both views in the network's units, 0 where nothing was observed, smoothed ones of
    the same, what was observed (None: everything), and the frames' contrast (B,)."""

    network: Tensor
    linear: Tensor
    smooth_network: Tensor
    smooth_linear: Tensor
    observed: Tensor | None
    contrast: Tensor


@dataclass(frozen=True, slots=True)
class PixelLevels:
    """Mean squared error of normal frames at each pixel, (C, H, W), all positive."""

    network: Tensor
    linear: Tensor

    def to(self, device: torch.device) -> "PixelLevels":
        return replace(self, network=self.network.to(device), linear=self.linear.to(device))


@dataclass(frozen=True, slots=True)
class ImageViews:
    """Raw scores (B,) of each view, and where the frame is wrong (B, C, H, W): 1 = as far off as is normal there."""

    mean: Float64
    peak: Float64
    linear: Float64
    map: Tensor


@dataclass(frozen=True, slots=True)
class ImageScoring:
    """Everything between an error and a decision; saved with the weights. `blur`: pixels that maps are smoothed by."""

    levels: PixelLevels
    contrasts: Contrasts
    blur: float
    mean: TailScale
    peak: TailScale
    linear: TailScale
    fused: TailScale
    threshold: float

    def errors(self, x: Tensor, network: Tensor, linear: Tensor, observed: Tensor | None) -> Errors:
        """Of frames `x`, what the network puts for them and what the components put for softened ones: all (B, C, H, W)
        in the network's units."""
        # What was not observed must not bend what is beside it.
        soft = blurred(x if observed is None else torch.where(observed, x, network), SOFT)
        squares = _squares(soft, blurred(network, SOFT), observed), _squares(soft, linear, observed)
        smooth = [blurred(square, self.blur, observed) for square in squares]
        return Errors(squares[0], squares[1], smooth[0], smooth[1], observed, contrasts(x, observed))

    def views(self, errors: Errors) -> ImageViews:
        sizes = self.contrasts.sizes(errors.contrast)
        network, linear = errors.smooth_network / self.levels.network, errors.smooth_linear / self.levels.linear
        both = 0.5 * (network + linear) / sizes[:, None, None, None]
        peak = blurred(both.mean(1, keepdim=True), PLACE).amax((1, 2, 3))
        mean = _mean(errors.network, errors.observed) / sizes
        left = _mean(errors.linear, errors.observed) / sizes
        return ImageViews(_double(mean), _double(peak), _double(left), both.sqrt())

    def score(self, views: ImageViews) -> Float64:
        """(B,) -log10 of the tail probability: finite, 0 and more."""
        return self.fused.level(self.fuse(views))

    def fuse(self, views: ImageViews) -> Float64:
        """(B,) what the last calibration is of."""
        whole = np.hypot(self.mean.level(views.mean), self.linear.level(views.linear))
        fused: Float64 = np.maximum(whole, self.peak.level(views.peak))
        return fused

    def to(self, device: torch.device) -> "ImageScoring":
        return replace(self, levels=self.levels.to(device))


def shares(error_map: Tensor) -> Float32:
    """(B, C * H * W) each pixel's share of maps (B, C, H, W); rows sum to 1, evenly where nothing is wrong."""
    rows = error_map.flatten(1)
    total = rows.sum(1, keepdim=True)
    even = torch.full_like(rows, 1.0 / rows.shape[1])
    share: Float32 = torch.where(total > TINY, rows / total.clamp(min=TINY), even).cpu().numpy()
    return share


def _squares(x: Tensor, put: Tensor, observed: Tensor | None) -> Tensor:
    squares = (x - put).clamp(-FAR, FAR).square()
    return squares if observed is None else torch.where(observed, squares, 0.0)


def _mean(squares: Tensor, observed: Tensor | None) -> Tensor:
    if observed is None:
        return squares.mean((1, 2, 3))
    return squares.sum((1, 2, 3)) / observed.sum((1, 2, 3)).clamp(min=1)


def _double(values: Tensor) -> Float64:
    doubles: Float64 = values.double().cpu().numpy()
    return doubles
