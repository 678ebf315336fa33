"""Codes that fit the prior they are sampled from."""

from collections.abc import Iterable

import torch
from torch import Tensor

from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.models.images.networks import ImageAutoencoder

LEAST_SPREAD = 1e-3


def standardise(autoencoder: ImageAutoencoder, patches: Iterable[Tensor]) -> None:
    """Shift and scale each dimension of a Gaussian code so that over the patches it has mean 0 and variance 1.

    The prior's own best mean and variance in closed form, folded into the layers on both sides: reconstructions stay as
    they are and codes only become cheaper. Training alone takes thousands of steps to move a mean as far.
    """
    mean, spread = _moments(autoencoder, patches)
    project, enter = autoencoder.bottleneck.project, autoencoder.enter
    assert project.bias is not None
    assert enter.bias is not None
    latent = len(mean)
    with torch.no_grad():
        rows = spread.view(-1, *(1,) * (project.weight.ndim - 1))
        project.weight[:latent] /= rows
        project.bias[:latent] = (project.bias[:latent] - mean) / spread
        project.bias[latent:] -= 2.0 * spread.log()
        enter.bias += enter.weight.flatten(1) @ mean
        enter.weight *= spread.view(1, -1, *(1,) * (enter.weight.ndim - 2))


def _moments(autoencoder: ImageAutoencoder, patches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """(Z,) mean and standard deviation of the codes drawn for the patches, over all places of a spatial one."""
    parts = []
    with torch.inference_mode():
        for x in patches:
            posterior = autoencoder.encode(x)
            assert isinstance(posterior, GaussianPosterior)
            mu, variance = (part.transpose(0, 1).flatten(1) for part in (posterior.mu, posterior.logvar.exp()))
            weight = mu.shape[1]
            parts.append(torch.stack((mu.mean(1), (mu.square() + variance).mean(1), torch.full_like(mu[:, 0], weight))))
    means, squares, weights = torch.stack(parts, 1).double()
    shares = weights / weights.sum(0)
    mean = (shares * means).sum(0)
    spread = ((shares * squares).sum(0) - mean.square()).clamp(min=LEAST_SPREAD**2).sqrt()
    # Tensors of inference mode may not become weights.
    return mean.float().clone(), spread.float().clone()
