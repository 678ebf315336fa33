"""What training minimises: reconstruction alone, or with what a variational code costs."""

import torch
from torch import Tensor, nn

from stream_ae.models.autoencoder import Reconstruction
from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.models.config import ArchitectureConfig
from stream_ae.models.losses import gaussian_nll, rate, squared_error
from stream_ae.models.normaliser import Normalised
from stream_ae.settings import TrainingSettings
from stream_ae.training.ranks import Batch

# The first epochs reconstruct first and mind the code's cost more and more: else dimensions are given up before they
# have been of any use (Bowman et al. 2016, section 3.1).
ANNEALED_SHARE = 0.3


class Objective(nn.Module):
    """Per-sample terms (B,): mean squared error for point posteriors; for Gaussian ones the negative ELBO in nats per
    value, with a variance of each channel that is learnt beside the network and not needed after it."""

    def __init__(self, config: ArchitectureConfig, options: TrainingSettings) -> None:
        super().__init__()
        self._options = options
        variational = config.bottleneck == "variational"
        self.logvar = nn.Parameter(torch.zeros(config.channels, 1)) if variational else None

    def beta(self, epoch: int) -> float:
        """What a nat of the code costs in this epoch (1, 2, ...)."""
        annealed = max(round(self._options.max_epochs * ANNEALED_SHARE), 1)
        return self._options.beta * min(epoch / annealed, 1.0)

    def forward(self, reconstruction: Reconstruction, seen: Normalised, beta: float, batch: Batch) -> Tensor:
        x_hat, posterior = reconstruction.x_hat, reconstruction.posterior
        if self.logvar is None or not isinstance(posterior, GaussianPosterior):
            return squared_error(x_hat, seen.x, seen.observed)
        values = seen.x[0].numel()
        error = gaussian_nll(x_hat, self.logvar, seen.x, seen.observed)
        kl = posterior.kl()
        return error + beta * rate(kl, self._options.free_bits, batch.mean(kl)) / values
