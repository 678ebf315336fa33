"""Held-out normal frames to levels of each pixel, tail scales and a threshold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from stream_ae.models.images.detector import ImageDetector
from stream_ae.models.images.linear import LinearPatch
from stream_ae.models.images.scoring import Contrasts, Errors, ImageViews, PixelLevels, blurred
from stream_ae.records import Float32, Float64
from stream_ae.training.calibrate import fitted_tail, warnings_of

# A pixel's own level is measured on few frames, so its surroundings have a say. None counts as less than twice what all
# are on average: places that hardly ever moved would drown the others (the worst place's one-class AUROC on MNIST's
# hardest digits .82 from a tenth on, .89 from 1 on; AUROC of pixels with defects from 1 on .952, from 2 on .958).
LEVEL_BLUR, LEAST_SHARE = 2.0, 2.0
# Squares: no error counts as smaller than 1 % of the channel's scale.
LEAST_LEVEL = 1e-4
# A frame with less contrast than a tenth of the usual counts as if it had that.
LEAST_CONTRAST = 0.1


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A detector that can decide, and what a person should know about how well."""

    detector: ImageDetector
    warnings: tuple[str, ...]


def calibrated(template: ImageDetector, frames: Float32, service: LinearPatch, false_alarm_rate: float) -> Calibrated:
    """Calibrate on normal frames (N, C, H, W) that nothing was fitted on: about `false_alarm_rate` of such are flagged.

    service: components of all frames there are, held-out ones too, to serve; the levels are then rather too high.
    """
    contrasts = _contrasts(torch.cat([errors.contrast for errors in _errors(template, frames)]))
    scoring = replace(template.scoring, contrasts=contrasts)
    scoring = replace(scoring, levels=_levels(replace(template, scoring=scoring), frames))
    views = [_numbers(scoring.views(errors)) for errors in _errors(template, frames)]
    tails = [fitted_tail(np.concatenate(raw)) for raw in zip(*views, strict=True)]
    scoring = replace(
        scoring,
        mean=tails[0].scale,
        peak=tails[1].scale,
        linear=tails[2].scale,
        threshold=float(-np.log10(false_alarm_rate)),
    )
    fused = fitted_tail(np.concatenate([scoring.fuse(scoring.views(errors)) for errors in _errors(template, frames)]))
    detector = replace(template, scoring=replace(scoring, fused=fused.scale)).with_linear(service)
    return Calibrated(detector, warnings_of(fused, len(frames), false_alarm_rate))


def _errors(detector: ImageDetector, frames: Float32) -> Iterator[Errors]:
    for part in detector.parts(frames):
        yield detector.errors(part)


def _numbers(views: ImageViews) -> tuple[Float64, Float64, Float64]:
    return views.mean, views.peak, views.linear


def _contrasts(contrast: torch.Tensor) -> Contrasts:
    usual = max(float(contrast.median()), 1e-6)
    return Contrasts(usual, LEAST_CONTRAST * usual, max(float(contrast.max()), usual))


def _levels(detector: ImageDetector, frames: Float32) -> PixelLevels:
    """Mean of each pixel's smoothed squares, both views', at the usual contrast."""
    sums, count = torch.zeros((2, *detector.frame), dtype=torch.float64), 0
    for errors in _errors(detector, frames):
        sizes = detector.scoring.contrasts.sizes(errors.contrast)[:, None, None, None]
        for place, smooth in enumerate((errors.smooth_network, errors.smooth_linear)):
            sums[place] += (smooth / sizes).sum(0, dtype=torch.float64).cpu()
        count += len(errors.contrast)
    means = blurred((sums / max(count, 1)).float(), LEVEL_BLUR)
    floors = LEAST_SHARE * means.mean((1, 2, 3), keepdim=True).clamp(min=LEAST_LEVEL)
    network, linear = means.maximum(floors).to(detector.network.device)
    return PixelLevels(network, linear)
