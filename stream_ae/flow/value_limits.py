"""Static limits of channels: a value outside is an anomaly whatever the score, also before a model knows better."""

from collections.abc import Mapping, Sequence

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.records import Bool, Float32
from stream_ae.settings import Range


class ValueLimits:
    """The limits of some channels; None leaves a side open."""

    def __init__(self, limits: Mapping[str, Range], channels: Sequence[str], each: int = 1) -> None:
        """each: values that a channel has in a sample, the pixels of a frame.

        Raises ConfigError for a channel that is not there, and for limits that leave nothing between them.
        """
        # In float32, as values are: else a value of 0.1 would lie above a limit of 0.1.
        self._low: Float32 = np.full(len(channels), -np.inf, np.float32)
        self._high: Float32 = np.full(len(channels), np.inf, np.float32)
        self.there = bool(limits)
        for name, (low, high) in limits.items():
            if name not in channels:
                raise ConfigError(f"decide.limits names channel {name!r}; the model has {', '.join(channels)}")
            if low is not None and high is not None and low > high:
                raise ConfigError(
                    f"decide.limits of channel {name!r}: {low:g} is above {high:g}: give [lowest, highest]"
                )
            column = channels.index(name)
            if low is not None:
                self._low[column] = low
            if high is not None:
                self._high[column] = high
        self._low, self._high = self._low.repeat(each), self._high.repeat(each)

    def outside(self, values: Float32) -> Bool:
        """(N, V) which of the values (N, V) are outside; missing ones are not."""
        outside: Bool = (values < self._low) | (values > self._high)
        return outside


def blamed(share: Float32, outside: Bool) -> Float32:
    """Shares (N, C) that point at the channels outside their limits where there are such."""
    rows = outside.any(1)
    if not rows.any():
        return share
    pointed = share.copy()
    pointed[rows] = outside[rows] / outside[rows].sum(1, keepdims=True)
    return pointed
