"""A part of a batch, for networks that see it while other processes see the rest."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows [begin, end) of a batch of `of`."""

    begin: int
    end: int
    of: int

    def cut(self, x: Tensor) -> Tensor:
        """These rows of a whole batch (of, ...), a view."""
        return x if len(self) == self.of else x[self.begin : self.end]

    def __len__(self) -> int:
        return self.end - self.begin

    def noise_like(self, part: Tensor, generator: Generator | None) -> Tensor:
        """Standard normal values for `part`, which holds these rows: what they would be, had all been drawn at once."""
        like = torch.empty_like(part)
        row = like.shape[1:]
        # Values are drawn in the order of memory, which a part has to share with the whole.
        whole = torch.empty_strided((self.of, *row), (row.numel(), *like.stride()[1:]), dtype=like.dtype)
        return self.cut(whole.normal_(generator=generator))


def all_rows(count: int) -> Rows:
    """The whole of a batch."""
    return Rows(0, count, count)
