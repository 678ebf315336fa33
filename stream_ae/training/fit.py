"""Windows to network weights: denoising training with early stopping, or within a time budget."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import Any, Protocol

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
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.dataset import WindowSet
from stream_ae.training.objective import Objective
from stream_ae.training.ranks import ALONE, Batch, Ranks, mean_of_all

EVALUATION_BATCH = 2048
# A small data set is cut into at least this many steps an epoch, or it would never get anywhere in max_epochs.
STEPS_PER_EPOCH = 32
SMALLEST_BATCH = 16
# The name of its checkpoint.
PART = "autoencoder"


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
    support: Support = UNSUPPORTED,
) -> Fit:
    """Train on data[0], stop by data[1]; the same data, options and number of threads give the same weights on a CPU,
    unless `options.time_budget_s` cuts them short: it counts from here, and the epoch that it falls in ends at once.
    With several ranks they are the same up to rounding.

    Raises ModelError when the loss is not finite: the values are beyond what float32 can be trained on.
    """
    deadline = deadline_of(options, clock or SystemClock())
    with reproducible(options.seed, options.threads) as generator:
        autoencoder = build(architecture)
        learner = _Learner(autoencoder, Objective(architecture, options), normaliser, data, options, generator)
        epochs, best = learnt(learner, options, Limits(deadline, progress, support=support))
    return Fit(Network(architecture, autoencoder, normaliser), epochs, best)


class Learner(Protocol):
    """What `learnt` needs of a network and its data; it can be pickled."""

    @property
    def network(self) -> nn.Module:
        """What learns; left with the weights of its best epoch, in evaluation mode."""
        ...

    @property
    def samples(self) -> int: ...

    @property
    def generator(self) -> torch.Generator: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def loss(self, chosen: Int64, epoch: int, ranks: Ranks) -> Tensor:
        """What this rank's rows add to the loss of these samples, in this epoch (1, 2, ...)."""
        ...

    def validation(self, ranks: Ranks) -> float:
        """Of the data that is not learnt from."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop beside patience, who hears of it, where absurd values would be, and what it runs on."""

    deadline: Deadline | None
    progress: Progress | None
    data: str = "data"
    support: Support = UNSUPPORTED


def learnt(learner: Learner, options: TrainingSettings, limits: Limits) -> tuple[tuple[Epoch, ...], Epoch]:
    """All epochs that were run and the best of them, by early stopping.

    Goes on from a checkpoint of the same training; `limits.progress` hears of new epochs alone.
    Raises ModelError when the loss is not finite.
    """
    course = _Course(learner, options, limits)
    limits.support.restore(PART, course)
    with limits.support.ranks.led(course):
        course.run(limits.support.ranks)
    assert course.best is not None  # max_epochs is positive
    learner.network.load_state_dict(course.best_weights)
    learner.network.requires_grad_(False).eval()
    return tuple(course.epochs), course.best


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

    def loss(self, chosen: Int64, epoch: int, ranks: Ranks) -> Tensor:
        """Of corrupted windows."""
        batch = Batch.of(len(chosen), ranks)
        whole = _normalised(self.normaliser, self.data[0].windows(chosen))
        corrupted = batch.rows.cut(Corruption()(whole.x, self.generator))
        found = self.network(corrupted, self.generator, batch.rows)
        return batch.mean_part(self.objective(found, whole.part(batch.rows), self.objective.beta(epoch), batch))

    def validation(self, ranks: Ranks) -> float:
        """Of all windows as they are, by the most likely codes."""
        self.network.eval()
        terms: list[Tensor] = []
        with torch.inference_mode():
            for windows in self.data[1].batches(EVALUATION_BATCH):
                batch = Batch.of(len(windows), ranks)
                seen = _normalised(self.normaliser, windows).part(batch.rows)
                posterior = self.network.encode(seen.x)
                found = Reconstruction(self.network.decode(posterior.mode()), posterior)
                terms.append(self.objective(found, seen, self.options.beta, batch))
        return mean_of_all(terms, len(self.data[1]), ranks)


class _Course:
    """How far a learner is; what the ranks share and what is kept in a checkpoint."""

    def __init__(self, learner: Learner, options: TrainingSettings, limits: Limits) -> None:
        self.epochs: list[Epoch] = []
        self.best: Epoch | None = None
        self.best_weights = copy.deepcopy(learner.network.state_dict())
        self._learner, self._options = learner, options
        self._optimiser = torch.optim.Adam(learner.parameters(), options.learning_rate)
        self._over = False
        self._limits = limits

    def __getstate__(self) -> dict[str, object]:
        # Time, progress and checkpoints are rank 0's own.
        return self.__dict__ | {"_limits": Limits(None, None, self._limits.data)}

    def run(self, ranks: Ranks) -> None:
        """To the end, from wherever it is."""
        while not self._over:
            epoch = self._epoch(ranks)
            self.epochs.append(epoch)
            if self.best is None or epoch.validation_loss < self.best.validation_loss:
                self.best, self.best_weights = epoch, copy.deepcopy(self._learner.network.state_dict())
            if self._limits.progress is not None:
                self._limits.progress(epoch)
            late = epoch.number - self.best.number >= self._options.patience or self._passed()
            self._over = ranks.agreed(late or epoch.number == self._options.max_epochs)
            self._limits.support.save(PART, self)

    def take_part(self, ranks: Ranks) -> None:
        """See `training.ranks.Work`."""
        with reproducible(self._options.seed, self._options.threads):
            self.run(ranks)

    @property
    def depends_on(self) -> list[str]:
        """See `training.checkpoint.Resumable`."""
        return [repr(self._learner.network), self._options.model_dump_json()]

    def state(self) -> dict[str, Any]:
        """See `training.checkpoint.Resumable`."""
        deadline = self._limits.deadline
        return {
            "parameters": [parameter.detach() for parameter in self._learner.parameters()],
            "optimiser": self._optimiser.state_dict(),
            "generator": self._learner.generator.get_state(),
            "epochs": [list(astuple(epoch)) for epoch in self.epochs],
            "best": self.best.number if self.best is not None else 0,
            "best_weights": self.best_weights,
            "over": self._over,
            "left_s": deadline.left_s() if deadline is not None else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `training.checkpoint.Resumable`; a time budget goes on with what was left of it."""
        with torch.no_grad():
            for parameter, value in zip(self._learner.parameters(), state["parameters"], strict=True):
                parameter.copy_(value)
        self._optimiser.load_state_dict(state["optimiser"])
        self._learner.generator.set_state(state["generator"])
        self.epochs = [Epoch(*values) for values in state["epochs"]]
        self.best = self.epochs[state["best"] - 1]
        self.best_weights, self._over = state["best_weights"], state["over"]
        if (deadline := self._limits.deadline) is not None:
            self._limits = replace(self._limits, deadline=Deadline.after(deadline.clock, state["left_s"]))

    def _epoch(self, ranks: Ranks) -> Epoch:
        learner, number = self._learner, len(self.epochs) + 1
        size = max(min(self._options.batch_size, learner.samples // STEPS_PER_EPOCH), SMALLEST_BATCH)
        learner.network.train()
        losses = []
        for chosen in shuffled(learner.samples, size, learner.generator):
            losses.append(step(learner.loss(chosen, number, ranks), self._optimiser, ranks))
            if self._options.time_budget_s is not None and ranks.agreed(self._passed()):
                break
        train_loss, validation_loss = float(np.mean(losses)), learner.validation(ranks)
        if not np.isfinite([train_loss, validation_loss]).all():
            raise ModelError(
                f"training diverged in epoch {number} (loss {train_loss:.3g}, validation {validation_loss:.3g}): "
                f"lower training.learning_rate, and look for absurd values in the {self._limits.data}"
            )
        return Epoch(number, self._options.max_epochs, train_loss, validation_loss)

    def _passed(self) -> bool:
        """Whether there is a deadline, and it has passed."""
        return self._limits.deadline is not None and self._limits.deadline.passed()


def deadline_of(options: TrainingSettings, clock: Clock) -> Deadline | None:
    """When fitting has to stop, from now; None: by patience alone."""
    return None if options.time_budget_s is None else Deadline.after(clock, options.time_budget_s)


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Int64]:
    """All of [0, count) in random order, `size` at a time."""
    order = torch.randperm(count, generator=generator).numpy()
    for begin in range(0, count, size):
        yield order[begin : begin + size]


def step(loss: Tensor, optimiser: torch.optim.Optimizer, ranks: Ranks = ALONE, largest: float | None = None) -> float:
    """Take one, and give the loss before it, both of all ranks together; largest: norm of the gradient, if bounded."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    whole = ranks.gather(loss, parameters)
    if largest is not None:
        torch.nn.utils.clip_grad_norm_(parameters, largest)
    optimiser.step()
    return whole


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
