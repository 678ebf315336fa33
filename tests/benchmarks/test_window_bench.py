"""Windowing alone: samples a second on one core, few streams and many."""

import time

import numpy as np
import pytest

from stream_ae.flow.window import Windows
from stream_ae.records import Bool, Float32, Int64

pytestmark = pytest.mark.bench

CHANNELS, WINDOW, BATCH, BATCHES = 8, 32, 2048, 50


@pytest.mark.parametrize("lookahead", [0, 4])
@pytest.mark.parametrize("streams", [10, 10_000])
def test_windowing_rate(streams: int, lookahead: int) -> None:
    random = np.random.default_rng(0)
    slots = [random.integers(0, streams, BATCH) for _ in range(BATCHES)]
    values = random.standard_normal((BATCH, CHANNELS)).astype(np.float32)
    tokens, known = np.arange(BATCH), np.zeros(BATCH, np.bool_)
    windows = Windows(CHANNELS, WINDOW, lookahead)
    windows.reserve(streams)
    windows.push(
        np.arange(streams), np.ones(streams, np.bool_), np.zeros((streams, CHANNELS), np.float32), np.arange(streams)
    )
    best_s = min(_pass_s(windows, slots, known, values, tokens) for _ in range(4))
    rate = BATCH * BATCHES / best_s
    print(f"\nwindows, {streams} streams, look-ahead {lookahead}: {rate / 1e6:.2f}M samples/s")


def _pass_s(windows: Windows, slots: list[Int64], known: Bool, values: Float32, tokens: Int64) -> float:
    begin_s = time.perf_counter()
    for batch in slots:
        windows.push(batch, known, values, tokens)
    return time.perf_counter() - begin_s
