import numpy as np
import torch

from stream_ae.models.autoencoder import build
from stream_ae.models.config import DenseConfig

CONFIG = DenseConfig(channels=3, window=8, hidden=(6, 5), latent=2)


def test_shapes_go_there_and_back() -> None:
    autoencoder = build(CONFIG)
    reconstruction = autoencoder(torch.randn(4, 3, 8))
    assert reconstruction.x_hat.shape == (4, 3, 8)
    assert reconstruction.posterior.mode().shape == (4, 2)
    assert reconstruction.posterior.kl().tolist() == [0.0] * 4


def test_decoding_a_part_of_the_window_equals_that_part() -> None:
    autoencoder, z = build(CONFIG).requires_grad_(False), torch.randn(4, 2)
    # The matrix product is cut differently, so the last bits may differ.
    np.testing.assert_allclose(autoencoder.decode(z, 5, 7), autoencoder.decode(z)[..., 5:7], rtol=1e-5, atol=1e-6)


def test_the_layout_in_memory_does_not_matter() -> None:
    autoencoder, x = build(CONFIG), torch.randn(4, 3, 8)
    rows = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(autoencoder.encode(x).mode(), autoencoder.encode(rows).mode())
