"""Codes are shifted and scaled to fit their prior, and decode as before."""

import pytest
import torch

from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.models.images.config import BottleneckKind
from stream_ae.models.images.networks import ImageAutoencoder, autoencoder_config
from stream_ae.training.images.prior import standardise


@pytest.mark.parametrize("kind", ["variational", "spatial"])
def test_codes_get_mean_0_and_variance_1_and_reconstructions_stay(kind: BottleneckKind) -> None:
    torch.manual_seed(0)
    network = ImageAutoencoder(autoencoder_config(1, (12, 12), kind)).requires_grad_(False)
    x = torch.randn(200, 1, 12, 12)
    before = network.decode(network.encode(x).mode())
    standardise(network, torch.split(x, 50))
    posterior = network.encode(x)
    assert isinstance(posterior, GaussianPosterior)
    mu, logvar = (part.transpose(0, 1).flatten(1) for part in (posterior.mu, posterior.logvar))
    torch.testing.assert_close(network.decode(posterior.mode()), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mu.mean(1), torch.zeros(len(mu)), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(mu.var(1, correction=0) + logvar.exp().mean(1), torch.ones(len(mu)), atol=1e-3, rtol=0.0)
