"""The processes that fit one network together ("ranks"), each seeing its rows of every batch.

Rank 0 leads: what it asks the others to take part in, all run from the same state and the same seeds. All draw and
corrupt whole batches, so that chance is what it is with one process, and the networks, which are most of the work, see
a rank's own rows. Losses are parts of the batch's loss, so their gradients add up to its gradient.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from stream_ae.models.rows import Rows, all_rows


class Work(Protocol):
    """What several ranks do at once; it can be pickled."""

    def take_part(self, ranks: "Ranks") -> None:
        """What a rank other than 0 does of it."""
        ...


class Ranks(Protocol):
    """The processes of a training as one of them sees them.

    All raise TransientError if another rank is gone, within a bounded time.
    """

    def rows(self, count: int) -> Rows:
        """What of a batch of so many rows is seen here; with more ranks than rows, possibly none."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, the same on each; nothing is learnt through it."""
        ...

    def gather(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
        """Sum the gradients over all ranks in place, and give the sum of the losses."""
        ...

    def agreed(self, asked: bool) -> bool:
        """What rank 0 asks, on every rank."""
        ...

    def led(self, work: Work) -> AbstractContextManager[None]:
        """While it lasts all others take part in `work` as it is now. Only rank 0 leads."""
        ...


class Alone:
    """One process."""

    def rows(self, count: int) -> Rows:
        return all_rows(count)

    def total(self, values: Tensor) -> Tensor:
        return values

    def gather(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
        return float(loss.detach())

    def agreed(self, asked: bool) -> bool:
        return asked

    @contextmanager
    def led(self, work: Work) -> Iterator[None]:
        yield


ALONE: Final = Alone()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of which each rank sees its rows."""

    rows: Rows
    ranks: Ranks

    @classmethod
    def of(cls, count: int, ranks: Ranks) -> "Batch":
        return cls(ranks.rows(count), ranks)

    def mean_part(self, terms: Tensor) -> Tensor:
        """What the terms of these rows, (len(rows), ...), add to their mean over the whole batch."""
        return terms.sum() / (self.rows.of * terms.shape[1:].numel())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the whole batch of values of these rows, (len(rows), ...); nothing is learnt through it."""
        return self.ranks.total(values.detach().sum(0)) / self.rows.of


def mean_of_all(parts: Iterable[Tensor], count: int, ranks: Ranks) -> float:
    """The mean of `count` terms, of which each rank has some."""
    return float(ranks.total(torch.cat(list(parts)).sum()) / count)
