"""A camera that looks at one scene: large frames in tiles, and only what changes is to be learnt."""

import numpy as np
import pytest
from scipy import ndimage

from stream_ae.models.images import ImageDetector
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.images import train_frames

SIDES = (80, 120)


def _frames(count: int, seed: int) -> Float32:
    """(N, 1, H, W) of one scene, brighter or darker, with some noise."""
    scene = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal(SIDES), 4.0)
    generator = np.random.default_rng(seed)
    light = generator.uniform(0.8, 1.2, (count, 1, 1, 1))
    noise = 4.0 * generator.standard_normal((count, 1, *SIDES))
    return np.asarray(light * (120.0 + 40.0 * scene / scene.std()) + noise, np.float32)


@pytest.fixture(scope="module")
def camera() -> ImageDetector:
    options = TrainingSettings(max_epochs=2, denoiser="none", false_alarm_rate=0.02)
    return train_frames(_frames(100, 0), ("grey",), options).detector


def test_a_small_fault_on_a_large_frame_is_flagged_and_found(camera: ImageDetector) -> None:
    sound = _frames(10, 1)
    faulty = sound.copy()
    faulty[:, :, 50:56, 90:96] += 60.0
    found = camera.infer_frames(faulty)
    assert (found.score > camera.infer_frames(sound).score.max()).all()
    for one in found.error_map:
        row, column = np.unravel_index(one.argmax(), one.shape)
        assert 49 <= row <= 56
        assert 89 <= column <= 96


def test_no_seam_is_seen_where_tiles_meet(camera: ImageDetector) -> None:
    expected = camera.infer_frames(_frames(10, 1)).expected
    scene = np.abs(np.diff(_frames(400, 2).mean(0), axis=-1)).mean((0, 1))
    steps = np.abs(np.diff(expected, axis=-1)).mean((0, 1, 2))
    # The scene itself is steeper in some columns than in others; a seam would be a step that it does not have.
    assert (steps < 1.5 * scene + 1.0).all()
