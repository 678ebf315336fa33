"""The U-Net computes only what is asked for, and says the same."""

import pytest
import torch

from stream_ae.models.unet import UNet, unet_config


@pytest.mark.parametrize(("window", "channels"), [(2, 1), (16, 1), (33, 3), (100, 2), (256, 2), (511, 1)])
def test_a_part_of_the_window_is_the_same_as_when_all_is_asked_for(window: int, channels: int) -> None:
    torch.manual_seed(0)
    network = UNet(unet_config(channels, window)).eval()
    x, observed = torch.randn(3, channels, window), torch.rand(3, channels, window) < 0.9
    with torch.inference_mode():
        whole = network(x, observed)
        for first, end in ((0, 1), (window - 1, window), (window // 2, window // 2 + 1), (window // 3, window)):
            # Sums of a convolution of another length add up in another order.
            torch.testing.assert_close(network(x, observed, first, end), whole[..., first:end], rtol=1e-4, atol=1e-5)
    assert whole.shape == x.shape


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in UNet(unet_config(2, 512)).parameters()) < 36_000


def test_it_sees_the_whole_window() -> None:
    torch.manual_seed(0)
    network = UNet(unet_config(1, 256)).double()
    x = torch.randn(1, 1, 256, dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(network(x, None, 128, 129).sum())
    assert x.grad is not None
    assert bool((x.grad[0, 0, [0, -1]] != 0).all())
