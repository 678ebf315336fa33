"""A small camera's stream without a download: scikit-learn's handwritten digits, enlarged, with noise and defects.

Source: E. Alpaydin and C. Kaynak, 'Optical Recognition of Handwritten Digits', UCI (CC BY 4.0), as scikit-learn ships.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

from stream_ae.records import Bool, Float32, Float64

SIDE = 32
NOISE = 30.0
DEFECT_SHARE = 0.15
BRIGHTEST = 255.0


@dataclass(frozen=True, slots=True)
class Scene:
    """N frames (N, 1, SIDE, SIDE), 0 to 255.

    truth:   without noise and defects.
    given:   what the camera sends, whole numbers.
    defect:  (N, SIDE, SIDE) where a defect was put; nowhere in most frames.
    """

    truth: Float32
    given: Float32
    defect: Bool

    @property
    def spoilt(self) -> Bool:
        """(N,) the frames with a defect."""
        found: Bool = np.asarray(self.defect.any((1, 2)), np.bool_)
        return found

    def part(self, some: slice) -> "Scene":
        return Scene(self.truth[some], self.given[some], self.defect[some])


def scene(train: int, seed: int = 0) -> Scene:
    """All 1797 digits in a random order; of the first `train` none has a defect."""
    generator = np.random.default_rng(seed)
    small = load_digits().images[generator.permutation(1797)]
    large = ndimage.zoom(small, (1, SIDE / small.shape[1], SIDE / small.shape[2]), order=1, mode="nearest")
    truth = np.asarray(large * (BRIGHTEST / small.max()), np.float32)[:, None]
    spoilt, defect = truth.copy(), np.zeros((len(truth), SIDE, SIDE), np.bool_)
    for row in range(train, len(truth)):
        if generator.random() < DEFECT_SHARE:
            defect[row] = _defect(spoilt[row, 0], generator)
    noisy = spoilt + generator.normal(0.0, NOISE, spoilt.shape)
    return Scene(truth, np.rint(noisy.clip(0.0, BRIGHTEST)).astype(np.float32), defect)


def _defect(frame: Float32, generator: np.random.Generator) -> Bool:
    """Draw a scratch, a blot or a hole into a frame (H, W); where it was drawn."""
    rows, columns = np.indices(frame.shape)
    y, x = generator.uniform(8, SIDE - 8, 2)
    kind = generator.integers(3)
    if kind == 0:
        angle = generator.uniform(0, np.pi)
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        where = (np.abs(along) < 9) & (np.abs(across) < 1.1)
    else:
        where = np.hypot(rows - y, columns - x) < generator.uniform(2.5, 4.0)
    drawn: Bool = np.asarray(where, np.bool_)
    dark_is_seen = kind == 2 and float(frame[drawn].mean()) > BRIGHTEST / 2
    frame[drawn] = 0.0 if dark_is_seen else BRIGHTEST
    return drawn


def psnr_db(truth: Float32, found: Float32) -> float:
    """Peak signal-to-noise ratio of frames, mean over them, dB."""
    error: Float64 = np.square(found.astype(np.float64) - truth).mean((1, 2, 3))
    return float(np.mean(10.0 * np.log10(BRIGHTEST**2 / np.maximum(error, 1e-12))))


def auroc(score: Float64, positive: Bool) -> float:
    """Area under the ROC curve: how often a positive scores above another, ties counting half."""
    from scipy import stats

    ranks = stats.rankdata(score)
    count, others = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))
