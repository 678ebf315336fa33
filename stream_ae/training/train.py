"""The front door: streams in, a calibrated detector out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError
from stream_ae.models.config import ArchitectureConfig, BottleneckKind, ChannelChoice, ConvConfig, DenseConfig
from stream_ae.models.detector import Detector, Signature
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.absurd import without_absurd
from stream_ae.training.calibrate import LinearViews, calibrated, uncalibrated
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.choose import told
from stream_ae.training.dataset import HeldOut, Split, WindowSet, checked, joined, split
from stream_ae.training.denoise import with_denoiser
from stream_ae.training.drift_bins import fitted_bins
from stream_ae.training.fit import Progress, fit
from stream_ae.training.latent_map import compression
from stream_ae.training.linear import fitted_linear
from stream_ae.training.normalise import fitted_normaliser

HOLDOUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training did, for people and for MLflow."""

    streams: int
    rows: int
    windows: int
    held_out: int
    epochs: int
    best_epoch: int
    train_loss: float
    validation_loss: float
    threshold: float
    compression_ratio: float
    compression_error: float
    warnings: tuple[str, ...]
    choices: tuple[ChannelChoice, ...] = ()

    def metrics(self) -> dict[str, float]:
        """The numbers by name."""
        names = ("streams", "rows", "windows", "held_out", "epochs", "best_epoch", "train_loss", "validation_loss")
        found = ("threshold", "compression_ratio", "compression_error")
        by = [choice.by for choice in self.choices]
        cleaned = {f"channels_by_{who}": float(by.count(who)) for who in ("identity", "autoencoder", "unet")}
        return {name: float(getattr(self, name)) for name in (*names, *found)} | cleaned


@dataclass(frozen=True, slots=True)
class Trained:
    """A detector, how it came about, and the rows it was not fitted on, to compare it with others."""

    detector: Detector
    report: TrainingReport
    held_out: HeldOut

    def tags(self) -> dict[str, str]:
        """What a version's tags say beside its lineage: who cleans each channel, and why."""
        return {"stream_ae.denoiser": told(self.detector.channels, self.detector.choices)}


def train(
    streams: Sequence[Float32],
    channels: Sequence[str],
    options: TrainingSettings,
    *,
    units: Sequence[str] | None = None,
    lineage: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    holdout_share: float = HOLDOUT_SHARE,
    clock: Clock | None = None,
    support: Support = UNSUPPORTED,
) -> Trained:
    """Fit, calibrate and describe a detector for streams (N_i, C) in time order, NaN = missing.

    The newest `holdout_share` of each stream is not fitted on: the score is calibrated on it. Raise in `progress` to
    cancel. `options.time_budget_s` is about fitting, by `clock` (default: the machine's).
    `support`: several processes to fit on, and checkpoints to go on from.
    Raises ConfigError if nothing can be learnt from the data, with what to do about it.
    """
    given_units = tuple(units) if units is not None else ("",) * len(channels)
    if len(given_units) != len(channels):
        raise ConfigError(f"{len(given_units)} units for {len(channels)} channels: give one each, '' where unknown")
    usable, absurd = without_absurd(checked(streams, channels, options.window), channels)
    parts = split(usable, options.window, options.lookahead, holdout_share)
    held_out = parts.held_out.windows(options.window, options.lookahead)
    _check_parts(len(parts.fit), len(parts.validation), len(held_out))
    normaliser = fitted_normaliser(parts.fit, [x[:end] for x, end in zip(usable, parts.held_out.begin, strict=True)])
    architecture = architecture_of(options, len(channels))
    fitted = fit(architecture, normaliser, (parts.fit, parts.validation), options, progress, clock, support)
    signature = Signature(tuple(channels), given_units, options.window, options.lookahead)
    template = uncalibrated(signature, fitted.network, dict(lineage or {}))
    result = calibrated(template, _linear(parts, held_out, options), held_out, options.false_alarm_rate)
    compressed = compression(result.detector, held_out)
    detector = with_denoiser(result.detector, parts, options, support)
    detector = detector.remembering(fitted_bins(detector, usable, parts))
    report = TrainingReport(
        streams=len(usable),
        rows=sum(len(x) for x in usable),
        windows=len(parts.fit),
        held_out=len(held_out),
        epochs=len(fitted.epochs),
        best_epoch=fitted.best.number,
        train_loss=fitted.best.train_loss,
        validation_loss=fitted.best.validation_loss,
        threshold=detector.threshold,
        compression_ratio=compressed.ratio,
        compression_error=compressed.error,
        warnings=(*absurd, *_silent(usable, channels), *result.warnings),
        choices=detector.choices,
    )
    return Trained(detector, report, parts.held_out)


def architecture_of(options: TrainingSettings, channels: int) -> ArchitectureConfig:
    """The network that `options.model` names. Raises ConfigError for one of images."""
    if options.model.startswith("conv2d"):
        raise ConfigError(
            f"training.model {options.model} is for images: readings of sensors take auto, dense, variational, conv1d "
            "or conv1d-variational"
        )
    bottleneck: BottleneckKind = "variational" if options.model.endswith("variational") else "deterministic"
    if options.model.startswith("conv1d"):
        return ConvConfig(channels=channels, window=options.window, bottleneck=bottleneck)
    return DenseConfig(channels=channels, window=options.window, bottleneck=bottleneck)


def _linear(parts: Split, held_out: WindowSet, options: TrainingSettings) -> LinearViews:
    seen = joined([parts.fit, parts.validation])
    calibration = fitted_linear(seen, options.lookahead, options.seed)
    return LinearViews(calibration, fitted_linear(joined([seen, held_out]), options.lookahead, options.seed))


def _check_parts(fit_windows: int, validation_windows: int, held_out_windows: int) -> None:
    if min(fit_windows, validation_windows, held_out_windows) == 0:
        raise ConfigError(
            f"{fit_windows} windows to fit on, {validation_windows} to stop by, {held_out_windows} to calibrate on: "
            "each part needs some; give longer streams, and values in their newest part too"
        )


def _silent(streams: Sequence[Float32], channels: Sequence[str]) -> list[str]:
    """A warning for each channel that never has a value."""
    silent = np.logical_and.reduce([np.isnan(x).all(0) for x in streams])
    return [f"channel '{name}' never has a value" for name, never in zip(channels, silent, strict=True) if never]
