"""Windows to network weights: denoising training with early stopping, or within a time budget."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stream_ae.clock import Clock, Deadline, SystemClock
from stream_ae.errors import ModelError
from stream_ae.models.autoencoder import Autoencoder, Reconstruction, build
from stream_ae.models.config import ArchitectureConfig
from stream_ae.models.corruption import Corruption
from stream_ae.models.detector import Network
from stream_ae.models.normaliser import Normalised, Normaliser
from stream_ae.records import Float32, Int64
from stream_ae.settings import TrainingSettings
from stream_ae.training.dataset import WindowSet
from stream_ae.training.objective import Objective

EVALUATION_BATCH = 2048
# A small data set is cut into at least this many steps an epoch, or it would never get anywhere in max_epochs.
STEPS_PER_EPOCH = 32
SMALLEST_BATCH = 16


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a progress callback hears after each epoch; losses are those of `training.objective`, in the network's
    units, the one of validation without corruption and with the most likely code."""

    number: int
    of: int
    train_loss: float
    validation_loss: float


Progress = Callable[[Epoch], None]
"""Called after each epoch on the thread that trains. Raise in it to cancel: nothing is left behind."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The network with the weights of its best epoch, and all epochs that were run."""

    network: Network
    epochs: tuple[Epoch, ...]
    best: Epoch


def fit(
    architecture: ArchitectureConfig,
    normaliser: Normaliser,
    data: tuple[WindowSet, WindowSet],
    options: TrainingSettings,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Fit:
    """Train on data[0], stop by data[1]; the same data, options and number of threads give the same weights on a CPU,
    unless `options.time_budget_s` cuts them short: it counts from here, and the epoch that it falls in ends at once.

    Raises ModelError when the loss is not finite: the values are beyond what float32 can be trained on.
    """
    deadline = deadline_of(options, clock or SystemClock())
    with reproducible(options.seed, options.threads) as generator:
        autoencoder = build(architecture)
        learner = _Learner(autoencoder, Objective(architecture, options), normaliser, data, options, generator)
        epochs, best = learnt(learner, options, Limits(deadline, progress))
    return Fit(Network(architecture, autoencoder, normaliser), epochs, best)


class Learner(Protocol):
    """What `learnt` needs of a network and its data."""

    @property
    def network(self) -> nn.Module:
        """What learns; left with the weights of its best epoch, in evaluation mode."""
        ...

    @property
    def samples(self) -> int: ...

    @property
    def generator(self) -> torch.Generator: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def loss(self, chosen: Int64, epoch: int) -> Tensor:
        """Of these samples, in this epoch (1, 2, ...)."""
        ...

    def validation(self) -> float:
        """Of the data that is not learnt from."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop beside patience, who hears of it, and where absurd values would be."""

    deadline: Deadline | None
    progress: Progress | None
    data: str = "data"


def learnt(learner: Learner, options: TrainingSettings, limits: Limits) -> tuple[tuple[Epoch, ...], Epoch]:
    """All epochs that were run and the best of them, by early stopping.

    Raises ModelError when the loss is not finite.
    """
    network = learner.network
    epochs, best_weights = [], copy.deepcopy(network.state_dict())
    best: Epoch | None = None
    for epoch in _epochs(learner, options, limits):
        epochs.append(epoch)
        if best is None or epoch.validation_loss < best.validation_loss:
            best, best_weights = epoch, copy.deepcopy(network.state_dict())
        if limits.progress is not None:
            limits.progress(epoch)
        if epoch.number - best.number >= options.patience or _passed(limits.deadline):
            break
    assert best is not None  # max_epochs is positive
    network.load_state_dict(best_weights)
    network.requires_grad_(False).eval()
    return tuple(epochs), best


@dataclass(frozen=True, slots=True)
class _Learner:
    """What learns, what it minimises, the units that both are in, what it learns from and what stops it."""

    network: Autoencoder
    objective: Objective
    normaliser: Normaliser
    data: tuple[WindowSet, WindowSet]
    options: TrainingSettings
    generator: torch.Generator

    @property
    def samples(self) -> int:
        return len(self.data[0])

    def parameters(self) -> Iterator[nn.Parameter]:
        yield from (*self.network.parameters(), *self.objective.parameters())

    def loss(self, chosen: Int64, epoch: int) -> Tensor:
        """Of corrupted windows."""
        seen = _normalised(self.normaliser, self.data[0].windows(chosen))
        corrupted = Corruption()(seen.x, self.generator)
        return self._terms(self.network(corrupted, self.generator), seen, self.objective.beta(epoch)).mean()

    def validation(self) -> float:
        """Of all windows as they are, by the most likely codes."""
        self.network.eval()
        terms: list[Tensor] = []
        with torch.inference_mode():
            for batch in self.data[1].batches(EVALUATION_BATCH):
                seen = _normalised(self.normaliser, batch)
                posterior = self.network.encode(seen.x)
                found = Reconstruction(self.network.decode(posterior.mode()), posterior)
                terms.append(self._terms(found, seen, self.options.beta))
        return float(torch.cat(terms).mean())

    def _terms(self, found: Reconstruction, seen: Normalised, beta: float) -> Tensor:
        terms: Tensor = self.objective(found, seen, beta)
        return terms


def _epochs(learner: Learner, options: TrainingSettings, limits: Limits) -> Iterator[Epoch]:
    optimiser = torch.optim.Adam(learner.parameters(), options.learning_rate)
    size = max(min(options.batch_size, learner.samples // STEPS_PER_EPOCH), SMALLEST_BATCH)
    for number in range(1, options.max_epochs + 1):
        learner.network.train()
        losses = []
        for chosen in shuffled(learner.samples, size, learner.generator):
            losses.append(step(learner.loss(chosen, number), optimiser))
            if _passed(limits.deadline):
                break
        train_loss, validation_loss = float(np.mean(losses)), learner.validation()
        if not np.isfinite([train_loss, validation_loss]).all():
            raise ModelError(
                f"training diverged in epoch {number} (loss {train_loss:.3g}, validation {validation_loss:.3g}): "
                f"lower training.learning_rate, and look for absurd values in the {limits.data}"
            )
        yield Epoch(number, options.max_epochs, train_loss, validation_loss)


def deadline_of(options: TrainingSettings, clock: Clock) -> Deadline | None:
    """When fitting has to stop, from now; None: by patience alone."""
    return None if options.time_budget_s is None else Deadline.after(clock, options.time_budget_s)


def _passed(deadline: Deadline | None) -> bool:
    """Whether there is a deadline, and it has passed."""
    return deadline is not None and deadline.passed()


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Int64]:
    """All of [0, count) in random order, `size` at a time."""
    order = torch.randperm(count, generator=generator).numpy()
    for begin in range(0, count, size):
        yield order[begin : begin + size]


def step(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    """Take one, and give the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    return float(loss.detach())


def _normalised(normaliser: Normaliser, windows: Float32) -> Normalised:
    return normaliser.apply(torch.from_numpy(windows.transpose(0, 2, 1)).transpose(1, 2))


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[torch.Generator]:
    """A generator for everything random; torch's own state and number of threads are as before afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_num_threads(before)
