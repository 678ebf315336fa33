"""Windows to network weights: denoising training with early stopping."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stream_ae.errors import ModelError
from stream_ae.models.autoencoder import Autoencoder, build
from stream_ae.models.config import ArchitectureConfig
from stream_ae.models.corruption import Corruption
from stream_ae.models.detector import Network
from stream_ae.models.losses import squared_error
from stream_ae.models.normaliser import Normalised, Normaliser
from stream_ae.records import Float32, Int64
from stream_ae.settings import TrainingSettings
from stream_ae.training.dataset import WindowSet

EVALUATION_BATCH = 2048
# A small data set is cut into at least this many steps an epoch, or it would never get anywhere in max_epochs.
STEPS_PER_EPOCH = 32
SMALLEST_BATCH = 16


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a progress callback hears after each epoch; losses are mean squared errors in the network's units."""

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
) -> Fit:
    """Train on data[0], stop by data[1]; the same data, options and number of threads give the same weights on a CPU.

    Raises ModelError when the loss is not finite: the values are beyond what float32 can be trained on.
    """
    with _reproducible(options.seed, options.threads) as generator:
        autoencoder = build(architecture)
        epochs, best_weights = [], copy.deepcopy(autoencoder.state_dict())
        best: Epoch | None = None
        for epoch in _epochs(autoencoder, normaliser, data, options, generator):
            epochs.append(epoch)
            if best is None or epoch.validation_loss < best.validation_loss:
                best, best_weights = epoch, copy.deepcopy(autoencoder.state_dict())
            if progress is not None:
                progress(epoch)
            if epoch.number - best.number >= options.patience:
                break
    assert best is not None  # max_epochs is positive
    autoencoder.load_state_dict(best_weights)
    autoencoder.requires_grad_(False).eval()
    return Fit(Network(architecture, autoencoder, normaliser), tuple(epochs), best)


def _epochs(
    autoencoder: Autoencoder,
    normaliser: Normaliser,
    data: tuple[WindowSet, WindowSet],
    options: TrainingSettings,
    generator: torch.Generator,
) -> Iterator[Epoch]:
    optimiser = torch.optim.Adam(autoencoder.parameters(), options.learning_rate)
    training, validation = data
    size = max(min(options.batch_size, len(training) // STEPS_PER_EPOCH), SMALLEST_BATCH)
    for number in range(1, options.max_epochs + 1):
        autoencoder.train()
        losses = []
        for chosen in _shuffled(len(training), size, generator):
            seen = _normalised(normaliser, training.windows(chosen))
            losses.append(_step(autoencoder, optimiser, seen, generator))
        train_loss, validation_loss = float(np.mean(losses)), _loss(autoencoder, normaliser, validation)
        if not np.isfinite([train_loss, validation_loss]).all():
            raise ModelError(
                f"training diverged in epoch {number} (loss {train_loss:.3g}, validation {validation_loss:.3g}): "
                "lower training.learning_rate, and look for absurd values in the data"
            )
        yield Epoch(number, options.max_epochs, train_loss, validation_loss)


def _shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Int64]:
    order = torch.randperm(count, generator=generator).numpy()
    for begin in range(0, count, size):
        yield order[begin : begin + size]


def _step(
    autoencoder: Autoencoder, optimiser: torch.optim.Optimizer, seen: Normalised, generator: torch.Generator
) -> float:
    corrupted = Corruption()(seen.x, generator)
    loss = squared_error(autoencoder(corrupted, generator).x_hat, seen.x, seen.observed).mean()
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    return float(loss.detach())


def _loss(autoencoder: Autoencoder, normaliser: Normaliser, windows: WindowSet) -> float:
    autoencoder.eval()
    terms: list[Tensor] = []
    with torch.inference_mode():
        for batch in windows.batches(EVALUATION_BATCH):
            seen = _normalised(normaliser, batch)
            terms.append(squared_error(autoencoder(seen.x).x_hat, seen.x, seen.observed))
    return float(torch.cat(terms).mean())


def _normalised(normaliser: Normaliser, windows: Float32) -> Normalised:
    return normaliser.apply(torch.from_numpy(windows.transpose(0, 2, 1)).transpose(1, 2))


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[torch.Generator]:
    """A generator for everything random; torch's own state and number of threads are as before afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_num_threads(before)
