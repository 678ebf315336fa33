"""A camera's stream without a download: a fixed camera on a real photograph that scikit-learn ships, which shakes and
whose light changes, with noise and defects of known truth.

Source: `china.jpg` of scikit-learn's sample images (Ultra-lab, CC BY 2.0).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats
from sklearn.datasets import load_sample_image

from stream_ae.records import Bool, Float32, Float64

SIDE = 48
# Of the photograph's 427 x 640 pixels, what the camera sees, and by how much that is made smaller.
TOP, LEFT, PIXELS, SMALLER = 30, 110, 260, 5
SHAKE, LIGHT = 1.0, 0.1
NOISE = 25.0
DEFECT_SHARE, CONTRAST = 0.15, 70.0
BRIGHTEST = 255.0


@dataclass(frozen=True, slots=True)
class Scene:
    """N frames (N, 3, SIDE, SIDE), 0 to 255.

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


def scene(train: int, test: int, seed: int = 0) -> Scene:
    """So many frames to learn from, none of which has a defect, and to judge."""
    generator = np.random.default_rng(seed)
    view = _view()
    truth = np.stack([_seen(view, generator) for _ in range(train + test)])
    spoilt, defect = truth.copy(), np.zeros((len(truth), SIDE, SIDE), np.bool_)
    for row in range(train, len(truth)):
        if generator.random() < DEFECT_SHARE:
            defect[row] = _defect(spoilt[row], generator)
    noisy = spoilt + generator.normal(0.0, NOISE, spoilt.shape)
    return Scene(truth, np.rint(noisy.clip(0.0, BRIGHTEST)).astype(np.float32), defect)


def _view() -> Float64:
    """(3, H, W) the part of the photograph, a little larger than a frame on every side."""
    photograph = load_sample_image("china.jpg")[TOP : TOP + PIXELS, LEFT : LEFT + PIXELS]
    side = PIXELS // SMALLER
    blocks = photograph.reshape(side, SMALLER, side, SMALLER, 3)
    return np.asarray(blocks.mean((1, 3)).transpose(2, 0, 1), np.float64)


def _seen(view: Float64, generator: np.random.Generator) -> Float32:
    """(3, SIDE, SIDE) the view from a camera that shakes, in another light each time."""
    shift = generator.uniform(-SHAKE, SHAKE, 2)
    moved = ndimage.shift(view, (0.0, *shift), order=1, mode="nearest")
    edge = (view.shape[1] - SIDE) // 2
    frame = moved[:, edge : edge + SIDE, edge : edge + SIDE] * generator.uniform(1 - LIGHT, 1 + LIGHT)
    return np.asarray(frame.clip(0.0, BRIGHTEST), np.float32)


def _defect(frame: Float32, generator: np.random.Generator) -> Bool:
    """Draw a scratch, a blot or a hole into a frame (3, H, W); where it was drawn."""
    rows, columns = np.indices(frame.shape[1:])
    y, x = generator.uniform(8, SIDE - 8, 2)
    if generator.integers(3) == 0:
        angle = generator.uniform(0, np.pi)
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        where = (np.abs(along) < 10) & (np.abs(across) < 1.1)
    else:
        where = np.hypot(rows - y, columns - x) < generator.uniform(2.0, 4.0)
    drawn: Bool = np.asarray(where, np.bool_)
    # Away from the ground's own brightness, to the side that has more room.
    darker = float(frame[:, drawn].mean()) > BRIGHTEST / 2
    frame[:, drawn] = (frame[:, drawn] + (-CONTRAST if darker else CONTRAST)).clip(0.0, BRIGHTEST)
    return drawn


def psnr_db(truth: Float32, found: Float32) -> float:
    """Peak signal-to-noise ratio of frames, mean over them, dB."""
    error: Float64 = np.square(found.astype(np.float64) - truth).mean((1, 2, 3))
    return float(np.mean(10.0 * np.log10(BRIGHTEST**2 / np.maximum(error, 1e-12))))


def auroc(label: Bool, score: Float64) -> float:
    """Area under the ROC curve: the chance that an anomaly scores above a normal one, ties being halves."""
    ranks, count = stats.rankdata(score), int(label.sum())
    return float((ranks[label].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))
