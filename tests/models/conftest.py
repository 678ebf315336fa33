"""A small detector, trained once."""

import numpy as np
import pytest

from stream_ae.models.detector import Detector
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training import train


def signal(rows: int, channels: int = 3, seed: int = 0) -> Float32:
    """Noisy sines, one frequency a channel, at different levels and sizes."""
    generator = np.random.default_rng(seed)
    waves = np.sin(np.arange(rows)[:, None] / np.arange(3, 3 + channels))
    sizes = 10.0 ** np.arange(channels)
    values = (waves + 0.1 * generator.standard_normal((rows, channels))) * sizes + 5.0 * sizes
    return np.asarray(values, np.float32)


@pytest.fixture(scope="session")
def detector() -> Detector:
    options = TrainingSettings(window=16, max_epochs=4, threads=1)
    return train([signal(1500)], ("a", "b", "c"), options, units=("K", "", "Pa"), lineage={"source": "test"}).detector
