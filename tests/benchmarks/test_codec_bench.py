"""Decoding and encoding alone: microseconds a record on one core, batches of 1024, 8 channels."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream_ae.flow.codec import FlaggedSamples
from stream_ae.flow.encode import Answers, encode_cleaned, encode_flagged
from stream_ae.flow.json_codec import JsonCodec
from stream_ae.records import Float32, ModelIdentity, RecordBatch
from stream_ae.settings import DecodeSettings

pytestmark = pytest.mark.bench

CHANNELS = tuple(f"ch_{column}" for column in range(8))
BATCH, BLOCK = 1024, 256
START_MS = 1_700_000_000_000
MODEL = ModelIdentity("pump", "3", "digest")


def named(row: Float32) -> dict[str, float]:
    return {name: round(float(value), 2) for name, value in zip(CHANNELS, row, strict=True)}


def listed(row: Float32) -> list[float]:
    return [round(float(value), 2) for value in row]


def fields(index: int, values: Any, **more: Any) -> dict[str, Any]:
    return {"stream": f"pump-{index % 10}", "timestamp": START_MS + index, "values": values, **more}


def compact(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()


KINDS: dict[str, Callable[[int, Float32], bytes]] = {
    "named, 8 values": lambda n, row: compact(fields(n, named(row))),
    "named, with spaces": lambda n, row: json.dumps(fields(n, named(row))).encode(),
    "listed": lambda n, row: compact(fields(n, listed(row))),
    "named, one null": lambda n, row: compact(fields(n, {**named(row), "ch_3": None})),
    "named, one NaN": lambda n, row: compact(fields(n, {**named(row), "ch_3": float("nan")})),
    "named, ISO-8601": lambda n, row: compact({**fields(n, named(row)), "timestamp": "2023-11-14T22:13:20.123Z"}),
    "named, backslash": lambda n, row: compact(fields(n, named(row), unit="°C")),
    "block of 256": lambda n, row: compact(fields(n, [listed(row)] * BLOCK, interval_ms=1)),
    "broken": lambda n, row: b"garbage %d" % n,
}


def batch_of(kind: str) -> RecordBatch:
    random = np.random.default_rng(0)
    count = BATCH // BLOCK if "block" in kind else BATCH
    rows = random.standard_normal((count, len(CHANNELS))).astype(np.float32)
    values = [KINDS[kind](index, row) for index, row in enumerate(rows)]
    number = np.arange(count)
    return RecordBatch(
        "raw", np.zeros(count, np.int32), number, number + START_MS, [None] * count, values, [()] * count
    )


@pytest.mark.parametrize("kind", KINDS)
def test_codec_cost(kind: str) -> None:
    records = batch_of(kind)
    codec = JsonCodec(CHANNELS, DecodeSettings())
    decoded = codec.decode(records)
    samples = decoded.samples
    answers = Answers(np.nan_to_num(samples.values), np.abs(samples.values[:, 0]).astype(np.float64), samples.row < 0)
    per_decode = best_us(lambda: codec.decode(records))
    per_encode = best_us(lambda: encode_cleaned("cleaned", codec, records, decoded, answers, MODEL))
    size = len(records.values[0] or b"")
    print(f"\n{kind:20} {size:6} bytes: decode {per_decode:.2f}, encode {per_encode:.2f} us a sample")


def test_flagged_cost() -> None:
    number = np.arange(BATCH)
    values = np.random.default_rng(0).random((BATCH, len(CHANNELS))).astype(np.float32)
    score = values[:, 0].astype(np.float64)
    partition, stream, state = np.zeros(BATCH, np.int32), ["pump"] * BATCH, ["open"] * BATCH
    flagged = FlaggedSamples(
        stream,
        number + START_MS,
        number,
        partition,
        number,
        state,
        score,
        score,
        [None] * BATCH,
        score,
        values,
        values,
        values,
    )
    per_record = best_us(
        lambda: encode_flagged("flagged", flagged, "raw", JsonCodec(CHANNELS, DecodeSettings()), MODEL)
    )
    print(f"\nflagged: encode {per_record:.2f} us a record")


def best_us(act: Callable[[], object]) -> float:
    """Microseconds for one of 1024 samples, the best of 30 runs."""
    best_s = float("inf")
    for _ in range(30):
        begin_s = time.perf_counter()
        act()
        best_s = min(best_s, time.perf_counter() - begin_s)
    return best_s / BATCH * 1e6
