"""Whether there is anything in the data but noise."""

from collections.abc import Sequence

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.records import Float32, Float64

SWITCH_OFF = "or set retrain.check_data: false if that is how it is"
LEAST_ROWS = 100
NOISE_ROWS, NOISE_LAGS = 20_000, 32
# Correlations below this are as good as none; of few rows chance alone makes larger ones.
NO_CORRELATION, BY_CHANCE = 0.05, 4.5


def check_noise(segments: Sequence[Float32]) -> None:
    """Raises ConfigError if no channel has to do with its own past or with another channel.

    By ranks (Spearman's correlation): a few absurd values do not hide what there is.
    """
    ranks = _ranks(segments)
    rows = int((ranks != 0.0).any(1).sum())
    found = [np.abs((ranks[lag:] * ranks[:-lag]).sum(0)) for lag in range(1, min(NOISE_LAGS, len(ranks) - 1) + 1)]
    across = np.abs(ranks.T @ ranks)
    np.fill_diagonal(across, 0.0)
    largest = max((float(one.max()) for one in (*found, across)), default=0.0) / max(rows, 1)
    if rows >= LEAST_ROWS and largest < max(NO_CORRELATION, BY_CHANCE / rows**0.5):
        raise ConfigError(
            "the values are noise: no channel has to do with its own past or with another one (largest rank "
            f"correlation {largest:.2f}), so there is nothing to learn; look at what is sent, {SWITCH_OFF}"
        )


def _ranks(segments: Sequence[Float32]) -> Float64:
    """(N, C) the newest rows of the longest segments as standardised ranks, 0 where a value is missing; zeros between
    segments, so that lags do not reach from one into the next."""
    parts: list[Float32] = []
    left = NOISE_ROWS
    for x in sorted(segments, key=len, reverse=True):
        parts += [x[-left:], np.full((NOISE_LAGS, x.shape[1]), np.nan, np.float32)]
        left -= len(parts[-2])
        if left <= 0:
            break
    x = np.concatenate(parts)
    found = np.zeros(x.shape)
    for column in range(x.shape[1]):
        known = ~np.isnan(x[:, column])
        _, place, count = np.unique(x[known, column], return_inverse=True, return_counts=True)
        middle = np.cumsum(count) - (count - 1) / 2.0
        ranks = middle[place] if len(count) > 1 else np.zeros(int(known.sum()))
        spread = ranks.std() if len(ranks) else 0.0
        found[known, column] = (ranks - ranks.mean()) / spread if spread > 0 else 0.0
    return found
