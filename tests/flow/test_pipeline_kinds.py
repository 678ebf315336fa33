"""Every kind of model says of a row online what it says offline: look-ahead, missing values, blocks, any chunks."""

from collections.abc import Iterator
from random import Random
from typing import Literal

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae import AutoencoderDetector
from stream_ae.flow.headers import SCORE, header_text
from stream_ae.flow.pipeline import Pipeline, Work
from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.records import Float32, Float64, OutgoingBatch, Partition, RecordBatch
from stream_ae.settings import BatchSettings, Settings

WINDOW, LOOKAHEAD, ROWS = 16, 5, 60
START_MS, INTERVAL_MS = 1_700_000_000_000, 10
# A batch of another size adds up in another order; scores are written with six digits, and their scale can be steep.
ROUNDING, SCORE_ROUNDING = 1e-4, 5e-3
NETWORKS = {kind: {"model": kind} for kind in ("dense", "conv1d", "variational", "conv1d-variational")}
UNETS = {f"unet, {name}": {"denoiser": "unet", "clean": clean} for name, clean in (("blind", False), ("clean", True))}
Record = tuple[int, int]
"""Rows [begin, end) of the stream: one sample, or a block."""


def _choice(by: CleanedBy, fill: Literal["autoencoder", "unet"]) -> ChannelChoice:
    return ChannelChoice(by=by, fill=fill, reason="", figures={})


@pytest.fixture(scope="module", params=[*NETWORKS, *UNETS])
def detector(request: pytest.FixtureRequest) -> AutoencoderDetector:
    """The first channel is cleaned by a network that has learnt a little; the second one is left alone."""
    rows = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
    options = {"denoiser_steps": 20, "max_epochs": 1} | NETWORKS.get(request.param, {}) | UNETS.get(request.param, {})
    fitted = AutoencoderDetector(window=WINDOW, lookahead=LOOKAHEAD).set_params(**options).fit(rows)
    network: Literal["autoencoder", "unet"] = "unet" if request.param in UNETS else "autoencoder"
    fitted.detector_ = fitted.detector_.choosing((_choice(network, network), _choice("identity", network)))
    return fitted


@given(random=st.randoms(use_true_random=True))
@settings(max_examples=10, deadline=None)
def test_whatever_the_model_a_row_means_the_same_online_and_offline(
    detector: AutoencoderDetector, random: Random
) -> None:
    rows = np.array([[random.gauss(0, 1) for _ in range(2)] for _ in range(ROWS)], np.float32)
    lost = np.array([[random.random() < 0.15 for _ in range(2)] for _ in range(ROWS)])
    rows[lost] = np.nan
    records = list(_records(random))
    cleaned, scores = _online(detector, rows, records, random)
    offline, expected = detector.denoise(rows), detector.decision_function(rows)
    np.testing.assert_allclose(cleaned, offline, rtol=ROUNDING, atol=ROUNDING)
    largest = [expected[begin:end].max() for begin, end in records]
    np.testing.assert_allclose(scores, largest, rtol=SCORE_ROUNDING, atol=1e-3)
    assert np.isfinite(offline).all()
    np.testing.assert_array_equal(offline[~lost[:, 1], 1], rows[~lost[:, 1], 1])


def _records(random: Random) -> Iterator[Record]:
    begin = 0
    while begin < ROWS:
        end = min(begin + random.choice([1, 1, 1, 2, 4, 7]), ROWS)
        yield begin, end
        begin = end


def _online(
    detector: AutoencoderDetector, rows: Float32, records: list[Record], random: Random
) -> tuple[Float32, Float64]:
    """Cleaned rows and each record's score, through a pipeline in random chunks, the pending ones let go at the end."""
    pipeline = Pipeline(Settings(batch=BatchSettings(max_records=random.randint(1, 12))), "stream-ae/test")
    pipeline.use(detector.detector_)
    pipeline.assign({Partition("raw", 0): None})
    out: list[OutgoingBatch] = []
    begin = 0
    while begin < len(records):
        end = min(begin + random.randint(1, 20), len(records))
        pipeline.feed(_batch(rows, records[begin:end], begin), 0.0)
        out += _drained(pipeline, detector, 0.0)
        begin = end
    out += _drained(pipeline, detector, 10.0)
    values = [orjson.loads(value or b"")["values"] for batch in out for value in batch.values]
    scores = [float(header_text(headers, SCORE) or "nan") for batch in out for headers in batch.headers]
    samples = [row for given in values for row in (given if isinstance(given, list) else [list(given.values())])]
    return np.array(samples, np.float32), np.array(scores)


def _drained(pipeline: Pipeline, detector: AutoencoderDetector, now_s: float) -> Iterator[OutgoingBatch]:
    while (work := pipeline.take(now_s, True)) is not None:
        yield _cleaned(pipeline, detector, work)


def _cleaned(pipeline: Pipeline, detector: AutoencoderDetector, work: Work) -> OutgoingBatch:
    inference = detector.detector_.infer(work.windows) if len(work.windows) else None
    return pipeline.complete(work, inference).cleaned


def _batch(rows: Float32, records: list[Record], first: int) -> RecordBatch:
    values: list[bytes | None] = [_encoded(rows[begin:end], begin) for begin, end in records]
    count = len(records)
    offsets, times = np.arange(first, first + count), np.full(count, START_MS)
    return RecordBatch("raw", np.zeros(count, np.int32), offsets, times, [None] * count, values, [()] * count)


def _encoded(rows: Float32, begin: int) -> bytes:
    record = {"stream": "s", "timestamp": START_MS + begin * INTERVAL_MS, "interval_ms": INTERVAL_MS}
    listed = [[None if np.isnan(value) else float(value) for value in row] for row in rows]
    given: object = listed if len(rows) > 1 else {"x0": listed[0][0], "x1": listed[0][1]}
    return orjson.dumps(record | {"values": given})
