"""Faults put into normal data, seeded: what a gate tests detectors on where nobody has labels.

Kinds as in the surveys of anomaly benchmarks (Wenig et al. 2022, 'TimeEval', GutenTAG): extremum, mean, variance,
flat, trend.
"""

from collections.abc import Callable, Mapping

import numpy as np

from stream_ae.records import Float32, Float64

# A fault begins so many samples before the target and reaches up to it; windows of any length see the same one.
LENGTH = 8
# In standard deviations of the channel over the held-out rows.
SPIKE, SHIFT, NOISE, TREND = 6.0, 3.0, 2.0, 4.0
SHARE_OF_CHANNELS = 0.2

Fault = Callable[[Float64, Float64, np.random.Generator], Float64]
"""(B, c, n) values before the target and at it, (B, c, 1) spreads; what they become."""


def _spike(x: Float64, spread: Float64, generator: np.random.Generator) -> Float64:
    spoilt = x.copy()
    spoilt[..., -1:] += SPIKE * spread * generator.choice([-1.0, 1.0], spread.shape)
    return spoilt


def _shift(x: Float64, spread: Float64, generator: np.random.Generator) -> Float64:
    return np.asarray(x + SHIFT * spread * generator.choice([-1.0, 1.0], spread.shape), np.float64)


def _noise(x: Float64, spread: Float64, generator: np.random.Generator) -> Float64:
    return np.asarray(x + NOISE * spread * generator.standard_normal(x.shape), np.float64)


def _stuck(x: Float64, spread: Float64, generator: np.random.Generator) -> Float64:
    return np.broadcast_to(x[..., :1], x.shape).copy()


def _trend(x: Float64, spread: Float64, generator: np.random.Generator) -> Float64:
    ramp = np.linspace(0.0, 1.0, x.shape[-1])
    return np.asarray(x + TREND * spread * ramp * generator.choice([-1.0, 1.0], spread.shape), np.float64)


FAULTS: Mapping[str, Fault] = {
    "spike": _spike, "shift": _shift, "noise": _noise, "stuck": _stuck, "trend": _trend,
}  # fmt: skip


def injected(windows: Float32, target: int, kind: str, spread: Float64, seed: int) -> Float32:
    """Windows (B, C, T) with a fault in some channels that ends at sample `target`; spread: (C,) of each channel.

    The same seed spoils the same rows in the same way, however long the windows are, if they reach back LENGTH rows.
    """
    generator = np.random.default_rng([seed, list(FAULTS).index(kind)])
    count, channels, _ = windows.shape
    hit = max(round(SHARE_OF_CHANNELS * channels), 1)
    chosen = generator.permuted(np.tile(np.arange(channels), (count, 1)), axis=1)[:, :hit]
    rows, begin = np.arange(count)[:, None], max(target + 1 - LENGTH, 0)
    spoilt = windows.copy()
    part = windows[rows, chosen, begin : target + 1].astype(np.float64)
    # Drawn for LENGTH samples whatever the window holds, so that shorter ones see the end of the same fault.
    missing = LENGTH - part.shape[-1]
    padded = np.concatenate([np.repeat(part[..., :1], missing, axis=-1), part], axis=-1)
    fault = FAULTS[kind](padded, spread[chosen][..., None], generator)[..., missing:]
    # What is missing stays so, and where a fault has nothing to begin from there is none.
    spoilt[rows, chosen, begin : target + 1] = np.where(np.isnan(part) | np.isnan(fault), part, fault)
    return spoilt
