"""Reconstruction errors to a calibrated score, with each channel's share of it.

Views of one window, each divided by what is normal for the channel: the network's error at the target sample alone; a
causal weighted mean of it over the `span` samples up to there; the peak of that, its mean over the few worst channels,
for one faulty channel among hundreds drowns in the mean over all; and what linear components of recent samples leave
(`models.linear`). They see different faults, so each is put on a tail-probability scale. Of the network's three the
strongest one counts; its level and the linear one are joined by the root of their squares, and the result is
calibrated once more. VUS-PR on ASD / SMD / SKAB of the network alone .53/.65/.75, the linear view alone .44/.61/.89,
the larger of both .52/.68/.88, the root of their squares .54/.69/.88.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stream_ae.models.calibration import TailScale
from stream_ae.models.linear import LinearView
from stream_ae.models.normaliser import CLIP
from stream_ae.records import Float32, Float64

TINY = 1e-30
WORST = 3
"""Channels that the peak is a mean of: one alone would follow the wildest channel."""
ABSURD, LARGEST = 1e3, 1e30
"""Scales beyond which an error counts by its logarithm, and the most that it counts as."""


def tempered(error: Tensor) -> Tensor:
    """Absolute errors as they count: at most CLIP, unless they are absurd.

    One channel that is far off must not drown the others nor stretch the calibrated tail (one model over ASD's six
    machines: 24 events found instead of 20), yet a value that cannot be has to stand out among many channels.
    """
    if not bool((error > CLIP).any()):
        return error
    absurd = (error.clamp(ABSURD, LARGEST) / ABSURD).log()
    return error.clamp(max=CLIP) + CLIP * absurd


@dataclass(frozen=True, slots=True)
class View:
    """Contributions (B, C), 0 where a channel was not observed, and their means over the observed channels (B,)."""

    contributions: Float32
    raw: Float64

    @classmethod
    def of(cls, contributions: Tensor, observed: Tensor | None) -> "View":
        """observed: (B, C) where None stands for everywhere."""
        counts = contributions.shape[1] if observed is None else observed.sum(1).clamp(min=1)
        mean = contributions.sum(1) / counts
        return cls(contributions.cpu().numpy(), mean.cpu().numpy().astype(np.float64))


@dataclass(frozen=True, slots=True)
class Views:
    """What is seen of B windows; `peak` is (B,); `linear` is None for versions without components."""

    newest: View
    smoothed: View
    peak: Float64
    linear: View | None = None


@dataclass(frozen=True, slots=True)
class ErrorLevels:
    """What is normal: mean absolute error of each channel (C,) in both views, and how far back one of them looks."""

    newest: Tensor
    smoothed: Tensor
    span: int
    decay: float

    def weights(self, device: torch.device) -> Tensor:
        """(span,) weights of the smoothed view, oldest first, their sum 1."""
        ages = torch.arange(self.span - 1, -1, -1, device=device, dtype=torch.float32)
        weights = self.decay**ages
        return weights / weights.sum()

    def views(self, error: Tensor, observed: Tensor | None) -> Views:
        """Absolute errors (B, C, span), the target sample last; `error` is 0 where nothing was observed."""
        weights = self.weights(error.device)
        newest = error[..., -1] / self.newest
        if observed is None:
            smoothed = (error @ weights) / self.smoothed
            return Views(View.of(newest, None), View.of(smoothed, None), _peak(smoothed))
        seen = observed.to(error.dtype) @ weights
        smoothed = (error @ weights) / seen.clamp(min=1e-6) / self.smoothed
        return Views(View.of(newest, observed[..., -1]), View.of(smoothed, observed.any(-1)), _peak(smoothed))

    def to(self, device: torch.device) -> "ErrorLevels":
        return replace(self, newest=self.newest.to(device), smoothed=self.smoothed.to(device))


@dataclass(frozen=True, slots=True)
class LinearScore:
    """The linear view and its tail scale."""

    view: LinearView
    scale: TailScale

    def seen(self, windows: Tensor, observed: Tensor | None) -> View:
        """Of windows (B, C, T) in the input's units, the target sample last."""
        there = observed[..., -self.view.span :].any(-1) if observed is not None else None
        return View.of(self.view.contributions(windows, observed), there)

    def to(self, device: torch.device) -> "LinearScore":
        return replace(self, view=self.view.to(device))


@dataclass(frozen=True, slots=True)
class Scoring:
    """Everything between an error and a decision; saved with the weights.

    threshold, start_threshold: a score above is an anomaly; the second one where the window reaches back beyond the
                                stream's first sample, which then fills it and looks like nothing that was trained on.
    linear, peak:               None in versions of before there were such views.
    """

    levels: ErrorLevels
    newest: TailScale
    smoothed: TailScale
    fused: TailScale
    threshold: float
    start_threshold: float
    linear: LinearScore | None = None
    peak: TailScale | None = None

    def score(self, views: Views) -> tuple[Float64, Float32]:
        """(B,) scores = -log10 of the tail probability, and (B, C) each channel's share of what decided; rows sum to 1.

        A view counts in the shares as much as in the score: with the square of its level.
        """
        newest, smoothed, linear = self._on_scales(views)
        stronger = (newest >= smoothed)[:, None]
        share = _shares(np.where(stronger, views.newest.contributions, views.smoothed.contributions))
        if views.linear is not None:
            squares = np.square(np.maximum(newest, smoothed)), np.square(linear)
            weight = (squares[1] / np.maximum(squares[0] + squares[1], TINY))[:, None].astype(np.float32)
            share = (1.0 - weight) * share + weight * _shares(views.linear.contributions)
        return self.fused.level(_joined(newest, smoothed, linear)), share

    def fuse(self, views: Views) -> Float64:
        """(B,) what the last calibration is of."""
        return _joined(*self._on_scales(views))

    def _on_scales(self, views: Views) -> tuple[Float64, Float64, Float64]:
        """(B,) levels of the newest sample, of smoothed errors or their peak, of the linear view; finite, 0 = none."""
        newest, smoothed = self.newest.level(views.newest.raw), self.smoothed.level(views.smoothed.raw)
        if self.peak is not None:
            smoothed = np.maximum(smoothed, self.peak.level(views.peak))
        if self.linear is None or views.linear is None:
            return newest, smoothed, np.zeros_like(newest)
        return newest, smoothed, self.linear.scale.level(views.linear.raw)

    def to(self, device: torch.device) -> "Scoring":
        linear = self.linear.to(device) if self.linear is not None else None
        return replace(self, levels=self.levels.to(device), linear=linear)


def _peak(contributions: Tensor) -> Float64:
    """(B,) mean of the largest of (B, C)."""
    largest = contributions.topk(min(WORST, contributions.shape[1]), dim=1, sorted=False).values
    peak: Float64 = largest.mean(1).cpu().numpy().astype(np.float64)
    return peak


def _joined(newest: Float64, smoothed: Float64, linear: Float64) -> Float64:
    joined: Float64 = np.hypot(np.maximum(newest, smoothed), linear)
    return joined


def _shares(contributions: Float32) -> Float32:
    """Rows that sum to 1; all the same where nothing contributes."""
    total = contributions.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Float32 = contributions / total
    nothing = ~(total[:, 0] > 0)
    if nothing.any():
        share[nothing] = 1.0 / share.shape[1]
    return share
