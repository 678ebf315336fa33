"""The normaliser of a training set."""

from collections.abc import Sequence

import numpy as np
import torch

from stream_ae.models.normaliser import Normaliser
from stream_ae.records import Float32, Float64
from stream_ae.training.dataset import WindowSet

# How much of a window's own mean is subtracted. 1 would forget levels and with them every shift that lasts longer than
# a window; 0 fails where one model serves streams at several levels. Measured on ASD: 0 .44, 0.7 .50, 1 .50 VUS-PR;
# on SKAB, whose faults are lasting shifts: 0 .77, 0.7 .71, 1 .66.
RECENTRE = 0.7
SAMPLED_WINDOWS = 4096
# Smaller than this against the largest value, a spread is float32 rounding, not signal.
ROUNDING = 1e-5
# Its inverse is finite in float32 too.
TINY = 1e-30


def fitted_normaliser(windows: WindowSet, streams: Sequence[Float32]) -> Normaliser:
    """Centre and bounds from the rows of the streams, scale from what is left of windows around their base."""
    rows = np.concatenate(streams).astype(np.float64)
    some = windows.sample(SAMPLED_WINDOWS)
    sampled = some.windows(np.arange(len(some))).astype(np.float64)
    found = np.empty((4, rows.shape[1], 1), np.float32)
    for channel in range(rows.shape[1]):
        values = rows[:, channel]
        values = values[~np.isnan(values)]
        bounds = _bounds(values)
        found[:, channel, 0] = *bounds, _scale(sampled[:, channel], bounds[0])
    centre, low, high, scale = torch.from_numpy(found)
    return Normaliser(centre, scale, low, high, RECENTRE)


def _bounds(values: Float64) -> tuple[float, float, float]:
    """Centre, and the range that was seen, widened by itself on either side."""
    if len(values) == 0:
        return 0.0, -1.0, 1.0
    least, most, centre = float(values.min()), float(values.max()), float(np.median(values))
    # A channel that never moved, but for rounding, has no range: leave it room of its own size.
    moved = most - least > ROUNDING * max(abs(least), abs(most))
    room = max(most - least if moved else abs(centre) or 1.0, TINY)
    largest = float(np.finfo(np.float32).max) / 4
    return centre, max(least - room, -largest), min(most + room, largest)


def _scale(windows: Float64, centre: float) -> float:
    """Root mean square of windows (B, T) around their base; for a channel that never moves 1 % of its value, or 1."""
    observed = ~np.isnan(windows)
    some = observed.any(1)
    windows, observed = windows[some], observed[some]
    if len(windows) == 0:
        return 1.0
    mean = np.nanmean(windows, axis=1, keepdims=True)
    residual = windows - (centre + RECENTRE * (mean - centre))
    scale = float(np.sqrt(np.nanmean(np.square(residual))))
    if scale > ROUNDING * float(np.abs(windows[observed]).max()):
        return max(scale, TINY)
    return max(0.01 * abs(centre) or 1.0, TINY)
