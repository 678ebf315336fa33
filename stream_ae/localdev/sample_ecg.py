"""A real electrocardiogram inside the package (licence and source: data/mitdb-100.md), and noise to spoil it with."""

import io
from importlib import resources

import numpy as np
from scipy import signal

from stream_ae.records import Float32, Float64, Int64

RATE_HZ = 360
CHANNELS = ("MLII", "V5")
UNIT = "mV"
ADU_PER_MV = 200.0
BAND_HZ = (0.5, 40.0)


def load() -> Float64:
    """(32400, 2) millivolts, limited to 0.5-40 Hz: what is taken for the truth."""
    file = resources.files("stream_ae.localdev") / "data" / "mitdb-100.npz"
    with np.load(io.BytesIO(file.read_bytes())) as stored:
        steps = np.concatenate((stored["first"][:, None], stored["steps"]), axis=1, dtype=np.int64)
    millivolts = np.cumsum(steps, axis=1).T / ADU_PER_MV
    band = signal.butter(3, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(signal.sosfiltfilt(band, millivolts, axis=0), np.float64)


def noisy(clean: Float64, snr_db: float, seed: int = 0) -> Float32:
    """White Gaussian noise on top, in each channel of such a power."""
    deviation = np.sqrt(np.square(clean).mean(0) / 10.0 ** (snr_db / 10.0))
    noise = np.random.default_rng(seed).standard_normal(clean.shape)
    return np.asarray(clean + deviation * noise, np.float32)


def snr_db(clean: Float64, estimate: Float32) -> float:
    """Signal-to-noise ratio of an estimate (N, C), mean over the channels, dB."""
    error = np.square(estimate - clean).mean(0)
    return float(np.mean(10.0 * np.log10(np.square(clean).mean(0) / error)))


def timestamps(rows: int, end_ms: int) -> Int64:
    """Times of `rows` samples whose last one is at `end_ms`."""
    return end_ms - np.round(np.arange(rows - 1, -1, -1) * (1000.0 / RATE_HZ)).astype(np.int64)
