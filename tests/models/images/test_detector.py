"""Frames in, denoised frames, scores and maps out."""

import numpy as np
import pytest

from stream_ae.errors import ModelError
from stream_ae.flow.model import ServedModel
from stream_ae.models.images import ImageDetector
from stream_ae.records import ModelIdentity
from tests.models.images.conftest import disks


def test_it_serves_frames_as_flat_samples(detector: ImageDetector) -> None:
    served: ServedModel = detector
    frames = disks(5, seed=1)
    found, flat = detector.infer_frames(frames), served.infer(frames.reshape(5, -1, 1))
    assert (served.window, served.lookahead, served.channels) == (1, 0, ("grey",))
    assert detector.frame == (1, 16, 20)
    np.testing.assert_array_equal(flat.score, found.score)
    for name in ("x_hat", "expected", "share"):
        np.testing.assert_array_equal(getattr(flat, name), getattr(found, name).reshape(5, -1))


def test_shapes_are_the_frames_and_shares_sum_to_1(tiled: ImageDetector) -> None:
    frames = disks(3, 2, (40, 100), seed=1)
    found = tiled.infer_frames(frames)
    assert found.x_hat.shape == found.expected.shape == found.share.shape == frames.shape
    assert found.error_map.shape == (3, 40, 100)
    np.testing.assert_allclose(found.share.sum((1, 2, 3)), 1.0, rtol=1e-4)


@pytest.mark.parametrize("name", ["detector", "tiled"])
def test_a_frame_is_answered_alike_whatever_else_is_in_the_batch(name: str, request: pytest.FixtureRequest) -> None:
    detector: ImageDetector = request.getfixturevalue(name)
    frames = disks(7, *_kind(detector), seed=2)
    frames[2, :, 3:6] = np.nan
    together = detector.infer_frames(frames)
    for row in range(len(frames)):
        alone = detector.infer_frames(frames[row : row + 1])
        np.testing.assert_allclose(alone.score[0], together.score[row], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(alone.x_hat[0], together.x_hat[row], rtol=1e-3, atol=1e-2)


def _kind(detector: ImageDetector) -> tuple[int, tuple[int, int]]:
    channels, height, width = detector.frame
    return channels, (height, width)


def test_memory_is_bounded_by_pixels(detector: ImageDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_ae.models.images.detector.PIXELS_AT_ONCE", 2 * 16 * 20)
    frames = disks(5, seed=3)
    assert [len(part) for part in detector.parts(frames)] == [2, 2, 1]
    assert len(detector.infer_frames(frames)) == 5
    codes = np.random.default_rng(0).normal(size=(5, *detector.code_shape)).astype(np.float32)
    found = detector.decode(codes)
    np.testing.assert_allclose(found[4], detector.decode(codes[4:])[0], rtol=1e-4, atol=1e-3)


def test_no_frames_get_no_answers(detector: ImageDetector) -> None:
    assert len(detector.infer_frames(disks(0))) == 0


def test_missing_pixels_are_filled_in_and_do_not_count(detector: ImageDetector) -> None:
    frames = disks(20, seed=4)
    holed = frames.copy()
    holed[:, :, 5:9, 6:10] = np.nan
    found = detector.infer_frames(holed)
    assert np.isfinite(found.x_hat).all()
    assert np.median(found.score) < detector.threshold


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_scores_stay_finite_whatever_comes_in(detector: ImageDetector, value: float) -> None:
    frames = disks(3, seed=5)
    frames[0], frames[1, 0, 3, 3] = value, value
    found = detector.infer_frames(frames)
    for name in ("x_hat", "expected", "score", "p_value", "error_map", "share"):
        assert np.isfinite(getattr(found, name)).all(), name


def test_a_fault_scores_higher_and_the_map_shows_where(detector: ImageDetector) -> None:
    frames = disks(20, seed=6)
    faulty = frames.copy()
    faulty[:, :, 1:5, 14:18] = 220.0
    sound, found = detector.infer_frames(frames), detector.infer_frames(faulty)
    assert np.median(found.score) > detector.threshold > np.median(sound.score)
    inside = np.zeros((16, 20), np.bool_)
    inside[1:5, 14:18] = True
    assert all(inside.flat[one.argmax()] for one in found.error_map)


def test_about_as_many_normal_frames_are_flagged_as_was_asked_for(detector: ImageDetector) -> None:
    flagged = detector.infer_frames(disks(400, seed=7)).score > detector.threshold
    # Asked for 5 % on 40 held-out frames, whose own count of such frames varies by as much.
    assert flagged.mean() < 0.15


def test_frames_of_another_size_are_refused(detector: ImageDetector) -> None:
    with pytest.raises(ModelError, match=r"takes \(B, \(1, 16, 20\)\)"):
        detector.infer_frames(disks(2, sides=(20, 16)))
    with pytest.raises(ModelError, match="flattened to"):
        detector.infer(np.zeros((2, 7, 1), np.float32))


def test_codes_go_there_and_back(detector: ImageDetector, tiled: ImageDetector) -> None:
    for one in (detector, tiled):
        frames = disks(3, *_kind(one), seed=8)
        codes = one.encode(frames)
        assert codes.shape == (3, *one.code_shape)
        np.testing.assert_allclose(one.decode(codes), one.infer_frames(frames).expected, rtol=1e-3, atol=0.1)


def test_codes_are_given_with_the_answers_if_they_are_wanted(tiled: ImageDetector) -> None:
    frames = disks(2, *_kind(tiled), seed=8)
    flat = frames.reshape(2, -1, 1)
    assert tiled.infer(flat).code is None
    np.testing.assert_array_equal(tiled.with_codes().infer(flat).code, tiled.encode(frames).reshape(2, -1))
    assert tiled.encode(frames[:0]).shape == (0, *tiled.code_shape)


def test_codes_of_another_size_are_refused(detector: ImageDetector) -> None:
    with pytest.raises(ModelError, match="codes have shape"):
        detector.decode(np.zeros((2, 3), np.float32))


def test_variational_models_can_be_sampled_from_and_the_seed_decides(generative: ImageDetector) -> None:
    frames = generative.sample(4, seed=1)
    assert frames.shape == (4, *generative.frame)
    np.testing.assert_array_equal(frames, generative.sample(4, seed=1))
    assert not np.array_equal(frames, generative.sample(4, seed=2))


def test_a_deterministic_model_has_no_prior_to_sample_from(detector: ImageDetector) -> None:
    with pytest.raises(ModelError, match="not variational"):
        detector.sample(1)


def test_a_model_without_a_diffusion_prior_says_how_to_get_one(generative: ImageDetector) -> None:
    with pytest.raises(ModelError, match=r"training\.diffusion_steps above 0"):
        generative.sample(1, prior="diffusion")


def test_a_registered_name_changes_nothing_else(detector: ImageDetector) -> None:
    named = detector.with_identity(ModelIdentity("camera", "3", "abc"))
    assert named.identity.version == "3"
    assert named.network is detector.network
