"""Missing values (NaN) in windows: what the network sees in their place."""

import torch
from torch import Tensor


def filled(x: Tensor, observed: Tensor, otherwise: Tensor) -> Tensor:
    """Windows `x` (B, C, T) with each missing value replaced by the one before it in its channel.

    Values missing at the beginning take the first observed one; a channel of which the window holds nothing takes
    `otherwise`, which broadcasts to (B, C, 1).
    """
    position = torch.arange(x.shape[-1], device=x.device)
    last = torch.where(observed, position, -1).cummax(-1).values
    first = torch.where(observed, position, x.shape[-1]).amin(-1, keepdim=True)
    source = torch.where(last < 0, first, last)
    nothing = source >= x.shape[-1]
    found = x.gather(-1, source.clamp(max=x.shape[-1] - 1))
    return torch.where(nothing, otherwise, found)
