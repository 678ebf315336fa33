"""The linear view of a training set."""

import torch
from torch import Tensor

from stream_ae.models.linear import LinearView
from stream_ae.training.dataset import WindowSet
from stream_ae.training.normalise import ROUNDING, TINY

# VUS-PR of ASD / SMD / SKAB with the fused score, by samples that the components see: 10 .57/.68/.86, 16 .54/.69/.88,
# 20 .53/.70/.87; by the share of the variance that they explain, at 16: .7 .52/.65/.85, .8 .54/.69/.88, .9 .52/.68/.86.
SHARE_OF_WINDOW = 0.5
EXPLAINED = 0.8
MOST_COMPONENTS = 64
SAMPLED_WINDOWS = 8192
# Halko et al. 2011, section 1.6: a few more directions than wanted, a few passes, and the wanted ones are exact.
OVERSAMPLING, PASSES = 8, 4


def fitted_linear(windows: WindowSet, lookahead: int, seed: int) -> LinearView:
    """Components that explain EXPLAINED of the variance, MOST_COMPONENTS at most; levels are 1 until calibrated."""
    some = windows.sample(SAMPLED_WINDOWS)
    sampled = next(some.batches(SAMPLED_WINDOWS))
    end = sampled.shape[-1] - lookahead
    span = max(round(end * SHARE_OF_WINDOW), 1)
    x = torch.from_numpy(sampled[..., :end].copy())
    observed = ~torch.isnan(x)
    centre, scale = _moments(x[..., -span:], observed[..., -span:])
    count = x.shape[1]
    start = LinearView(centre, scale, torch.zeros(span * count), torch.zeros(span * count, 1), torch.ones(count))
    rows = start.scaled(x, observed)
    mean = rows.mean(0)
    return LinearView(centre, scale, mean, principal_directions(rows - mean, seed), start.level)


def _moments(x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """(C, 1) mean and standard deviation; of a channel that never moves 1 % of its value, or 1."""
    values = torch.where(observed, x, 0.0).double()
    counts = observed.sum((0, 2)).clamp(min=1)
    centre = values.sum((0, 2)) / counts
    spread = (torch.where(observed, x - centre[:, None], 0.0).double().square().sum((0, 2)) / counts).sqrt()
    still = spread <= ROUNDING * values.abs().amax((0, 2))
    otherwise = torch.where(centre == 0, 1.0, 0.01 * centre.abs())
    scale = torch.where(still, otherwise, spread).clamp(min=TINY)
    return centre.float()[:, None], scale.float()[:, None]


def principal_directions(rows: Tensor, seed: int) -> Tensor:
    """(D, K) the first principal directions of centred rows (N, D): EXPLAINED of their variance, MOST_COMPONENTS at
    most."""
    most = min(MOST_COMPONENTS + OVERSAMPLING, *rows.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, singular, directions = torch.svd_lowrank(rows, q=most, niter=PASSES)
    variance = singular.double().square()
    total = rows.double().square().sum().clamp(min=TINY)
    enough = int(torch.searchsorted(variance.cumsum(0) / total, EXPLAINED)) + 1
    return directions[:, : min(enough, MOST_COMPONENTS, most)].contiguous()
