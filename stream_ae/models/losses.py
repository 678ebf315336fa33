"""Losses: per-sample terms, (B,); the caller averages and weighs."""

import torch
from torch import Tensor


def squared_error(x_hat: Tensor, x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Mean squared error of each window (B, C, T) over what was observed in it; 0 where nothing was."""
    error = (x_hat - x).square()
    if observed is None:
        return error.mean((1, 2))
    kept = torch.where(observed, error, torch.zeros((), device=error.device))
    return kept.sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
