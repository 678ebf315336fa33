"""What codes of held-out windows look like: how much they compress, what that costs, and a map of them in a plane."""

from dataclasses import dataclass

import numpy as np

from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Float64
from stream_ae.training.dataset import WindowSet

MOST_WINDOWS = 4096
BATCH = 512


@dataclass(frozen=True, slots=True)
class Compression:
    """ratio: values of a window for each number of its code. error: mean absolute difference between a window and what
    its code decodes to, in scales of its channel; 0 where nothing was observed."""

    ratio: float
    error: float


@dataclass(frozen=True, slots=True)
class LatentMap:
    """Codes in the plane in which they differ most.

    points:     (N, 2) principal components.
    explained:  share of the codes' variance along either.
    score:      (N,) of the windows; above `threshold` they are anomalies.
    """

    points: Float64
    explained: tuple[float, float]
    score: Float64
    threshold: float


def compression(detector: Detector, windows: WindowSet) -> Compression:
    """Measured on at most MOST_WINDOWS of the windows, evenly spread."""
    off, count = 0.0, 0
    scale = detector.network.normaliser.scale.cpu().numpy()
    for batch in windows.sample(MOST_WINDOWS).batches(BATCH):
        error = np.abs(detector.decode(detector.encode(batch)) - batch) / scale
        seen = ~np.isnan(error)
        off += float(error[seen].sum(dtype=np.float64))
        count += int(seen.sum())
    values = len(detector.channels) * detector.window
    return Compression(values / detector.code_size, off / max(count, 1))


def latent_map(detector: Detector, windows: WindowSet) -> LatentMap:
    """Of at most MOST_WINDOWS of the windows, evenly spread; there is at least one."""
    codes, scores = [], []
    coder = detector.with_codes()
    for batch in windows.sample(MOST_WINDOWS).batches(BATCH):
        answer = coder.infer(batch)
        assert answer.code is not None
        # The bases behind the latent code are levels of the streams, in other units.
        codes.append(answer.code[:, : detector.network.config.latent])
        scores.append(answer.score)
    points, explained = principal(np.concatenate(codes))
    return LatentMap(points, explained, np.concatenate(scores), detector.threshold)


def principal(codes: Float32) -> tuple[Float64, tuple[float, float]]:
    """(N, 2) the two principal components of codes (N, Z), and the share of the variance along each.

    >>> points, explained = principal(np.array([[0, 1, 5], [0, 3, 5], [0, 5, 5]], np.float32))
    >>> np.abs(points[:, 0]).tolist(), points[:, 1].tolist(), explained
    ([2.0, 0.0, 2.0], [0.0, 0.0, 0.0], (1.0, 0.0))
    """
    finite = np.nan_to_num(codes.astype(np.float64))
    centred = finite - finite.mean(0)
    # Columns of zeros, so that there are two components however few numbers a code has.
    padded = np.pad(centred, ((0, max(2 - len(centred), 0)), (0, max(2 - centred.shape[1], 0))))
    _, strength, axes = np.linalg.svd(padded, full_matrices=False)
    points: Float64 = (padded @ axes[:2].T)[: len(codes)]
    share = np.square(strength) / max(float(np.square(strength).sum()), 1e-300)
    return points.round(9) + 0.0, (float(share[0]), float(share[1]))
