"""Frames of any type and size to a detector that fits them."""

import numpy as np
import pytest
import torch

from stream_ae.errors import ConfigError, ModelError
from stream_ae.settings import TrainingSettings
from stream_ae.testing import ManualClock
from stream_ae.training import Epoch
from stream_ae.training.images import train_frames
from tests.models.images.conftest import OPTIONS, disks

SHORT = OPTIONS.model_copy(update={"max_epochs": 1, "denoiser_steps": 3})
NO_DENOISER = SHORT.model_copy(update={"denoiser": "none"})


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float64, np.float16])
def test_frames_may_be_of_any_numeric_type_and_units_are_theirs(kind: type[np.generic]) -> None:
    frames = disks(40).clip(0, 255).astype(kind)
    found = train_frames(frames, ("grey",), NO_DENOISER).detector.infer_frames(frames[:5].astype(np.float32))
    assert 20 < found.expected.mean() < 150


def test_the_same_seed_gives_the_same_detector_and_torch_is_left_as_it_was() -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, second = (train_frames(disks(40), ("grey",), SHORT).detector for _ in range(2))
    frames = disks(5, seed=1)
    np.testing.assert_array_equal(first.infer_frames(frames).score, second.infer_frames(frames).score)
    np.testing.assert_array_equal(first.infer_frames(frames).x_hat, second.infer_frames(frames).x_hat)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_frames_may_be_larger_than_a_patch_and_of_several_channels() -> None:
    trained = train_frames(disks(20, 3, (70, 90)), ("red", "green", "blue"), SHORT)
    assert trained.detector.frame == (3, 70, 90)
    assert not trained.detector.network.tiling.whole


def test_missing_pixels_in_training_are_no_harm() -> None:
    frames = disks(60)
    frames[:, :, 2:5, 3:9] = np.nan
    frames[::3, :, 10:] = np.inf
    found = train_frames(frames, ("grey",), SHORT).detector.infer_frames(frames)
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.x_hat).all()


@pytest.mark.parametrize("value", [0.0, 7.0, 1e30])
def test_a_camera_that_shows_nothing_is_learnt_too(value: float) -> None:
    frames = np.full((30, 1, 9, 9), value, np.float32)
    found = train_frames(frames, ("grey",), SHORT).detector.infer_frames(frames)
    assert np.isfinite(found.score).all()
    np.testing.assert_allclose(found.x_hat, frames, rtol=0.05, atol=1.0)


def test_frames_of_one_pixel_are_frames() -> None:
    frames = np.random.default_rng(0).normal(size=(40, 1, 1, 1)).astype(np.float32)
    assert np.isfinite(train_frames(frames, ("grey",), SHORT).detector.infer_frames(frames).score).all()


def test_a_variational_and_a_spatial_model_are_asked_for_by_the_settings() -> None:
    options = NO_DENOISER.model_copy(update={"model": "variational"})
    assert train_frames(disks(30), ("grey",), options).detector.network.config.bottleneck == "variational"
    options = NO_DENOISER.model_copy(update={"model": "conv2d-spatial"})
    spatial = train_frames(disks(30), ("grey",), options).detector
    assert spatial.code_shape == (4, 4, 5)


def test_the_report_and_the_tags_say_what_was_done() -> None:
    heard: list[Epoch] = []
    trained = train_frames(disks(50), ("grey",), NO_DENOISER, progress=heard.append, lineage={"topic": "raw"})
    assert [epoch.number for epoch in heard] == [1]
    assert (trained.report.frames, trained.report.held_out, len(trained.held_out)) == (35, 10, 10)
    assert trained.report.metrics()["channels_by_identity"] == 1.0
    assert trained.tags() == {"stream_ae.denoiser": "grey: identity, asked for: training.denoiser is none"}
    assert trained.detector.lineage == {"topic": "raw"}
    assert "too few to see a false-alarm rate" in trained.report.warnings[0]


def test_fitting_stops_when_its_time_is_up() -> None:
    clock = ManualClock()

    def slow(epoch: Epoch) -> None:
        clock.advance(10.0)

    options = NO_DENOISER.model_copy(update={"max_epochs": 9, "time_budget_s": 15.0})
    assert train_frames(disks(30), ("grey",), options, progress=slow, clock=clock).report.epochs == 2


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.zeros((30, 16, 16)), "give \\(N, 1, H, W\\)"),
        (np.zeros((30, 3, 16, 16)), "give \\(N, 1, H, W\\)"),
        (np.zeros((3, 1, 16, 16)), "3 frames"),
        (np.full((30, 1, 16, 16), np.nan), "0 frames"),
        (np.zeros((30, 1, 16, 16), np.complex64), "real numbers"),
        (np.full((30, 1, 16, 16), "x"), "real numbers"),
    ],
)
def test_frames_that_nothing_can_be_learnt_from_are_refused(frames: np.ndarray, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        train_frames(frames, ("grey",), NO_DENOISER)


def test_training_that_diverges_is_said_so() -> None:
    options = TrainingSettings(max_epochs=3, denoiser="none", learning_rate=1e20)
    with pytest.raises(ModelError, match="training diverged"):
        train_frames(disks(30), ("grey",), options)
