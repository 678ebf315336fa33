"""Models of an image stream are compared on pixels that they were not shown."""

import numpy as np
import pytest

from stream_ae.errors import ModelError
from stream_ae.models.images import ImageDetector
from stream_ae.training.images import evaluate_frames, train_frames
from tests.models.images.conftest import OPTIONS, disks


def test_a_model_that_learnt_more_loses_less_and_the_same_model_the_same() -> None:
    long, short = (
        train_frames(disks(80), ("grey",), OPTIONS.model_copy(update={"denoiser": "autoencoder", "max_epochs": epochs}))
        for epochs in (6, 1)
    )
    frames = disks(40, seed=1)
    better, worse = (evaluate_frames(trained.detector, frames) for trained in (long, short))
    assert better.loss < worse.loss
    assert better.windows == 40
    assert evaluate_frames(long.detector, frames) == better


def test_flags_are_those_of_the_frames_as_they_are(detector: ImageDetector) -> None:
    frames = disks(40, seed=1)
    flagged = (detector.infer_frames(frames).score > detector.threshold).mean()
    assert evaluate_frames(detector, frames).flagged_share == flagged


def test_bytes_and_missing_pixels_can_be_measured_on(detector: ImageDetector) -> None:
    assert np.isfinite(evaluate_frames(detector, disks(20).clip(0, 255).astype(np.uint8)).loss)
    frames = disks(20)
    frames[:, :, ::2] = np.nan
    assert np.isfinite(evaluate_frames(detector, frames).loss)


def test_frames_without_a_pixel_cannot_be_measured_on(detector: ImageDetector) -> None:
    for frames in (disks(0), np.full_like(disks(3), np.nan)):
        with pytest.raises(ModelError, match="collect more frames"):
            evaluate_frames(detector, frames)
