"""Losses: per-sample terms, (B,); the caller averages and weighs."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def squared_error(x_hat: Tensor, x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Mean squared error of each window (B, C, T) over what was observed in it; 0 where nothing was."""
    return _mean((x_hat - x).square(), observed)


def huber(x_hat: Tensor, x: Tensor, observed: Tensor | None = None, knee: float = 1.0) -> Tensor:
    """Mean Huber loss of each window (B, C, T) over what was observed: squares up to an error of `knee`, which join
    smoothly to lines beyond it, so that a few wild values do not decide (Huber 1964)."""
    return _mean(functional.huber_loss(x_hat, x, reduction="none", delta=knee), observed)


def gaussian_nll(x_hat: Tensor, logvar: Tensor, x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood of each value, nats, under N(x_hat, exp(logvar)), over what was observed.

    logvar: broadcasts to (B, C, T). Learnt with the network it weighs the error against other terms by itself (Rybkin
    et al. 2021, section 3).
    """
    nats = 0.5 * (logvar + (x_hat - x).square() * (-logvar).exp() + math.log(2 * math.pi))
    return _mean(nats, observed)


def rate(kl: Tensor, free_bits: float = 0.0, average: Tensor | None = None) -> Tensor:
    """(B,) nats that the codes cost, from the divergence of each dimension (B, Z).

    Dimensions that cost less than `free_bits` on average over the batch count as costing those, so that nothing pulls
    them any closer to the prior (Kingma et al. 2016, appendix C.8).
    average: (Z,) that average, where `kl` is a part of the batch.
    """
    free_nats = free_bits * math.log(2)
    costs = torch.where(
        (kl.mean(0) if average is None else average) > free_nats, kl, torch.full((), free_nats, device=kl.device)
    )
    return costs.sum(1)


def _mean(terms: Tensor, observed: Tensor | None) -> Tensor:
    if observed is None:
        return terms.mean((1, 2))
    kept = torch.where(observed, terms, torch.zeros((), device=terms.device))
    return kept.sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
