"""A row of a stream with a profile means the same online and offline."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError, ModelError
from stream_ae.flow.headers import FLAG, SCORE, header_text
from stream_ae.flow.pipeline import Pipeline
from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Headers, OutgoingBatch, Partition, RecordBatch
from stream_ae.settings import BatchSettings, ProfileKind, Settings
from stream_ae.training.adapt import adapted

START_MS = 1_700_000_000_000


def _rows(count: int, seed: int, centre: float = 0.0, scale: float = 1.0) -> Float32:
    generator = np.random.default_rng(seed)
    waves = np.sin(np.arange(count)[:, None] / np.array([3.0, 5.0])) + generator.normal(0, 0.05, (count, 2))
    moved: Float32 = (waves * scale + centre).astype(np.float32)
    return moved


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(window=8, max_epochs=4, threads=1, denoiser="autoencoder").fit(_rows(1500, seed=0))


def _again(fitted: AutoencoderDetector, folder: Path) -> AutoencoderDetector:
    fitted.save(folder)
    return AutoencoderDetector.load(folder)


def _online(
    detector: AutoencoderDetector, streams: dict[str, Float32], kind: ProfileKind, x: Float32
) -> tuple[list[bytes], list[Headers]]:
    """What a worker says of x as stream `s`, with profiles learnt from `streams`."""
    settings = Settings(batch=BatchSettings(max_records=64))
    model = detector.detector_
    assert isinstance(model, Detector)
    pipeline = Pipeline(settings, "stream-ae/test")
    parts = {stream: [rows] for stream, rows in streams.items()}
    pipeline.use(model, adapted(model, parts, kind, detector.false_alarm_rate))
    pipeline.assign({Partition("raw", 0): None})
    values = [
        json.dumps({"stream": "s", "timestamp": START_MS + i, "values": [float(v) for v in row]}).encode()
        for i, row in enumerate(x)
    ]
    number = np.arange(len(x))
    pipeline.feed(
        RecordBatch("raw", np.zeros(len(x), np.int32), number, number + START_MS, [None] * len(x), values,
                    [()] * len(x)),
        0.0,
    )  # fmt: skip
    cleaned: list[OutgoingBatch] = []
    while (work := pipeline.take(0.0, device_idle=True)) is not None:
        cleaned.append(pipeline.complete(work, work.model.infer(work.windows)).cleaned)
    joined = [(value, headers) for batch in cleaned for value, headers in zip(batch.values, batch.headers, strict=True)]
    return [value or b"" for value, _ in joined], [headers for _, headers in joined]


@pytest.mark.parametrize(("kind", "centre", "scale"), [("threshold", 0.5, 1.2), ("full", 30.0, 6.0)])
def test_a_row_of_a_stream_with_a_profile_means_the_same_online_and_offline(
    fitted: AutoencoderDetector, tmp_path: Path, kind: ProfileKind, centre: float, scale: float
) -> None:
    detector = _again(fitted, tmp_path)
    recent, x = _rows(400, 1, centre, scale), _rows(300, 2, centre, scale)
    x[200:203] += 7 * scale
    values, headers = _online(detector, {"s": recent, "t": _rows(300, seed=3)}, kind, x)
    detector.adapt(recent, kind)
    # JSON carries float32 exactly; a batch of another size may round differently.
    found = np.array([json.loads(value)["values"] for value in values])
    np.testing.assert_allclose(found, detector.denoise(x), rtol=1e-4, atol=1e-3)
    scores = [float(header_text(some, SCORE) or "nan") for some in headers]
    np.testing.assert_allclose(scores, detector.decision_function(x), rtol=1e-3, atol=1e-3)
    flags = np.array([int(header_text(some, FLAG) or "-1") for some in headers])
    assert np.mean(flags == detector.predict(x)) > 0.99
    assert 0 < flags.sum() < 30


def test_adapting_quietens_a_stream_that_has_drifted(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    detector = _again(fitted, tmp_path)
    x = _rows(400, seed=2, centre=4.0)
    before = detector.predict(x).mean()
    assert detector.adapt(_rows(400, seed=1, centre=4.0)).predict(x).mean() < before / 2


def test_what_adapt_learnt_is_saved_with_the_model_and_workers_serve_the_folder_all_the_same(
    fitted: AutoencoderDetector, tmp_path: Path
) -> None:
    detector = _again(fitted, tmp_path / "plain").adapt(_rows(400, seed=1, centre=30.0, scale=6.0), "full")
    x = _rows(50, seed=2, centre=30.0, scale=6.0)
    again = _again(detector, tmp_path / "adapted")
    assert again.threshold_ == detector.threshold_
    np.testing.assert_array_equal(again.denoise(x), detector.denoise(x))
    fitted.save(tmp_path / "adapted")
    assert AutoencoderDetector.load(tmp_path / "adapted").threshold_ == fitted.detector_.threshold


def test_a_profile_beside_another_model_is_refused(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    detector = _again(fitted, tmp_path / "plain").adapt(_rows(400, seed=1))
    detector.save(tmp_path / "adapted")
    (tmp_path / "adapted" / "more").write_text("x")
    with pytest.raises(ModelError, match="learnt with another model"):
        AutoencoderDetector.load(tmp_path / "adapted")


def test_codes_of_an_adapted_stream_lead_back_to_its_own_units(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    detector = _again(fitted, tmp_path).adapt(_rows(400, seed=1, centre=500.0, scale=6.0), "full")
    x = _rows(50, seed=2, centre=500.0, scale=6.0)
    np.testing.assert_allclose(detector.decode(detector.encode(x))[..., -1], detector.denoise(x), rtol=1e-3)


def test_fitting_anew_forgets_what_was_adapted() -> None:
    detector = AutoencoderDetector(window=8, max_epochs=1, threads=1).fit(_rows(600, seed=0))
    detector.adapt(_rows(400, seed=1, centre=4.0)).fit(_rows(600, seed=0))
    assert detector.threshold_ == detector.detector_.threshold


def test_too_few_rows_to_adapt_to_are_refused(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no stream has 200 rows"):
        _again(fitted, tmp_path).adapt(_rows(100, seed=1))
