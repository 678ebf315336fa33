"""One ruler for candidate and champion: the same held-out frames, hidden from the models in the same places."""

import numpy as np

from stream_ae.errors import ModelError
from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32
from stream_ae.training.evaluate import HIDDEN_SHARE, Evaluation

MOST_FRAMES = 2000
BATCH = 64
TINY = 1e-30


def evaluate_frames(detector: ImageDetector, held_out: Float32, seed: int = 0) -> Evaluation:
    """Measure on held-out frames (N, C, H, W), see `training.evaluate.evaluate`.

    The loss is the mean absolute error on hidden pixels over the mean absolute difference of neighbours in a row: 1 is
    as good as repeating the pixel beside. Raises ModelError if there is nothing to measure on.
    """
    if not len(held_out):
        raise ModelError("no held-out frame: collect more data before comparing models")
    chosen = np.linspace(0, len(held_out) - 1, min(len(held_out), MOST_FRAMES)).astype(np.int64)
    frames, generator = held_out[chosen], np.random.default_rng(seed)
    error, count, flagged = 0.0, 0, 0
    for begin in range(0, len(frames), BATCH):
        part = frames[begin : begin + BATCH]
        flagged += int((detector.infer_frames(part).score > detector.threshold).sum())
        hidden = generator.random(part.shape) < HIDDEN_SHARE
        found = detector.infer_frames(np.where(hidden, np.float32(np.nan), part)).x_hat
        known = hidden & ~np.isnan(part)
        error += float(np.abs(found[known].astype(np.float64) - part[known]).sum())
        count += int(known.sum())
    step = float(np.nanmean(np.abs(np.diff(frames.astype(np.float64), axis=3)))) if frames.shape[3] > 1 else 0.0
    loss = error / count / max(step, TINY) if count else float("nan")
    return Evaluation(loss, flagged / len(frames), len(frames))
