"""Real telemetry inside the package: six labelled servers of the ASD data set (licence and source: data/README.md)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.records import Bool, Float32, Int64

NAMES = ("omi-1", "omi-2", "omi-3", "omi-4", "omi-5", "omi-6")
INTERVAL_MS = 300_000  # one sample every five minutes


@dataclass(frozen=True, slots=True)
class Machine:
    """One server: a part to learn from and a labelled part that follows it in time.

    train:  (N, C) float32, unlabelled and mostly normal.
    test:   (M, C) float32.
    label:  (M,) true where the publishers saw an anomaly.
    """

    name: str
    channels: tuple[str, ...]
    train: Float32
    test: Float32
    label: Bool


def load(names: Sequence[str] = NAMES) -> list[Machine]:
    """The named machines, in that order."""
    return [_machine(name) for name in names]


def timestamps(rows: int, end_ms: int) -> Int64:
    """Times of `rows` samples whose last one is at `end_ms`, five minutes apart."""
    return np.arange(rows - 1, -1, -1, dtype=np.int64) * -INTERVAL_MS + end_ms


def _machine(name: str) -> Machine:
    if name not in NAMES:
        raise ConfigError(f"no sample machine is called {name!r}: there are {', '.join(NAMES)}")
    file = resources.files("stream_ae.localdev") / "data" / f"{name}.npz"
    with np.load(io.BytesIO(file.read_bytes())) as stored:
        hundredths = np.cumsum(stored["steps"], axis=1, dtype=np.int16).T
        train_rows = int(stored["train_rows"])
        label = np.unpackbits(stored["label"], count=len(hundredths) - train_rows).astype(np.bool_)
    values = np.ascontiguousarray(hundredths / np.float32(100), dtype=np.float32)
    channels = tuple(f"m{number:02d}" for number in range(1, values.shape[1] + 1))
    return Machine(name, channels, values[:train_rows], values[train_rows:], label)
