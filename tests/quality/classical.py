"""What a denoiser has to beat: filters of the textbook, every one of them tuned on the very signal it is judged by.

All take rows (N, C) and give the filtered rows; `candidates` lists them with all their tunings.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import ndimage, signal

from stream_ae.records import Float64

# Daubechies 1992, table 6.1: the scaling filter with four vanishing moments.
DB4 = np.array(
    [
        0.23037781330885523, 0.7148465705525415, 0.6308807679295904, -0.02798376941698385,
        -0.18703481171888114, 0.030841381835986965, 0.032883011666982945, -0.010597401784997278,
    ]
)  # fmt: skip
# Median of the absolute values of a standard normal variable.
MAD = 0.6745

Filter = Callable[[Float64], Float64]


def candidates(rate_hz: float) -> Iterator[tuple[str, Filter]]:
    """Every filter with every tuning."""
    for factor in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0):
        for levels in (3, 4, 5, 6):
            yield "wavelet", partial(wavelet, factor=factor, levels=levels)
    for low in (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2):
        for high in (0.0, 15.0, 20.0, 25.0, 30.0, 40.0):
            for order in (1, 2, 3, 4):
                if low or high:
                    yield "band-pass", partial(band_pass, rate_hz=rate_hz, low=low, high=high, order=order)
    for width in (3, 5, 7, 9):
        for high in (0.0, 20.0, 30.0, 40.0):
            yield "median", partial(median, width=width, rate_hz=rate_hz, high=high)
        for limit in (1.0, 2.0, 3.0, 4.0):
            yield "hampel", partial(hampel, width=2 * width - 1, limit=limit)
    for width_s in (0.4, 0.6, 0.8, 1.0, 1.5):
        yield "running median", partial(without_running_median, width=round(width_s * rate_hz) | 1)


def best_of(noisy: Float64, rate_hz: float, judge: Callable[[Float64], float]) -> tuple[float, str]:
    """The best judgement that any filter with any tuning earns, and which one it was."""
    return max((judge(found(noisy)), name) for name, found in candidates(rate_hz))


def band_pass(x: Float64, rate_hz: float, low: float, high: float, order: int) -> Float64:
    """Butterworth, forwards and backwards; 0 leaves a side open."""
    if low:
        x = signal.sosfiltfilt(signal.butter(order, low, "highpass", fs=rate_hz, output="sos"), x, axis=0)
    if high:
        x = signal.sosfiltfilt(signal.butter(order, high, "lowpass", fs=rate_hz, output="sos"), x, axis=0)
    return x


def median(x: Float64, width: int, rate_hz: float, high: float) -> Float64:
    """Running median, then a low-pass."""
    x = ndimage.median_filter(x, (width, 1))
    return band_pass(x, rate_hz, 0.0, high, 2) if high else x


def hampel(x: Float64, width: int, limit: float) -> Float64:
    """Values further from the running median than `limit` usual distances become it."""
    middle = ndimage.median_filter(x, (width, 1))
    off = np.abs(x - middle)
    usual = np.median(off, axis=0) / MAD
    return np.where(off > limit * usual, middle, x)


def without_running_median(x: Float64, width: int) -> Float64:
    """The baseline is a running median, smoothed."""
    baseline = ndimage.median_filter(x, (width, 1), mode="nearest")
    return x - ndimage.uniform_filter1d(baseline, width, axis=0)


def wavelet(x: Float64, factor: float, levels: int) -> Float64:
    """Details of the undecimated db4 transform below `factor` noise levels (by their own MAD) are set to 0 (Coifman &
    Donoho 1995)."""
    low, high = DB4 / np.sqrt(2), DB4[::-1] * (-1.0) ** np.arange(len(DB4)) / np.sqrt(2)
    frequencies = np.fft.rfftfreq(len(x))
    smooth, kept = np.fft.rfft(x, axis=0), np.zeros((len(frequencies), x.shape[1]), np.complex128)
    passed = np.ones(len(frequencies), np.complex128)
    for level in range(levels):
        phase = np.exp(-2j * np.pi * np.outer(frequencies * 2**level, np.arange(len(DB4))))
        detail = np.fft.irfft(smooth * (phase @ high)[:, None], len(x), axis=0)
        if level == 0:
            noise = np.median(np.abs(detail), axis=0) / MAD
        # White noise of the finest level is smaller in the next ones by the root of two each.
        threshold = factor * noise / np.sqrt(2.0) ** level
        cut = np.where(np.abs(detail) > threshold, detail, 0.0)
        kept += np.fft.rfft(cut, axis=0) * (passed * np.conj(phase @ high))[:, None]
        smooth = smooth * (phase @ low)[:, None]
        passed = passed * np.conj(phase @ low)
    return np.fft.irfft(kept + smooth * passed[:, None], len(x), axis=0)
