"""Who cleans a pixel, and how a blind guess and the pixel itself are weighed."""

import math

import pytest
import torch
from torch import Tensor, nn

from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.models.images.config import ImageUNetConfig
from stream_ae.models.images.denoiser import ImageDenoiser, ImageSide
from stream_ae.models.images.unet import ImageUNet


def _choice(by: CleanedBy) -> ChannelChoice:
    return ChannelChoice(by=by, fill="unet", reason="", figures={})


def _flat(value: float) -> Tensor:
    return torch.full((1, 3, 2, 2), value)


def test_each_channel_is_cleaned_by_its_choice() -> None:
    denoiser = ImageDenoiser((_choice("identity"), _choice("autoencoder"), _choice("unet")))
    found = denoiser.cleaned(_flat(1.0), None, _flat(2.0), _flat(3.0))
    assert found[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0]


def test_missing_pixels_are_filled_in_by_the_choice_for_that() -> None:
    denoiser = ImageDenoiser((_choice("identity"), _choice("autoencoder"), _choice("unet")))
    observed = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    found = denoiser.cleaned(_flat(torch.nan), observed, _flat(2.0), _flat(3.0))
    assert found[0, :, 0, 0].tolist() == [3.0, 3.0, 3.0]


def test_what_is_not_finite_is_answered_by_the_autoencoder() -> None:
    denoiser = ImageDenoiser((_choice("identity"), _choice("autoencoder"), _choice("unet")))
    found = denoiser.cleaned(_flat(torch.inf), None, _flat(2.0), _flat(torch.nan))
    assert found[0, :, 0, 0].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("variance", "noise", "answer"),
    [
        # The guess is off by 3 - 1 = 2, twice the noise: the pixel has two thirds of the say.
        (3.0, 1.0, 4.0),
        # All that is off is noise: the guess is right.
        (1.0, 1.0, 0.0),
        # No noise: the pixel is right.
        (1.0, 0.0, 6.0),
    ],
)
def test_a_blind_guess_and_the_pixel_are_weighed_by_how_far_off_they_are(
    variance: float, noise: float, answer: float
) -> None:
    config = ImageUNetConfig(channels=1, widths=(2, 2), blind=True)
    unet = ImageUNet(config)
    assert isinstance(unet.last.bias, nn.Parameter)
    nn.init.zeros_(unet.last.weight)
    with torch.no_grad():
        unet.last.bias.copy_(torch.tensor([0.0, math.log(variance)]))
        found = ImageSide(config, unet, (noise,)).answer(torch.full((1, 1, 4, 4), 6.0), None)
    torch.testing.assert_close(found, torch.full((1, 1, 4, 4), answer), atol=1e-5, rtol=1e-5)
