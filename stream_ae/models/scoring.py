"""Reconstruction errors to a calibrated score, with each channel's share of it.

Two views of the errors of one window, both divided by the channel's normal level: the target sample alone, and a causal
weighted mean over the `span` samples up to it. They see different faults, so each is put on a tail-probability scale,
the stronger one counts, and the result is calibrated once more.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stream_ae.models.calibration import TailScale
from stream_ae.models.normaliser import CLIP
from stream_ae.records import Float32, Float64

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
class Views:
    """Both views' contributions (B, C) (0 where a channel was not observed) and their means over channels (B,)."""

    newest: Float32
    smoothed: Float32
    newest_raw: Float64
    smoothed_raw: Float64


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
            return Views(*_numpy(newest, smoothed), *_means(newest, smoothed, None, None))
        seen = observed.to(error.dtype) @ weights
        smoothed = (error @ weights) / seen.clamp(min=1e-6) / self.smoothed
        means = _means(newest, smoothed, observed[..., -1], observed.any(-1))
        return Views(*_numpy(newest, smoothed), *means)

    def to(self, device: torch.device) -> "ErrorLevels":
        return replace(self, newest=self.newest.to(device), smoothed=self.smoothed.to(device))


@dataclass(frozen=True, slots=True)
class Scoring:
    """Everything between an error and a decision; saved with the weights."""

    levels: ErrorLevels
    newest: TailScale
    smoothed: TailScale
    fused: TailScale
    threshold: float

    def score(self, views: Views) -> tuple[Float64, Float32]:
        """(B,) scores = -log10 of the tail probability, and (B, C) shares of the view that decided, rows sum to 1."""
        newest, smoothed = self.newest.level(views.newest_raw), self.smoothed.level(views.smoothed_raw)
        score = self.fused.level(np.maximum(newest, smoothed))
        share = np.where((newest >= smoothed)[:, None], views.newest, views.smoothed)
        total = share.sum(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            share /= total
        nothing = ~(total[:, 0] > 0)
        if nothing.any():
            share[nothing] = 1.0 / share.shape[1]
        return score, share

    def to(self, device: torch.device) -> "Scoring":
        return replace(self, levels=self.levels.to(device))


def _numpy(newest: Tensor, smoothed: Tensor) -> tuple[Float32, Float32]:
    return newest.cpu().numpy(), smoothed.cpu().numpy()


def _means(newest: Tensor, smoothed: Tensor, at: Tensor | None, any_of: Tensor | None) -> tuple[Float64, Float64]:
    means = []
    for view, seen in ((newest, at), (smoothed, any_of)):
        mean = view.mean(1) if seen is None else view.sum(1) / seen.sum(1).clamp(min=1)
        means.append(mean.cpu().numpy().astype(np.float64))
    return means[0], means[1]
