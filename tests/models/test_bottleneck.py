"""Posteriors own their formulas."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from stream_ae.models.bottleneck import Deterministic, GaussianPosterior, Variational


def test_a_point_has_only_itself_and_costs_nothing() -> None:
    posterior = Deterministic(3, 2)(torch.randn(4, 3))
    assert torch.equal(posterior.sample(), posterior.mode())
    assert posterior.kl().tolist() == [[0.0, 0.0]] * 4


def test_the_divergence_is_that_of_torch() -> None:
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    right = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(GaussianPosterior(mu, logvar).kl(), right)


def test_the_prior_itself_costs_nothing() -> None:
    assert GaussianPosterior(torch.zeros(1, 2), torch.zeros(1, 2)).kl().tolist() == [[0.0, 0.0]]


def test_inference_uses_the_mean_and_training_a_seeded_sample() -> None:
    posterior = GaussianPosterior(torch.full((2000, 1), 3.0), torch.full((2000, 1), -1.0))
    assert torch.equal(posterior.mode(), posterior.mu)
    one, again = (posterior.sample(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, again)
    assert float(one.mean()) == pytest.approx(3.0, abs=0.05)
    assert float(one.var()) == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.1)


def test_gradients_pass_through_a_sample_to_mean_and_variance() -> None:
    bottleneck = Variational(3, 2)
    bottleneck(torch.randn(4, 3)).sample(torch.Generator().manual_seed(0)).sum().backward()
    gradient = bottleneck.project.weight.grad
    assert gradient is not None
    assert bool((gradient.abs().sum(1) > 0).all())


def test_wild_features_leave_a_finite_variance() -> None:
    posterior = Variational(1, 1)(torch.tensor([[1e9], [-1e9]]))
    assert bool(torch.isfinite(posterior.kl()).all())
