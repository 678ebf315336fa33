"""How anomalous the first samples of a stream look, whose windows its first one fills."""

import numpy as np

from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Int64
from stream_ae.training.dataset import WindowSet

BATCH = 2048
MOST_WINDOWS = 20_000


def start_threshold(detector: Detector, windows: WindowSet, false_alarm_rate: float, seed: int = 0) -> float:
    """What at most `false_alarm_rate` of normal windows lie above if their streams had begun within them, a share as
    large of any sample up to the target; not below the detector's threshold.

    A fast signal that stands still for most of a window is nothing that a network was trained on: by the usual
    threshold every start of such a stream would be flagged. Training with such windows helped neither there nor later.
    """
    target = detector.window - 1 - detector.lookahead
    if target == 0:
        return detector.threshold
    generator = np.random.default_rng(seed)
    found = np.concatenate(
        [
            detector.infer(begun_within(batch, generator.integers(1, target + 1, len(batch)))).score
            for batch in windows.sample(MOST_WINDOWS).batches(BATCH)
        ]
    )
    finite = found[np.isfinite(found)]
    if not len(finite):
        return detector.threshold
    return max(float(np.quantile(finite, 1.0 - false_alarm_rate)), detector.threshold)


def begun_within(windows: Float32, first: Int64) -> Float32:
    """Windows (B, C, T) as they would be if sample `first` (B,) of each were its stream's first, see `flow.window`.

    >>> begun_within(np.array([[[1.0, 2.0, 3.0]]], np.float32), np.array([1])).tolist()
    [[[2.0, 2.0, 3.0]]]
    """
    source = np.maximum(np.arange(windows.shape[2]), first[:, None])
    padded: Float32 = np.take_along_axis(windows, source[:, None, :], axis=2)
    return padded
