"""Rows a second through the whole detector, on one core."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stream_ae.flow.window import windows_of
from stream_ae.settings import TrainingSettings
from stream_ae.training import train

CHANNELS = 38
BATCHES = (64, 1024)
ROUNDS = 7
ROWS_A_ROUND = 16_384


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows a second of one thread, CPU time, median of the rounds; of `batch` windows at once."""

    batch: int
    rows_per_s: float


def speeds() -> Iterator[Speed]:
    """Of the default model: windows in; cleaned values, scores and shares out."""
    generator = np.random.default_rng(0)
    rows = np.cumsum(generator.normal(size=(4000, CHANNELS)), axis=0).astype(np.float32)
    options = TrainingSettings(max_epochs=1)
    detector = train([rows], [f"c{i}" for i in range(CHANNELS)], options).detector
    views = windows_of(rows, detector.window)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for batch in BATCHES:
            # As the worker hands them over: a copy that lies in memory as (B, T, C).
            windows = np.ascontiguousarray(views[:batch].transpose(0, 2, 1)).transpose(0, 2, 1)
            rates = []
            for _ in range(ROUNDS):
                started_s = time.process_time()
                for _ in range(ROWS_A_ROUND // batch):
                    detector.infer(windows)
                rates.append(ROWS_A_ROUND / (time.process_time() - started_s))
            yield Speed(batch, float(np.median(rates)))
    finally:
        torch.set_num_threads(threads)
