"""Frames to a diffusion prior, and what is refused before anything is trained."""

import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError, ModelError
from stream_ae.models.images import ImageDetector, load, save
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.images import fitted_prior, train_frames
from tests.models.images.conftest import OPTIONS, disks

PRIOR = OPTIONS.model_copy(update={"model": "conv2d-spatial", "denoiser": "none", "diffusion_steps": 300})


@pytest.fixture(scope="module")
def diffusing(spatial: ImageDetector) -> ImageDetector:
    pytest.importorskip("diffusers")
    return spatial.sampling(fitted_prior(spatial, disks(400), PRIOR))


def test_samples_of_a_trained_prior_are_closer_to_real_frames_than_decoded_noise(diffusing: ImageDetector) -> None:
    real = disks(200, seed=1)
    made_up, noise = (diffusing.sample(50, seed=3, prior=prior) for prior in ("diffusion", "normal"))
    assert 0 < np.median(made_up) < 255
    # Measured .71; real frames, encoded and decoded, come to .63, which no prior over the same codes can beat.
    assert _off(made_up, real) < 0.8 * _off(noise, real)


def _off(frames: Float32, real: Float32) -> float:
    """Mean distance of a frame from the real one nearest to it."""
    rows, others = (part.reshape(len(part), -1).astype(np.float64) for part in (frames, real))
    squares = np.square(rows).sum(1)[:, None] + np.square(others).sum(1) - 2.0 * rows @ others.T
    return float(np.sqrt(np.maximum(squares, 0.0)).min(1).mean())


def test_a_reloaded_version_samples_the_same(diffusing: ImageDetector, tmp_path: Path) -> None:
    save(diffusing, tmp_path)
    np.testing.assert_array_equal(
        load(tmp_path).sample(2, seed=3, prior="diffusion"), diffusing.sample(2, seed=3, prior="diffusion")
    )


def test_the_same_frames_and_seed_give_the_same_prior(spatial: ImageDetector) -> None:
    pytest.importorskip("diffusers")
    options = PRIOR.model_copy(update={"diffusion_steps": 3})
    first, second = (spatial.sampling(fitted_prior(spatial, disks(40), options)) for _ in range(2))
    np.testing.assert_array_equal(first.sample(2, prior="diffusion"), second.sample(2, prior="diffusion"))


def test_a_prior_is_asked_for_by_a_setting_and_is_then_what_samples_are_drawn_from(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    detector = AutoencoderDetector(model="conv2d-spatial", denoiser="none", max_epochs=1, diffusion_steps=5)
    detector.fit(disks(40)).save(tmp_path)
    again = AutoencoderDetector.load(tmp_path)
    drawn = [again.sample(2, seed=4, prior=prior) for prior in (None, "diffusion", "normal")]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_without_a_prior_samples_are_drawn_from_the_normal_one_and_another_is_refused() -> None:
    detector = AutoencoderDetector(model="conv2d-spatial", denoiser="none", max_epochs=1).fit(disks(40))
    np.testing.assert_array_equal(detector.sample(2), detector.sample(2, prior="normal"))
    with pytest.raises(ModelError, match="no diffusion prior"):
        detector.sample(2, prior="diffusion")
    with pytest.raises(ConfigError, match="use normal, diffusion or None"):
        detector.sample(2, prior="uniform")  # type: ignore[arg-type]


def test_models_of_rows_have_no_diffusion_prior() -> None:
    x = np.sin(np.arange(300, dtype=np.float32) / 5)[:, None]
    detector = AutoencoderDetector(model="variational", window=8, max_epochs=1).fit(x)
    with pytest.raises(ModelError, match="only models of images"):
        detector.sample(1, prior="diffusion")


@pytest.mark.parametrize("model", ["auto", "conv2d", "conv2d-variational", "conv1d"])
def test_settings_refuse_a_prior_over_codes_that_are_not_spatial(model: str) -> None:
    with pytest.raises(ValidationError, match="need model conv2d-spatial"):
        TrainingSettings.model_validate({"model": model, "diffusion_steps": 1})
    with pytest.raises(ConfigError, match="need model conv2d-spatial"):
        AutoencoderDetector(diffusion_steps=1).set_params(model=model).fit(disks(40))


def test_settings_that_were_not_checked_are_refused_by_the_training_too() -> None:
    with pytest.raises(ConfigError, match="the model is variational"):
        train_frames(disks(40), ("grey",), PRIOR.model_copy(update={"model": "conv2d-variational"}))


def test_frames_that_are_cut_into_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="cut into tiles"):
        train_frames(disks(20, sides=(70, 80)), ("grey",), PRIOR)


def test_without_the_library_training_says_what_to_install_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-ae\[generative\]'"):
        train_frames(disks(40), ("grey",), PRIOR, progress=lambda epoch: pytest.fail("it began"))
