"""Encoder, bottleneck and decoder of images fit together whatever the patch."""

import pytest
import torch

from stream_ae.models.bottleneck import GaussianPosterior, PointPosterior
from stream_ae.models.images.config import BottleneckKind, ImageUNetConfig
from stream_ae.models.images.networks import ImageAutoencoder, autoencoder_config, code_shape
from stream_ae.models.images.unet import ImageUNet, image_unet_config

KINDS: tuple[BottleneckKind, ...] = ("deterministic", "variational", "spatial")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [(28, 28), (1, 1), (5, 64), (33, 17)])
def test_a_patch_of_any_size_comes_back_in_its_size(kind: BottleneckKind, patch: tuple[int, int]) -> None:
    config = autoencoder_config(3, patch, kind)
    network, x = ImageAutoencoder(config), torch.randn(2, 3, *patch)
    assert network(x).x_hat.shape == x.shape
    assert network.encode(x).mode().shape == (2, *code_shape(config))


def test_a_deterministic_code_is_a_point_and_the_others_are_gaussians() -> None:
    for kind in KINDS:
        posterior = ImageAutoencoder(autoencoder_config(1, (28, 28), kind)).encode(torch.randn(2, 1, 28, 28))
        assert isinstance(posterior, PointPosterior if kind == "deterministic" else GaussianPosterior)


def test_a_spatial_code_keeps_a_quarter_of_each_side() -> None:
    assert code_shape(autoencoder_config(1, (28, 64), "spatial")) == (4, 7, 16)


@pytest.mark.parametrize("size", [(28, 28), (7, 9), (1, 3), (64, 130)])
def test_a_unet_takes_images_of_any_size(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    assert ImageUNet(image_unet_config(3))(x, torch.rand(x.shape) > 0.5).x_hat.shape == x.shape


def test_a_unet_that_takes_nothing_off_gives_back_its_input() -> None:
    unet = ImageUNet(ImageUNetConfig(channels=1, widths=(4, 8)))
    for weights in unet.last.parameters():
        torch.nn.init.zeros_(weights)
    x = torch.randn(1, 1, 10, 10)
    torch.testing.assert_close(unet(x).x_hat, x)


def test_the_unet_has_between_50_and_120_thousand_parameters() -> None:
    assert 50_000 < sum(weights.numel() for weights in ImageUNet(image_unet_config(1)).parameters()) < 120_000


def test_a_blind_unet_says_how_far_off_it_may_be() -> None:
    guess = ImageUNet(image_unet_config(2, blind=True))(torch.randn(1, 2, 9, 9))
    assert guess.logvar is not None
    assert guess.logvar.shape == guess.x_hat.shape == (1, 2, 9, 9)
