import numpy as np
import pytest
import torch

from stream_ae.models.autoencoder import build
from stream_ae.models.config import ArchitectureConfig, ConvConfig, DenseConfig

CONFIG = DenseConfig(channels=3, window=8, hidden=(6, 5), latent=2)
KINDS: list[ArchitectureConfig] = [
    CONFIG,
    DenseConfig(channels=3, window=8, hidden=(6, 5), latent=2, bottleneck="variational"),
    ConvConfig(channels=3, window=8, widths=(4, 5), kernel=3, latent=2),
    ConvConfig(channels=3, window=8, widths=(4, 5), kernel=3, latent=2, bottleneck="variational"),
]


@pytest.mark.parametrize("config", KINDS)
def test_shapes_go_there_and_back(config: ArchitectureConfig) -> None:
    reconstruction = build(config)(torch.randn(4, 3, 8))
    assert reconstruction.x_hat.shape == (4, 3, 8)
    assert reconstruction.posterior.mode().shape == (4, 2)
    assert reconstruction.posterior.kl().shape == (4, 2)


@pytest.mark.parametrize("window", [2, 3, 7, 16, 33])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_convolutions_take_windows_of_any_length(window: int, layers: int) -> None:
    config = ConvConfig(channels=2, window=window, widths=(3,) * layers, kernel=5, latent=2)
    assert build(config)(torch.randn(1, 2, window)).x_hat.shape == (1, 2, window)


@pytest.mark.parametrize("config", KINDS)
def test_decoding_a_part_of_the_window_equals_that_part(config: ArchitectureConfig) -> None:
    autoencoder, z = build(config).requires_grad_(False), torch.randn(4, 2)
    # The matrix product is cut differently, so the last bits may differ.
    np.testing.assert_allclose(autoencoder.decode(z, 5, 7), autoencoder.decode(z)[..., 5:7], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", KINDS)
def test_the_layout_in_memory_does_not_matter(config: ArchitectureConfig) -> None:
    autoencoder, x = build(config), torch.randn(4, 3, 8)
    rows = x.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(autoencoder.encode(x).mode(), autoencoder.encode(rows).mode())
