"""Frames to the weights of an autoencoder: denoising training with early stopping, or within a time budget."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from stream_ae.clock import Clock, SystemClock
from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.models.images.detector import ImageDetector, Seen
from stream_ae.models.images.networks import ImageAutoencoder, ImageReconstruction
from stream_ae.models.losses import gaussian_nll, rate, squared_error
from stream_ae.records import Int64
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.fit import Epoch, Limits, Progress, deadline_of, learnt, reproducible
from stream_ae.training.images.corruptions import Chain, Corruption, Covered, White, black_and_white
from stream_ae.training.images.frames import Frames
from stream_ae.training.images.prior import standardise
from stream_ae.training.objective import ANNEALED_SHARE
from stream_ae.training.ranks import Batch, Ranks, mean_of_all

EVALUATION_BATCH = 256
# Noise in the network's units, and the share of frames with a rectangle of one colour: the network learns to put what
# belongs there. AUROC of pixels with defects in MNIST's digits 2 and 8, and of those digits against all others: noise
# of .2 .948 and .956, .5 and rectangles .951 and .954, .8 and half as many .952 and .949.
NOISE, COVERED = 0.5, 0.5
# A frame that never changes is reconstructed to the last bit: its likelihood must stay finite.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True)
class ImageFit:
    """The untrained detector given its network's best weights, and all epochs that were run."""

    detector: ImageDetector
    epochs: tuple[Epoch, ...]
    best: Epoch


def fit(
    template: ImageDetector,
    frames: Frames,
    options: TrainingSettings,
    progress: Progress | None = None,
    clock: Clock | None = None,
    support: Support = UNSUPPORTED,
) -> ImageFit:
    """Train a network of the template's kind; the same frames, options and number of threads give the same weights on
    a CPU, unless `options.time_budget_s` cuts them short. With several ranks they are the same up to rounding.

    Raises ModelError when the loss is not finite: the values are beyond what float32 can be trained on.
    """
    deadline = deadline_of(options, clock or SystemClock())
    with reproducible(options.seed, options.threads) as generator:
        autoencoder = ImageAutoencoder(template.network.config).to(memory_format=torch.channels_last)
        corruption = Chain(
            ((Covered(*black_and_white(template.network.normaliser)), COVERED), (White(NOISE, NOISE), 1.0))
        )
        learner = _Learner(template, autoencoder, _Objective(options), corruption, frames, generator)
        epochs, best = learnt(learner, options, Limits(deadline, progress, "frames", support))
    if template.generative:
        standardise(autoencoder, (seen.rest for seen in _seen(template, frames.fit, options.seed)))
    network = replace(template.network, autoencoder=autoencoder)
    return ImageFit(replace(template, network=network), epochs, best)


def patches(detector: ImageDetector, frames: NDArray[Any], chosen: Int64, generator: Generator) -> Seen:
    """A patch from a random place of each chosen one of the frames (N, C, H, W), as the networks see it."""
    tiling = detector.network.tiling
    if tiling.whole:
        return detector.seen(frames[chosen])
    room = [side - part + 1 for side, part in zip(tiling.frame, tiling.patch, strict=True)]
    tops, lefts = (torch.randint(0, most, (len(chosen),), generator=generator).tolist() for most in room)
    places = [
        (slice(None), slice(top, top + tiling.patch[0]), slice(left, left + tiling.patch[1]))
        for top, left in zip(tops, lefts, strict=True)
    ]
    cut = np.stack([frames[number][place] for number, place in zip(chosen.tolist(), places, strict=True)])
    return detector.seen(cut, torch.stack([detector.network.usual[place] for place in places]))


def _seen(detector: ImageDetector, frames: NDArray[Any], seed: int) -> Iterator[Seen]:
    """The same patch of each frame each time."""
    generator = Generator().manual_seed(seed)
    for begin in range(0, len(frames), EVALUATION_BATCH):
        yield patches(detector, frames, np.arange(begin, min(begin + EVALUATION_BATCH, len(frames))), generator)


@dataclass(frozen=True, slots=True)
class _Objective:
    """Per-frame terms (B,): mean squared error for point posteriors; for Gaussian ones the negative ELBO in nats per
    value, each channel's variance being what fits the batch best (Rybkin et al. 2021, section 3.3: a variance that is
    learnt beside the network has not arrived when a small data set has been through)."""

    options: TrainingSettings

    def beta(self, epoch: int) -> float:
        """What a nat of the code costs in this epoch (1, 2, ...)."""
        annealed = max(round(self.options.max_epochs * ANNEALED_SHARE), 1)
        return self.options.beta * min(epoch / annealed, 1.0)

    def __call__(self, found: ImageReconstruction, seen: Seen, beta: float, batch: Batch) -> Tensor:
        x_hat, x = found.x_hat.flatten(2), seen.rest.flatten(2)
        observed = seen.observed.flatten(2) if seen.observed is not None else None
        if not isinstance(found.posterior, GaussianPosterior):
            return squared_error(x_hat, x, observed)
        kl = found.posterior.kl().flatten(1)
        nats = rate(kl, self.options.free_bits, batch.mean(kl))
        variance = _variance(x_hat, x, observed, batch)
        return gaussian_nll(x_hat, variance.log(), x, observed) + beta * nats / x.shape[1:].numel()


def _variance(x_hat: Tensor, x: Tensor, observed: Tensor | None, batch: Batch) -> Tensor:
    """(C, 1) mean squared error of each channel over a batch (B, C, P), of which these are the rows."""
    squares = (x_hat - x).square().detach()
    if observed is None:
        mean = batch.ranks.total(squares.sum((0, 2))) / (batch.rows.of * x.shape[2])
    else:
        count = batch.ranks.total(observed.sum((0, 2)))
        mean = batch.ranks.total(torch.where(observed, squares, 0.0).sum((0, 2))) / count.clamp(min=1)
    return mean.clamp(min=LEAST_VARIANCE)[:, None]


@dataclass(frozen=True, slots=True)
class _Learner:
    """What learns, what it minimises, what it learns from, and where what is random comes from."""

    detector: ImageDetector
    network: ImageAutoencoder
    objective: _Objective
    corruption: Corruption
    frames: Frames
    generator: Generator

    @property
    def samples(self) -> int:
        return len(self.frames.fit)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.network.parameters()

    def loss(self, chosen: Int64, epoch: int, ranks: Ranks) -> Tensor:
        """Of corrupted patches."""
        batch = Batch.of(len(chosen), ranks)
        whole = patches(self.detector, self.frames.fit, chosen, self.generator)
        spoilt = batch.rows.cut(self.corruption(whole.x, self.generator) - whole.usual)
        found = self.network(spoilt.contiguous(memory_format=torch.channels_last), self.generator, batch.rows)
        return batch.mean_part(self.objective(found, whole.part(batch.rows), self.objective.beta(epoch), batch))

    def validation(self, ranks: Ranks) -> float:
        """Of the same patches each time, without noise and by the most likely codes."""
        terms, options = [], self.objective.options
        with torch.inference_mode():
            for whole in _seen(self.detector, self.frames.validation, options.seed):
                batch = Batch.of(len(whole.x), ranks)
                seen = whole.part(batch.rows)
                posterior = self.network.encode(seen.rest)
                found = ImageReconstruction(self.network.decode(posterior.mode()), posterior)
                terms.append(self.objective(found, seen, options.beta, batch))
        return mean_of_all(terms, len(self.frames.validation), ranks)
