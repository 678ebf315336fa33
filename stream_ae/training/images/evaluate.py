"""One ruler for candidate and champion of an image stream: the same frames, with the same pixels hidden."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.errors import ModelError
from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32, Float64
from stream_ae.training.evaluate import Evaluation

HIDDEN_SHARE = 0.1
MOST_FAULTS, FRAMES_TIMED = 200, 16


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
    loss = float((error[used] / count[used] / steps[used]).mean())
    some = frames[:: max(len(frames) // MOST_FAULTS, 1)][:MOST_FAULTS].astype(np.float32)
    spoilt = {kind: fault(some, np.random.default_rng(seed)) for kind, fault in FAULTS.items()}
    shares = {kind: float((detector.infer_frames(x).score > detector.threshold).mean()) for kind, x in spoilt.items()}
    return Evaluation(loss, flagged / len(frames), len(frames), shares)


def one_batch_of_frames(detector: ImageDetector, frames: NDArray[Any]) -> Callable[[], object]:
    """Answering a batch of FRAMES_TIMED held-out frames, to be timed."""
    return lambda: detector.infer_frames(frames[:FRAMES_TIMED])


def _blot(frames: Float32, generator: np.random.Generator) -> Float32:
    """A disk of a twelfth of the shorter side as radius, half the range brighter, or darker where that is outside."""
    height, width = frames.shape[2:]
    low, high = float(np.nanmin(frames)), float(np.nanmax(frames))
    rows, columns = np.indices((height, width))
    radius, spoilt = max(min(height, width) / 12.0, 1.0), frames.copy()
    for frame in spoilt:
        middle = generator.uniform(0.2, 0.8, 2) * (height, width)
        inside = np.hypot(rows - middle[0], columns - middle[1]) <= radius
        above = float(np.nan_to_num(frame[:, inside], nan=low).mean()) > (low + high) / 2
        frame[:, inside] += (high - low) / 2 * (-1 if above else 1)
    return spoilt


def _noise(frames: Float32, generator: np.random.Generator) -> Float32:
    """White noise of a quarter of the frames' spread."""
    return np.asarray(frames + 0.25 * np.nanstd(frames) * generator.standard_normal(frames.shape), np.float32)


def _swapped(frames: Float32, generator: np.random.Generator) -> Float32:
    """Upside down: everything is there, at a wrong place."""
    return frames[:, :, ::-1].copy()


FAULTS: Mapping[str, Callable[[Float32, np.random.Generator], Float32]] = {
    "blot": _blot, "noise": _noise, "upside down": _swapped,
}  # fmt: skip


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
