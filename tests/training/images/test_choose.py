"""Do no harm: who cleans a channel is measured, and leaving it alone is a candidate."""

import numpy as np
import pytest

from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.images import train_frames
from stream_ae.training.images.choose import chosen_for
from stream_ae.training.images.noise_power import noise_power
from tests.models.images.conftest import disks

NOISE = 40.0


def _noisy(frames: Float32, size: float = NOISE, seed: int = 9) -> Float32:
    noise = size * np.random.default_rng(seed).standard_normal(frames.shape)
    return np.asarray(frames + noise, np.float32)


@pytest.mark.parametrize("size", [5.0, 40.0])
def test_the_power_of_white_noise_is_told_from_the_frames(size: float) -> None:
    smooth = np.add.outer(np.arange(32.0), np.arange(40.0)).astype(np.float32)
    noisy = _noisy(np.broadcast_to(smooth, (50, 1, 32, 40)), size)
    assert noise_power(noisy)[0] == pytest.approx(size**2, rel=0.15)


def test_frames_without_noise_or_too_small_to_tell_have_none() -> None:
    assert noise_power(np.zeros((20, 2, 16, 16), np.float32)).tolist() == [0.0, 0.0]
    assert noise_power(_noisy(np.zeros((20, 1, 5, 5), np.float32))).tolist() == [0.0]


def test_blocks_with_a_missing_pixel_do_not_count() -> None:
    frames = _noisy(np.zeros((50, 1, 16, 16), np.float32), 1.0)
    frames[:, :, :8] = 1000.0 * frames[:, :, :8]
    frames[:, :, 3] = np.nan
    assert noise_power(frames)[0] == pytest.approx(1.0, rel=0.15)


def test_without_clean_frames_the_unet_learns_from_noisy_ones_and_wins() -> None:
    frames = disks(300)
    options = TrainingSettings(max_epochs=1, denoiser_steps=60)
    trained = train_frames(_noisy(frames), ("grey",), options)
    (choice,) = trained.detector.denoiser.choices
    assert (choice.by, trained.detector.denoiser.side is not None) == ("unet", True)
    assert choice.figures["share_of_noise_left"] < 0.5
    fresh = disks(50, seed=3)
    error = trained.detector.infer_frames(_noisy(fresh, seed=4)).x_hat - fresh
    assert np.square(error).mean() < 0.5 * NOISE**2


def test_frames_without_noise_are_left_alone_to_the_bit_and_missing_pixels_filled_in() -> None:
    smooth = np.add.outer(np.arange(16.0), np.arange(16.0)).astype(np.float32)
    frames = smooth + np.arange(60.0, dtype=np.float32)[:, None, None, None]
    trained = train_frames(frames, ("grey",), TrainingSettings(max_epochs=1, denoiser_steps=5))
    assert [choice.by for choice in trained.detector.denoiser.choices] == ["identity"]
    holed = frames[:5].copy()
    holed[:, :, 4, 4] = np.nan
    x_hat = trained.detector.infer_frames(holed).x_hat
    known = ~np.isnan(holed)
    np.testing.assert_array_equal(x_hat[known], holed[known])
    assert np.isfinite(x_hat).all()


def test_with_clean_frames_the_gain_on_added_noise_decides() -> None:
    frames = disks(300)
    options = TrainingSettings(max_epochs=1, clean=True)
    good = train_frames(frames, ("grey",), options.model_copy(update={"denoiser_steps": 60})).detector
    (choice,) = good.denoiser.choices
    assert choice.by == "unet"
    assert choice.figures["gain_gaussian_1"] > 3.0
    fresh = disks(50, seed=3)
    noisy = _noisy(fresh)
    noisy[:, :, 4:9, 4:9] = np.nan
    error = good.infer_frames(noisy).x_hat - fresh
    assert np.square(error).mean() < 0.4 * NOISE**2


def test_another_source_can_choose_anew() -> None:
    trained = train_frames(disks(100), ("grey",), TrainingSettings(max_epochs=1, denoiser_steps=20, clean=True))
    stripes = np.tile(np.array([0.0, 255.0], np.float32), (60, 1, 16, 10))
    assert [choice.by for choice in chosen_for(trained.detector, stripes).denoiser.choices] == ["identity"]
