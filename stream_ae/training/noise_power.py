"""How much white noise there is in streams, told from themselves."""

from collections.abc import Sequence

import numpy as np
from scipy import signal

from stream_ae.records import Float32, Float64

SEGMENT = 64
BAND = 4
LEAST_SEGMENTS = 4
# Their spread around a straight line, against the largest value: less is float32 rounding.
ROUNDING = 1e-6


def noise_power(streams: Sequence[Float32]) -> Float64:
    """(C,) variance of the white noise in streams (N_i, C), NaN = missing; 0 where nothing can be told.

    White noise is in every band of the spectrum alike, a signal hardly ever: the floor of the spectrum, the least of
    its bands, bounds the noise from above. Each bin is the median over segments, so that neither bursts nor single
    events raise it. Noise that is not white is underestimated: then a value is rather left alone.
    """
    return np.array([_floor([x[:, channel] for x in streams]) for channel in range(streams[0].shape[1])])


def _floor(series: Sequence[Float32]) -> float:
    parts = [_segments(np.asarray(x, np.float64)) for x in series]
    segments = np.concatenate([part for part in parts if len(part)] or [np.empty((0, SEGMENT))])
    if len(segments) < LEAST_SEGMENTS:
        return 0.0
    flat = signal.detrend(segments, axis=1)
    flat[np.abs(flat).max(1) <= ROUNDING * np.abs(segments).max(1)] = 0.0
    window = signal.windows.hann(SEGMENT, sym=False)
    power = np.square(np.abs(np.fft.rfft(flat * window, axis=1))) / np.square(window).sum()
    # Of white noise a bin is exponentially distributed; its median is ln 2 of its mean. The first bins were bent by
    # taking the line away, and the last one has half the freedom.
    bins = np.median(power, axis=0)[2:-1] / np.log(2)
    bands = bins[: len(bins) // BAND * BAND].reshape(-1, BAND).mean(1)
    return float(bands.min())


def _segments(x: Float64) -> Float64:
    """(S, SEGMENT) half-overlapping pieces without a missing value."""
    if len(x) < SEGMENT:
        return np.empty((0, SEGMENT))
    pieces = np.lib.stride_tricks.sliding_window_view(x, SEGMENT)[:: SEGMENT // 2]
    found: Float64 = pieces[np.isfinite(pieces).all(1)]
    return found
