"""The linear view of a patch: what principal components can say of it. Beside the network's it sees other faults."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LinearPatch:
    """mean: (D,), components: (D, K) orthonormal columns; D = C * h * w. Of patches without what is usual there, in the
    network's units."""

    mean: Tensor
    components: Tensor

    def answer(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Patches (n, C, h, w) as the components put them."""
        rows = x.flatten(1) - self.mean
        put = torch.addmm(self.mean, rows @ self.components, self.components.T)
        return put.view_as(x)

    def to(self, device: torch.device) -> "LinearPatch":
        return LinearPatch(self.mean.to(device), self.components.to(device))
