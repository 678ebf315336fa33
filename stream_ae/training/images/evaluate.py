"""One ruler for candidate and champion of an image stream: the same frames, with the same pixels hidden."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.errors import ModelError
from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float64
from stream_ae.training.evaluate import Evaluation

HIDDEN_SHARE = 0.1


def evaluate_frames(detector: ImageDetector, frames: NDArray[Any], seed: int = 0) -> Evaluation:
    """Measure on frames (N, C, H, W) that the model was not fitted on; `Evaluation.windows` counts frames, and a loss
    of 1 is as good as repeating the pixel beside. Comparable if frames, channels and seed are the same.

    Raises ModelError if there is nothing to measure on.
    """
    steps = _steps(frames)
    generator = np.random.default_rng(seed)
    error, count, flagged = np.zeros(len(steps)), np.zeros(len(steps)), 0
    for part in detector.parts(frames):
        known = (generator.random(part.shape) < HIDDEN_SHARE) & ~np.isnan(part)
        found = detector.infer_frames(np.where(known, np.nan, part).astype(np.float32))
        flagged += int((detector.infer_frames(part).score > detector.threshold).sum())
        off = np.abs(found.x_hat - np.where(known, part, 0.0), dtype=np.float64)
        error += np.where(known, off, 0.0).sum((0, 2, 3))
        count += known.sum((0, 2, 3))
    used = count > 0
    if not used.any():
        raise ModelError("no held-out frame has a pixel: collect more frames before comparing models")
    return Evaluation(float((error[used] / count[used] / steps[used]).mean()), flagged / len(frames), len(frames))


def _steps(frames: NDArray[Any]) -> Float64:
    """(C,) mean absolute difference of pixels beside each other; 1 for a channel without any."""
    found = np.ones(frames.shape[1])
    for channel in range(frames.shape[1]):
        differences = np.abs(np.diff(frames[:, channel].astype(np.float32), axis=-1))
        known = ~np.isnan(differences)
        total = float(differences[known].sum(dtype=np.float64))
        if total > 0:
            found[channel] = total / known.sum()
    return found
