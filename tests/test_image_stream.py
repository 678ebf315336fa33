"""Images: the detector on arrays, and the same frames through the flow."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError, ModelError
from stream_ae.flow.headers import FLAG, SCORE, header_text
from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind, FrameLimits
from stream_ae.flow.pipeline import Pipeline
from stream_ae.records import Float32, OutgoingBatch, Partition, RecordBatch
from stream_ae.settings import BatchSettings, DecodeSettings, Settings
from tests.models.images.conftest import disks

START_MS = 1_700_000_000_000
SIDES = (16, 20)
KINDS: dict[str, dict[str, object]] = {
    "autoencoder": {"denoiser": "autoencoder"},
    "u-net": {"denoiser": "unet", "clean": True},
    "blind u-net": {"denoiser": "unet"},
    "variational": {"model": "conv2d-variational", "denoiser": "autoencoder"},
    "spatial": {"model": "conv2d-spatial", "denoiser": "autoencoder"},
}


def _fitted(options: dict[str, object], channels: int = 1) -> AutoencoderDetector:
    detector = AutoencoderDetector(max_epochs=2, denoiser_steps=20, threads=1, false_alarm_rate=0.05)
    return detector.set_params(**options).fit(disks(120, channels, SIDES))


@pytest.fixture(scope="module", params=KINDS)
def detector(request: pytest.FixtureRequest) -> AutoencoderDetector:
    return _fitted(KINDS[request.param])


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return _fitted(KINDS["autoencoder"])


@given(random=st.randoms(use_true_random=True))
@settings(max_examples=5, deadline=None)
def test_whatever_the_model_a_frame_means_the_same_online_and_offline(
    detector: AutoencoderDetector, random: Random
) -> None:
    frames = disks(12, seed=random.randint(0, 1000))
    frames[3, 0, 4:7, 5:12] += 400.0
    frames[5, 0, random.randrange(16), :] = np.nan
    cleaned, scores, flags = _online(detector, frames, random)
    np.testing.assert_allclose(cleaned, detector.denoise(frames), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(scores, detector.decision_function(frames), rtol=5e-3, atol=1e-3)
    near = np.abs(scores - detector.threshold_) < 0.01
    assert (flags == detector.predict(frames))[~near].all()


def _online(
    detector: AutoencoderDetector, frames: Float32, random: Random
) -> tuple[Float32, NDArray[np.float64], NDArray[np.int64]]:
    set_to = Settings(decode=DecodeSettings(records="images"), batch=BatchSettings(max_records=random.randint(1, 5)))
    pipeline = Pipeline(set_to, "stream-ae/test")
    pipeline.use(detector.detector_)
    pipeline.assign({Partition("raw", 0): None})
    form = FrameFormat(FrameKind.NPY, "float32", *frames.shape[1:])
    values: list[bytes | None] = [encode_frame(frame, form) for frame in frames]
    count, out, begin = len(values), list[OutgoingBatch](), 0
    while begin < count:
        end = min(begin + random.randint(1, 6), count)
        offsets = np.arange(begin, end)
        size = end - begin
        pipeline.feed(
            RecordBatch("raw", np.zeros(size, np.int32), offsets, START_MS + offsets, [b"cam"] * size,
                        values[begin:end], [()] * size), 0.0,
        )  # fmt: skip
        out += _drained(pipeline)
        begin = end
    headers = [headers for batch in out for headers in batch.headers]
    cleaned = [decode_frame(value or b"", (), FrameLimits()).values for batch in out for value in batch.values]
    scores = [float(header_text(given, SCORE) or "nan") for given in headers]
    return np.stack(cleaned), np.array(scores), np.array([int(header_text(given, FLAG) or "-1") for given in headers])


def _drained(pipeline: Pipeline) -> Iterator[OutgoingBatch]:
    while (work := pipeline.take(0.0, True)) is not None:
        yield pipeline.complete(work, work.model.infer(work.windows)).cleaned


@pytest.mark.parametrize("shape", ["(N, H, W)", "(N, 1, H, W)"])
def test_images_with_and_without_an_axis_of_channels_are_the_same(fitted: AutoencoderDetector, shape: str) -> None:
    frames = disks(6, seed=1)
    given = frames[:, 0] if shape == "(N, H, W)" else frames
    assert fitted.denoise(given).shape == given.shape
    assert fitted.explain(given).shape == (6, *SIDES)
    np.testing.assert_array_equal(fitted.decision_function(given), fitted.decision_function(frames))


def test_a_defect_is_flagged_and_the_error_map_shows_where_it_is(fitted: AutoencoderDetector) -> None:
    frames = disks(20, seed=2)
    frames[:, 0, 2:6, 3:8] = 250.0
    assert fitted.predict(frames).mean() > 0.8
    errors = fitted.explain(frames)
    assert (errors[:, 2:6, 3:8].mean((1, 2)) > 3 * errors.mean((1, 2))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float16, np.float64, np.bool_])
def test_images_come_out_in_the_type_they_came_in(dtype: type) -> None:
    frames = disks(40, sides=(16, 16)).clip(0, 255)
    given = (frames > 100) if dtype is np.bool_ else frames.astype(dtype)
    detector = AutoencoderDetector(max_epochs=1, denoiser="autoencoder", threads=1).fit(given)
    assert detector.denoise(given).dtype == (np.float32 if dtype is np.bool_ else dtype)


def test_colours_are_explained_together(tmp_path: Path) -> None:
    detector = _fitted(KINDS["autoencoder"], channels=3)
    frames = disks(4, 3, SIDES)
    assert detector.detector_.channels == ("red", "green", "blue")
    assert detector.explain(frames).shape == (4, *SIDES)
    assert detector.denoise(frames).shape == frames.shape


def test_a_saved_detector_says_the_same_and_knows_its_parameters(detector: AutoencoderDetector, tmp_path: Path) -> None:
    detector.save(tmp_path / "v")
    again, frames = AutoencoderDetector.load(tmp_path / "v"), disks(8, seed=3)
    np.testing.assert_array_equal(again.decision_function(frames), detector.decision_function(frames))
    np.testing.assert_array_equal(again.denoise(frames), detector.denoise(frames))
    quick = clone(again).set_params(denoiser_steps=2, max_epochs=1)
    assert quick.fit(disks(40)).detector_.frame == (1, *SIDES)


def test_codes_are_decoded_to_images_and_what_has_a_prior_is_sampled(detector: AutoencoderDetector) -> None:
    frames = disks(5, seed=4)
    codes = detector.encode(frames)
    assert detector.decode(codes).shape == frames.shape
    if detector.detector_.generative:
        assert detector.sample(3).shape == (3, 1, *SIDES)
        assert detector.interpolate(codes[0], codes[1], 4).shape == (4, 1, *SIDES)
    else:
        with pytest.raises(ModelError, match="not variational"):
            detector.sample(3)


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.zeros((3, 1, 16, 20)), "taken for 3 images; at least 20"),
        (np.full((40, 16, 20), np.nan), "0 frames with a pixel"),
        (np.zeros((40, 0, 16, 20)), "0 frames with a pixel"),
        (np.zeros((2, 40, 1, 16, 20)), r"shape \(2, 40, 1, 16, 20\)"),
        (np.zeros((40, 16, 20), np.complex64), "complex64, not numbers"),
    ],
)
def test_images_that_nothing_can_be_learnt_from_are_refused(x: NDArray[np.float64], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AutoencoderDetector(max_epochs=1, denoiser_steps=2).fit(x)


def test_images_of_another_size_and_rows_are_refused(fitted: AutoencoderDetector) -> None:
    with pytest.raises(ConfigError, match=r"images \(1, 16, 21\).* \(1, 16, 20\)"):
        fitted.predict(np.zeros((2, 16, 21)))
    with pytest.raises(ConfigError, match="takes images"):
        fitted.predict(np.zeros((2, 16)))
    with pytest.raises(ConfigError, match="streams of readings"):
        fitted.adapt(disks(40))
    with pytest.raises(ConfigError, match="conv1d is for readings"):
        AutoencoderDetector(model="conv1d").fit(disks(40))
    with pytest.raises(ConfigError, match="conv2d is for images"):
        AutoencoderDetector(model="conv2d").fit(np.zeros((400, 2)))
