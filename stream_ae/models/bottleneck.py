"""What lies between encoder and decoder: features (B, F) to a posterior over codes (B, Z)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream_ae.models.rows import Rows, all_rows

# Beyond, the variance would vanish or overflow before training has had its say.
LEAST_LOGVAR, MOST_LOGVAR = -10.0, 10.0


@dataclass(frozen=True, slots=True)
class PointPosterior:
    """All mass on one code `z` (B, Z): the posterior of a deterministic autoencoder."""

    z: Tensor

    def mode(self) -> Tensor:
        """The code that inference uses, (B, Z)."""
        return self.z

    def sample(self, generator: torch.Generator | None = None, rows: Rows | None = None) -> Tensor:
        """A code to decode in training, (B, Z); a point has only itself."""
        return self.z

    def kl(self) -> Tensor:
        """(B, Z) divergence from the prior; a deterministic code has no prior, so it costs nothing."""
        return torch.zeros_like(self.z)


@dataclass(frozen=True, slots=True)
class GaussianPosterior:
    """Independent Gaussians with means `mu` and log-variances `logvar`, both (B, Z); the prior is N(0, I)."""

    mu: Tensor
    logvar: Tensor

    def mode(self) -> Tensor:
        """The code that inference uses, (B, Z): the mean, never a sample, so that a score does not change from call to
        call."""
        return self.mu

    def sample(self, generator: torch.Generator | None = None, rows: Rows | None = None) -> Tensor:
        """mu + sigma * epsilon, (B, Z): reparameterised, so that gradients pass (Kingma & Welling 2014, 2.4).

        rows: which of a batch these are, if they are not all of it; they are given the epsilon they would have there.
        """
        epsilon = (rows or all_rows(len(self.mu))).noise_like(self.mu, generator)
        return self.mu + (0.5 * self.logvar).exp() * epsilon

    def kl(self) -> Tensor:
        """(B, Z) KL(q || N(0, 1)) of each dimension in closed form, nats (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mu.square() + self.logvar.exp() - 1.0 - self.logvar)


Posterior = PointPosterior | GaussianPosterior


class Deterministic(nn.Module):
    """One linear map to the code."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, latent)

    def forward(self, features: Tensor) -> PointPosterior:
        return PointPosterior(self.project(features))


class Variational(nn.Module):
    """One linear map to means and log-variances."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, 2 * latent)

    def forward(self, features: Tensor) -> GaussianPosterior:
        mu, logvar = self.project(features).chunk(2, dim=1)
        return GaussianPosterior(mu, logvar.clamp(LEAST_LOGVAR, MOST_LOGVAR))
