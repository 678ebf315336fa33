"""The front door for images: frames in, a calibrated detector out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError
from stream_ae.models.config import ChannelChoice
from stream_ae.models.images.config import BottleneckKind
from stream_ae.models.images.detector import ImageDetector
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.choose import told
from stream_ae.training.drift_bins import fitted_frame_bins
from stream_ae.training.fit import Progress
from stream_ae.training.images.calibrate import calibrated
from stream_ae.training.images.denoise import with_denoiser
from stream_ae.training.images.diffusion import check_prior, fitted_prior
from stream_ae.training.images.fit import fit
from stream_ae.training.images.frames import checked, split
from stream_ae.training.images.template import fitted_linear, template_of


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What a training did, for people and for MLflow."""

    frames: int
    held_out: int
    epochs: int
    best_epoch: int
    train_loss: float
    validation_loss: float
    threshold: float
    warnings: tuple[str, ...]
    choices: tuple[ChannelChoice, ...]

    def metrics(self) -> dict[str, float]:
        """The numbers by name."""
        names = ("frames", "held_out", "epochs", "best_epoch", "train_loss", "validation_loss", "threshold")
        by = [choice.by for choice in self.choices]
        cleaned = {f"channels_by_{who}": float(by.count(who)) for who in ("identity", "autoencoder", "unet")}
        return {name: float(getattr(self, name)) for name in names} | cleaned


@dataclass(frozen=True, slots=True)
class TrainedImages:
    """A detector, how it came about, and the frames (N, C, H, W) it was not fitted on, in their own type."""

    detector: ImageDetector
    report: ImageReport
    held_out: NDArray[Any]

    def tags(self) -> dict[str, str]:
        """What a version's tags say beside its lineage: who cleans each channel, and why."""
        return {"stream_ae.denoiser": told(self.detector.channels, self.detector.denoiser.choices)}


def train_frames(
    frames: NDArray[Any],
    channels: Sequence[str],
    options: TrainingSettings,
    *,
    lineage: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    support: Support = UNSUPPORTED,
) -> TrainedImages:
    """Fit, calibrate and describe a detector for frames (N, C, H, W) of any numeric type, NaN = missing.

    A random fifth of them is not fitted on: the score is calibrated on it. Raise in `progress` to cancel.
    `options.window` says nothing here.
    `support`: several processes, checkpoints.
    Raises ConfigError if nothing can be learnt from the frames, with what to do about it.
    """
    usable = checked(frames, channels)
    parts = split(usable, options.seed)
    kind = _bottleneck(options)
    template = template_of(parts.seen, channels, kind, dict(lineage or {}), options.seed)
    check_prior(kind, template.network.tiling.whole, options)
    fitted = fit(template, parts, options, progress, clock, support)
    service = fitted_linear(template, np.concatenate((parts.seen, parts.held_out)), options.seed)
    result = calibrated(fitted.detector, parts.held_out, service, options.false_alarm_rate)
    detector = with_denoiser(result.detector, parts, options, support)
    detector = detector.remembering(fitted_frame_bins(detector, usable))
    if options.diffusion_steps:
        detector = detector.sampling(fitted_prior(detector, parts.fit, options, support))
    report = ImageReport(
        frames=len(parts.fit),
        held_out=len(parts.held_out),
        epochs=len(fitted.epochs),
        best_epoch=fitted.best.number,
        train_loss=fitted.best.train_loss,
        validation_loss=fitted.best.validation_loss,
        threshold=detector.threshold,
        warnings=result.warnings,
        choices=detector.denoiser.choices,
    )
    return TrainedImages(detector, report, parts.held_out)


def _bottleneck(options: TrainingSettings) -> BottleneckKind:
    if options.model in ("dense", "conv1d", "conv1d-variational"):
        raise ConfigError(
            f"training.model {options.model} is for readings of sensors: frames take auto, conv2d, conv2d-variational "
            "or conv2d-spatial"
        )
    if options.model.endswith("spatial"):
        return "spatial"
    return "variational" if options.model.endswith("variational") else "deterministic"
