"""Values that cannot be measurements are left out of training: one 1e30 would stretch its channel's scale until nothing
else in it could be seen."""

from collections.abc import Sequence

import numpy as np

from stream_ae.records import Float32

FACTOR = 1e6
"""So many spreads from the median is absurd: float32 cannot tell both apart from their neighbours on one scale."""
MOST_SHARE = 0.05
"""More of them are how the channel is, not a fault of single values."""


def without_absurd(streams: Sequence[Float32], channels: Sequence[str]) -> tuple[list[Float32], tuple[str, ...]]:
    """The streams (N_i, C) with absurd values missing (NaN), and a warning for each channel that had some.

    Streams without any are handed on as they are, others are copied.
    """
    cleaned, warnings = list(streams), []
    for column, name in enumerate(channels):
        low, high = _bounds(np.concatenate([x[:, column] for x in streams]))
        count = 0
        for index, x in enumerate(cleaned):
            absurd = (x[:, column] < low) | (x[:, column] > high)
            if absurd.any():
                cleaned[index] = x = x.copy() if x is streams[index] else x
                x[absurd, column] = np.nan
                count += int(absurd.sum())
        if count:
            warnings.append(
                f"channel '{name}': {count} values outside {low:.3g} to {high:.3g} are taken for missing in training: "
                "look for a broken sensor or a placeholder such as 1e30"
            )
    return cleaned, tuple(warnings)


def _bounds(column: Float32) -> tuple[float, float]:
    """What is not absurd; everything where that cannot be told."""
    values = column[~np.isnan(column)].astype(np.float64)
    everything = (-np.inf, np.inf)
    if len(values) == 0:
        return everything
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
    distance = np.abs(values - median)
    spread = third - first
    if spread == 0.0:  # mostly one value: how far the others are from it
        others = distance[distance > 0.0]
        spread = float(np.median(others)) if len(others) else 0.0
    far = int((distance > FACTOR * spread).sum())
    if spread == 0.0 or not 0 < far <= MOST_SHARE * len(values):
        return everything
    return float(median - FACTOR * spread), float(median + FACTOR * spread)
