import math

import pytest
import torch
from torch.distributions import Normal

from stream_ae.models.losses import gaussian_nll, huber, rate, squared_error


def test_the_loss_is_a_mean_per_sample() -> None:
    x = torch.zeros(2, 1, 2)
    x_hat = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    assert squared_error(x_hat, x).tolist() == [5.0, 0.0]


def test_missing_values_do_not_count() -> None:
    observed = torch.tensor([[[True, False]], [[False, False]]])
    x_hat = torch.tensor([[[2.0, float("nan")]], [[7.0, 7.0]]])
    assert squared_error(x_hat, torch.zeros(2, 1, 2), observed).tolist() == [4.0, 0.0]


def test_the_likelihood_is_that_of_torch_over_what_was_observed() -> None:
    x, x_hat, logvar = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.randn(3, 1)
    right = -Normal(x_hat, (0.5 * logvar).exp()).log_prob(x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gaussian_nll(x_hat, logvar, x), right.mean((1, 2)))
    observed = torch.rand(2, 3, 4) > 0.5
    kept = torch.stack([terms[seen].mean() for terms, seen in zip(right, observed, strict=True)])
    torch.testing.assert_close(gaussian_nll(x_hat, logvar, x, observed), kept)


def test_the_rate_is_the_sum_over_dimensions() -> None:
    assert rate(torch.tensor([[1.0, 2.0], [0.0, 0.5]])).tolist() == [3.0, 0.5]


def test_dimensions_below_their_free_bits_are_not_pulled_further() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    costs = rate(kl, free_bits=1.0)
    assert costs.tolist() == pytest.approx([math.log(2) + 2.0, math.log(2) + 4.0])
    torch.autograd.backward(costs.sum())
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_huber_is_half_the_square_up_to_the_knee_and_a_line_beyond() -> None:
    x_hat, x = torch.tensor([[[0.5, 3.0]]]), torch.zeros(1, 1, 2)
    # 0.5^2 / 2 = 0.125 and 1 * (3 - 1 / 2) = 2.5.
    assert huber(x_hat, x).tolist() == pytest.approx([(0.125 + 2.5) / 2])
    assert huber(x_hat, x, torch.tensor([[[True, False]]])).tolist() == pytest.approx([0.125])
