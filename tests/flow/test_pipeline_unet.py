"""A version with a U-Net says of a row online what it says offline: look-ahead, missing values, any chunks."""

from random import Random

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae import AutoencoderDetector
from stream_ae.flow.pipeline import Pipeline, Work
from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.records import Float32, Partition, RecordBatch
from stream_ae.settings import BatchSettings, Settings

WINDOW, LOOKAHEAD, ROWS = 16, 5, 60
# A batch of another size adds up in another order.
ROUNDING = 1e-4


def _choice(by: CleanedBy) -> ChannelChoice:
    return ChannelChoice(by=by, fill="unet", reason="", figures={})


@pytest.fixture(scope="module", params=[False, True], ids=["blind", "clean"])
def detector(request: pytest.FixtureRequest) -> AutoencoderDetector:
    """The first channel is cleaned by a U-Net that has learnt a little; the second one is left alone."""
    rows = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
    options = {"denoiser": "unet", "denoiser_steps": 20, "clean": request.param, "max_epochs": 1}
    fitted = AutoencoderDetector(window=WINDOW, lookahead=LOOKAHEAD).set_params(**options).fit(rows)
    fitted.detector_ = fitted.detector_.choosing((_choice("unet"), _choice("identity")))
    return fitted


@given(random=st.randoms(use_true_random=True))
@settings(max_examples=15, deadline=None)
def test_a_row_cleaned_by_a_u_net_means_the_same_online_and_offline(
    detector: AutoencoderDetector, random: Random
) -> None:
    rows = np.array([[random.gauss(0, 1) for _ in range(2)] for _ in range(ROWS)], np.float32)
    lost = np.array([[random.random() < 0.15 for _ in range(2)] for _ in range(ROWS)])
    rows[lost] = np.nan
    offline = detector.denoise(rows)
    np.testing.assert_allclose(_online(detector, rows, random), offline, rtol=ROUNDING, atol=ROUNDING)
    assert np.isfinite(offline).all()
    np.testing.assert_array_equal(offline[~lost[:, 1], 1], rows[~lost[:, 1], 1])


def _online(detector: AutoencoderDetector, rows: Float32, random: Random) -> Float32:
    """Through a pipeline in random chunks, the pending ones let go at the end."""
    chosen = Settings(batch=BatchSettings(max_records=random.randint(1, 12)))
    pipeline = Pipeline(chosen, "stream-ae/test")
    pipeline.use(detector.detector_)
    pipeline.assign({Partition("raw", 0): None})
    out: list[list[float]] = []
    begin = 0
    while begin < len(rows):
        end = min(begin + random.randint(1, 20), len(rows))
        pipeline.feed(_batch(rows[begin:end], begin), 0.0)
        _drain(pipeline, detector, out, 0.0)
        begin = end
    _drain(pipeline, detector, out, 10.0)
    return np.array(out, np.float32)


def _drain(pipeline: Pipeline, detector: AutoencoderDetector, out: list[list[float]], now_s: float) -> None:
    while (work := pipeline.take(now_s, True)) is not None:
        out += [list(orjson.loads(value or b"")["values"].values()) for value in _cleaned(pipeline, detector, work)]


def _cleaned(pipeline: Pipeline, detector: AutoencoderDetector, work: Work) -> list[bytes | None]:
    inference = detector.detector_.infer(work.windows) if len(work.windows) else None
    return list(pipeline.complete(work, inference).cleaned.values)


def _batch(rows: Float32, first: int) -> RecordBatch:
    offsets = np.arange(first, first + len(rows))
    values: list[bytes | None] = [
        orjson.dumps({"stream": "s", "timestamp": int(offset), "values": {"x0": _json(row[0]), "x1": _json(row[1])}})
        for offset, row in zip(offsets, rows, strict=True)
    ]
    zeros = np.zeros(len(rows), np.int64)
    return RecordBatch("raw", zeros.astype(np.int32), offsets, zeros, [None] * len(rows), values, [()] * len(rows))


def _json(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
