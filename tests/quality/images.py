"""How well images are cleaned, judged and explained.

The first 8000 test images of MNIST, values 0 to 1. Denoisers learn on the first 6000 and are judged on the next 1000;
a one-class model learns on the first four fifths of its digit and is judged on the last fifth and on all other digits.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_ae.localdev.sample_frames import auroc
from stream_ae.models.images import ImageDetector
from stream_ae.records import Bool, Float32, Float64
from stream_ae.settings import TrainingSettings
from stream_ae.training.images import train_frames
from tests.quality import data

CHANNELS = ("grey",)
TRAIN, TEST = slice(0, 6000), slice(6000, 7000)
DENOISING = TrainingSettings(clean=True, max_epochs=1)
BLIND = TrainingSettings(max_epochs=1)
SCORING = TrainingSettings(denoiser="none")
ONE_CLASS_SHARE = 0.8
BLOCK = 8
# A pixel belongs to a defect if that changed it by more than this.
CHANGED = 0.25
INK = 0.4


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One line of the denoising table. PSNR in dB of values 0 to 1 from the mean squared error over all images, and
    the mean of each image's own, which is the larger one. `learnt`: from clean images or from noisy ones; `train_s`:
    seconds of one core."""

    seed: int
    learnt: str
    corruption: str
    psnr_in: float
    psnr: float
    psnr_of_each: float
    train_s: float


@dataclass(frozen=True, slots=True)
class OneClass:
    """How well digits are told from the one that was learnt: area under the ROC curve; shares above the threshold."""

    seed: int
    digit: int
    auroc: float
    false_alarm_rate: float
    recall: float
    train_s: float


@dataclass(frozen=True, slots=True)
class Located:
    """How well the map of errors finds the pixels of a defect: area under the ROC curve over all pixels of all
    images with such a defect."""

    seed: int
    digit: int
    defect: str
    auroc: float


def images_file() -> Path:
    """Where the images lie, or would lie."""
    return data.ROOT / "images" / "mnist_first8000.npz"


def digits() -> tuple[Float32, Float64]:
    """(N, 1, 28, 28) images, 0 to 1, and which digit each is."""
    with np.load(images_file()) as stored:
        return (stored["x"][:, None] / 255).astype(np.float32), stored["y"].astype(np.float64)


def gaussian(size: float) -> Callable[[Float32, np.random.Generator], Float32]:
    """White noise of this standard deviation, not clipped."""

    def spoil(x: Float32, generator: np.random.Generator) -> Float32:
        return np.asarray(x + size * generator.standard_normal(x.shape), np.float32)

    return spoil


def salt_and_pepper(x: Float32, generator: np.random.Generator) -> Float32:
    """A fifth of the pixels black or white."""
    drawn = generator.random(x.shape)
    return np.asarray(np.where(drawn < 0.1, 0.0, np.where(drawn > 0.9, 1.0, x)), np.float32)


def missing_block(x: Float32, generator: np.random.Generator) -> Float32:
    """8 x 8 pixels are NaN."""
    x = x.copy()
    for image in x:
        top, left = generator.integers(0, 28 - BLOCK + 1, 2)
        image[:, top : top + BLOCK, left : left + BLOCK] = np.nan
    return x


CORRUPTIONS: Mapping[str, Callable[[Float32, np.random.Generator], Float32]] = {
    "gaussian .25": gaussian(0.25),
    "gaussian .50": gaussian(0.50),
    "salt and pepper 20 %": salt_and_pepper,
    "missing 8 x 8": missing_block,
}


def psnr(clean: Float32, estimate: Float32) -> tuple[float, float]:
    """From the mean squared error over all images, and the mean of each image's own; a missing pixel counts as 0."""
    squares = np.square(np.nan_to_num(estimate).astype(np.float64) - clean).mean((1, 2, 3))
    own = -10.0 * np.log10(np.maximum(squares, 1e-10))
    return float(-10.0 * np.log10(squares.mean())), float(own.mean())


def denoising_rows(seeds: range) -> Iterator[Cleaned]:
    """One model for everything from clean images, then one for each size of noise from images that have it."""
    x, _ = digits()
    for seed in seeds:
        detector, took = _trained(x[TRAIN], DENOISING, seed)
        for name in CORRUPTIONS:
            yield _cleaned(detector, x[TEST], "clean", name, seed, took)
        for name in ("gaussian .25", "gaussian .50"):
            noisy = CORRUPTIONS[name](x[TRAIN], np.random.default_rng(100 + seed))
            detector, took = _trained(noisy, BLIND, seed)
            yield _cleaned(detector, x[TEST], "noisy", name, seed, took)
        print(f"cleaning of images measured, seed {seed}", flush=True)


def _cleaned(detector: ImageDetector, clean: Float32, learnt: str, name: str, seed: int, took: float) -> Cleaned:
    spoilt = CORRUPTIONS[name](clean, np.random.default_rng(seed))
    found = psnr(clean, detector.infer_frames(spoilt).x_hat)
    return Cleaned(seed, learnt, name, psnr(clean, spoilt)[0], *found, train_s=took)


def one_class_rows(seeds: range) -> tuple[list[OneClass], list[Located]]:
    """A model for each digit, the others are anomalies; and defects put into images of that digit that it has not
    seen."""
    x, y = digits()
    classes, located = list[OneClass](), list[Located]()
    for seed in seeds:
        for digit in range(10):
            own = np.flatnonzero(y == digit)
            end = round(ONE_CLASS_SHARE * len(own))
            detector, took = _trained(x[own[:end]], SCORING, seed)
            judged = np.concatenate((own[end:], np.flatnonzero(y != digit)))
            score, other = detector.infer_frames(x[judged]).score, y[judged] != digit
            flags = score > detector.threshold
            rates = float(flags[~other].mean()), float(flags[other].mean())
            classes.append(OneClass(seed, digit, auroc(other, score), *rates, took))
            located += [Located(seed, digit, name, _found(detector, x[own[end:]], name, seed)) for name in DEFECTS]
        print(f"one-class images measured, seed {seed}", flush=True)
    return classes, located


def bright(image: Float32, generator: np.random.Generator) -> Float32:
    """A white disk of 1.5 to 3 pixels radius anywhere."""
    return np.where(_disk(generator.uniform(3, 25, 2), generator), np.float32(1.0), image)


def dark(image: Float32, generator: np.random.Generator) -> Float32:
    """A black disk of 1.5 to 3 pixels radius on the stroke."""
    return np.where(_disk(_on_stroke(image, generator), generator), np.float32(0.0), image)


def missing_part(image: Float32, generator: np.random.Generator) -> Float32:
    """7 x 7 pixels around a point of the stroke are black."""
    rows, columns = np.indices((28, 28))
    top, left = _on_stroke(image, generator)
    return np.where((abs(rows - top) <= 3) & (abs(columns - left) <= 3), np.float32(0.0), image)


DEFECTS: Mapping[str, Callable[[Float32, np.random.Generator], Float32]] = {
    "bright blob": bright,
    "dark blob": dark,
    "missing part": missing_part,
}


def _found(detector: ImageDetector, clean: Float32, name: str, seed: int) -> float:
    """Area under the ROC curve of the error map over the pixels of images with a defect."""
    generator = np.random.default_rng(seed)
    spoilt = np.stack([DEFECTS[name](image[0], generator) for image in clean])[:, None]
    changed: Bool = abs(spoilt - clean)[:, 0] > CHANGED
    there = changed.any((1, 2))
    return auroc(changed[there].ravel(), detector.error_map(spoilt)[there].ravel().astype(np.float64))


def _trained(x: Float32, options: TrainingSettings, seed: int) -> tuple[ImageDetector, float]:
    began = time.process_time()
    detector = train_frames(x, CHANNELS, options.model_copy(update={"seed": seed})).detector
    return detector, time.process_time() - began


def _disk(middle: Float64, generator: np.random.Generator) -> Bool:
    rows, columns = np.indices((28, 28))
    inside: Bool = np.hypot(rows - middle[0], columns - middle[1]) <= generator.uniform(1.5, 3.0)
    return inside


def _on_stroke(image: Float32, generator: np.random.Generator) -> Float64:
    ink = np.argwhere(image > INK)
    return np.asarray(ink[generator.integers(len(ink))], np.float64)
