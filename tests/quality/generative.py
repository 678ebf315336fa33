"""What the codes of image models are good for.

MNIST's first 8000 test images, values 0 to 1, in an order that the seed decides: models, the judge and the linear maps
learn on 6000, all is measured on the other 2000. A seed takes four to six minutes of one core.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stream_ae.models.images import ImageDetector
from stream_ae.records import Float32, Float64
from stream_ae.settings import ModelKind, TrainingSettings
from stream_ae.training.images import train_frames
from stream_ae.training.images.diffusion import fitted_prior
from tests.quality.compression import Compressed, compressed_rows
from tests.quality.frechet import Judge, judge
from tests.quality.images import CHANNELS, digits

LEARNT, SAMPLES = 6000, 2000
NAMES: Mapping[ModelKind, str] = {"conv2d": "autoencoder", "conv2d-variational": "VAE", "conv2d-spatial": "spatial VAE"}
DIFFUSION_STEPS = 3000


@dataclass(frozen=True, slots=True)
class Sampled:
    """How far images that were made up are from held-out real ones: Frechet distance, see `frechet`, lower is better.

    `train_s`, `sample_s`: seconds of one core, the latter for all of SAMPLES images.
    """

    seed: int
    model: str
    source: str
    distance: float
    train_s: float
    sample_s: float


@dataclass(frozen=True, slots=True)
class Between:
    """Frechet distance of what lies halfway between two held-out images: of the codes, and of the pixels."""

    seed: int
    model: str
    distance: float
    distance_of_pixels: float


@dataclass(frozen=True, slots=True)
class Read:
    """R^2 on held-out images of what is read linearly from codes of so many numbers, and from as many principal
    components."""

    seed: int
    model: str
    numbers: int
    factor: str
    r2: float
    r2_pca: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model of images, how long it took, and the codes of the images it learnt from."""

    name: str
    detector: ImageDetector
    train_s: float
    codes: Float32


@dataclass(frozen=True)
class Study:
    """Images to learn from and held-out ones, digits of the former, and all that is trained on them once."""

    seed: int
    learnt: Float32
    held_out: Float32
    labels: Float64

    @classmethod
    def of(cls, seed: int) -> "Study":
        x, y = digits()
        order = np.random.default_rng(seed).permutation(len(x))
        return cls(seed, x[order[:LEARNT]], x[order[LEARNT:]], y[order[:LEARNT]])

    @cached_property
    def judge(self) -> Judge:
        return judge(self.learnt, self.labels, self.held_out, self.seed)

    @cached_property
    def models(self) -> list[Fitted]:
        return [self._fitted(model, name) for model, name in NAMES.items()]

    @cached_property
    def diffusion(self) -> Fitted:
        """The spatial model with a diffusion prior; `train_s` is the prior's alone."""
        spatial, began = self.models[-1], time.process_time()
        options = self.options("conv2d-spatial", DIFFUSION_STEPS)
        detector = spatial.detector.sampling(fitted_prior(spatial.detector, self.learnt, options))
        return Fitted("latent diffusion", detector, time.process_time() - began, spatial.codes)

    def options(self, model: ModelKind, diffusion_steps: int = 0) -> TrainingSettings:
        return TrainingSettings(denoiser="none", model=model, seed=self.seed, diffusion_steps=diffusion_steps)

    def _fitted(self, model: ModelKind, name: str) -> Fitted:
        began = time.process_time()
        detector = train_frames(self.learnt, CHANNELS, self.options(model)).detector
        return Fitted(name, detector, time.process_time() - began, detector.encode(self.learnt))


def sampled_rows(study: Study) -> Iterator[Sampled]:
    """Codes drawn from N(0, I), from the Gaussian that fits the codes, and from the diffusion prior; beside them real
    images, and held-out ones there and back, which no prior over the same codes can beat."""
    seed = study.seed
    yield Sampled(seed, "real images", "learnt from", study.judge.distance(study.learnt[:SAMPLES]), 0.0, 0.0)
    generator = np.random.default_rng(seed)
    for model in study.models:
        detector = model.detector
        sources = {
            "N(0, I)": generator.standard_normal((SAMPLES, *detector.code_shape)).astype(np.float32),
            "Gaussian of the codes": _like(model.codes, generator),
            "held-out codes": detector.encode(study.held_out),
        }
        for source, codes in sources.items():
            began = time.process_time()
            x = detector.decode(codes)
            took = time.process_time() - began
            yield Sampled(seed, model.name, source, study.judge.distance(x), model.train_s, took)
    prior, began = study.diffusion, time.process_time()
    x = prior.detector.sample(SAMPLES, seed, "diffusion")
    took = time.process_time() - began
    yield Sampled(seed, prior.name, "diffusion", study.judge.distance(x), prior.train_s, took)


def _like(codes: Float32, generator: np.random.Generator) -> Float32:
    """SAMPLES codes of the Gaussian with the mean and the covariance of codes (N, ...)."""
    rows = codes.reshape(len(codes), -1).astype(np.float64)
    drawn = generator.multivariate_normal(rows.mean(0), np.cov(rows, rowvar=False), SAMPLES)
    return drawn.astype(np.float32).reshape(-1, *codes.shape[1:])


def between_rows(study: Study) -> Iterator[Between]:
    """Halfway from each held-out image to another one."""
    other = np.roll(study.held_out, 1, axis=0)
    pixels = study.judge.distance(np.float32(0.5) * (study.held_out + other))
    for model in study.models:
        first, last = model.detector.encode(study.held_out), model.detector.encode(other)
        halfway = model.detector.decode(np.float32(0.5) * (first + last))
        yield Between(study.seed, model.name, study.judge.distance(halfway), pixels)


def read_rows(study: Study) -> Iterator[Read]:
    """Slant and thickness of digits."""
    for model in study.models:
        learnt = model.codes.reshape(len(model.codes), -1)
        held_out = model.detector.encode(study.held_out).reshape(len(study.held_out), -1)
        numbers = learnt.shape[1]
        components = _components(study, numbers)
        for name, factor in {"slant": slant, "thickness": thickness}.items():
            truth = factor(study.learnt), factor(study.held_out)
            own, linear = r2((learnt, held_out), truth), r2(components, truth)
            yield Read(study.seed, model.name, numbers, name, own, linear)


def slant(x: Float32) -> Float64:
    """(N,) columns to the right for each row down, of the ink of images (N, 1, H, W): central moments mu_11 / mu_02."""
    ink = x[:, 0].astype(np.float64)
    rows, columns = np.indices(ink.shape[1:])
    total = np.maximum(ink.sum((1, 2)), 1e-9)
    down, right = (place - ((ink * place).sum((1, 2)) / total)[:, None, None] for place in (rows, columns))
    found: Float64 = (ink * down * right).sum((1, 2)) / np.maximum((ink * down**2).sum((1, 2)), 1e-9)
    return found


def thickness(x: Float32) -> Float64:
    """(N,) pixels across a stroke of images (N, 1, H, W): ink for each pixel of its length, which is half of the
    outline's; the outline is as long as the image's gradients sum up to."""
    ink = x[:, 0].astype(np.float64)
    outline = np.hypot(*np.gradient(ink, axis=(1, 2))).sum((1, 2))
    found: Float64 = 2.0 * ink.sum((1, 2)) / np.maximum(outline, 1e-9)
    return found


def r2(given: tuple[Float32 | Float64, Float32 | Float64], truth: tuple[Float64, Float64]) -> float:
    """Share of the second truth's variance that the least-squares map from given[0] (N, K) to truth[0] tells from
    given[1]."""
    learnt, held_out = (np.column_stack((np.ones(len(part)), part)).astype(np.float64) for part in given)
    weights = np.linalg.lstsq(learnt, truth[0], rcond=None)[0]
    off = np.square(truth[1] - held_out @ weights).sum()
    return float(1.0 - off / np.square(truth[1] - truth[1].mean()).sum())


def _components(study: Study, count: int) -> tuple[Float64, Float64]:
    learnt, held_out = (part.reshape(len(part), -1).astype(np.float64) for part in (study.learnt, study.held_out))
    mean = learnt.mean(0)
    axes = np.linalg.eigh(np.cov(learnt, rowvar=False))[1][:, ::-1][:, :count]
    return (learnt - mean) @ axes, (held_out - mean) @ axes


def compression_rows(study: Study) -> Iterator[Compressed]:
    """How small codes are for how faithful an image, against JPEG."""
    for model in study.models:
        yield from compressed_rows(study.seed, model.name, model.detector, model.codes, study.held_out)
