"""What lies between encoder and decoder: features (B, F) to a posterior over codes (B, Z)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class PointPosterior:
    """All mass on one code `z` (B, Z): the posterior of a deterministic autoencoder."""

    z: Tensor

    def mode(self) -> Tensor:
        """The code that inference uses, (B, Z)."""
        return self.z

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A code to decode in training, (B, Z); a point has only itself."""
        return self.z

    def kl(self) -> Tensor:
        """(B,) divergence from the prior; a deterministic code has no prior, so it costs nothing."""
        return self.z.new_zeros(len(self.z))


# A variational bottleneck makes this a union with its Gaussian posterior.
Posterior = PointPosterior


class Deterministic(nn.Module):
    """One linear map to the code."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, latent)

    def forward(self, features: Tensor) -> Posterior:
        return PointPosterior(self.project(features))
