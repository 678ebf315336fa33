"""So many steps downhill, for the networks that are beside the autoencoder: U-Nets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stream_ae.errors import ModelError
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.fit import reproducible, step
from stream_ae.training.ranks import Ranks

LEARNING_RATE, WARM_UP, LARGEST_GRADIENT = 4e-3, 0.05, 1.0
# Names of checkpoints.
UNET, PRIOR = "unet", "prior"
# A crash costs at most so many steps, some ten seconds of them.
KEPT_EVERY = 250


class Taught(Protocol):
    """A network and what it learns from; it can be pickled."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def generator(self) -> torch.Generator: ...

    def loss(self, ranks: Ranks) -> Tensor:
        """What this rank's rows add to the loss of the next batch, which `generator` draws."""
        ...


@dataclass(frozen=True, slots=True)
class Length:
    """Which part of a training it is, and how many steps it takes."""

    part: str
    steps: int


def descend(taught: Taught, length: Length, options: TrainingSettings, support: Support = UNSUPPORTED) -> None:
    """Train a network on so many batches, from its checkpoint if there is one. Raises ModelError when that diverges."""
    descent = _Descent(taught, length, options)
    support.restore(length.part, descent)
    with support.ranks.led(descent):
        descent.run(support)


class _Descent:
    """How far a network is; what the ranks share and what is kept in a checkpoint."""

    def __init__(self, taught: Taught, length: Length, options: TrainingSettings) -> None:
        self._taught, self._length, self._options = taught, length, options
        self._optimiser = torch.optim.AdamW(taught.network.parameters(), LEARNING_RATE, weight_decay=1e-4)
        self._done = 0

    def run(self, support: Support) -> None:
        """To the end, from wherever it is."""
        steps = self._length.steps
        while self._done < steps:
            for group in self._optimiser.param_groups:
                group["lr"] = LEARNING_RATE * _pace(self._done / steps)
            step(self._taught.loss(support.ranks), self._optimiser, support.ranks, LARGEST_GRADIENT)
            self._done += 1
            if self._done % KEPT_EVERY == 0 or self._done == steps:
                support.save(self._length.part, self)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._taught.network.parameters()):
            raise ModelError("the U-Net's training diverged: look for absurd values in the data")

    def take_part(self, ranks: Ranks) -> None:
        """See `training.ranks.Work`."""
        with reproducible(self._options.seed, self._options.threads):
            self.run(Support(ranks))

    @property
    def depends_on(self) -> list[str]:
        """See `training.checkpoint.Resumable`."""
        return [repr(self._taught.network), self._options.model_dump_json()]

    def state(self) -> dict[str, Any]:
        """See `training.checkpoint.Resumable`."""
        return {
            "weights": self._taught.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._taught.generator.get_state(),
            "done": self._done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `training.checkpoint.Resumable`."""
        self._taught.network.load_state_dict(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._taught.generator.set_state(state["generator"])
        self._done = state["done"]


def _pace(done: float) -> float:
    """Share of the learning rate: up for a while, then down along a cosine."""
    return min(1.0, 0.05 + done / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done))
