"""The network of a diffusion prior, and what sampling from one promises."""

import sys

import numpy as np
import pytest
import torch

from stream_ae.errors import ConfigError
from stream_ae.models.images import ImageDetector
from stream_ae.models.images.config import DiffusionConfig
from stream_ae.models.images.diffusion import LatentUNet, diffusion_config, waves


@pytest.mark.parametrize("sides", [(7, 7), (1, 1), (4, 5), (16, 3)])
def test_codes_of_any_size_come_back_in_their_size(sides: tuple[int, int]) -> None:
    z = torch.randn(2, 4, *sides)
    assert LatentUNet(diffusion_config(4))(z, torch.tensor([0, 999])).shape == z.shape


def test_more_levels_go_deeper() -> None:
    config = DiffusionConfig(latent=3, widths=(8, 16, 24), times=10, steps=2)
    z = torch.randn(2, 3, 9, 5)
    assert LatentUNet(config)(z, torch.tensor([1, 2])).shape == z.shape


def test_the_network_is_told_the_time() -> None:
    unet, z = LatentUNet(diffusion_config(4)), torch.randn(1, 4, 7, 7).expand(2, -1, -1, -1)
    early, late = unet(z, torch.tensor([0, 900]))
    assert not torch.allclose(early, late)


def test_times_are_told_apart() -> None:
    told = waves(torch.arange(1000))
    assert told.abs().max() <= 1.0
    assert torch.cdist(told, told).fill_diagonal_(1.0).min() > 0.1


def test_samples_are_finite_in_the_frames_shape_and_the_seed_decides(with_prior: ImageDetector) -> None:
    pytest.importorskip("diffusers")
    frames = with_prior.sample(3, seed=1, prior="diffusion")
    assert frames.shape == (3, *with_prior.frame)
    assert np.isfinite(frames).all()
    np.testing.assert_array_equal(frames, with_prior.sample(3, seed=1, prior="diffusion"))
    assert not np.array_equal(frames, with_prior.sample(3, seed=2, prior="diffusion"))
    assert with_prior.sample(0, prior="diffusion").shape == (0, *with_prior.frame)


def test_samples_of_the_normal_prior_are_as_without_the_other(
    spatial: ImageDetector, with_prior: ImageDetector
) -> None:
    np.testing.assert_array_equal(with_prior.sample(2, seed=1), spatial.sample(2, seed=1))


def test_without_the_library_sampling_says_what_to_install_and_all_else_works(
    with_prior: ImageDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-ae\[generative\]'"):
        with_prior.sample(1, prior="diffusion")
    assert len(with_prior.infer_frames(with_prior.sample(2))) == 2
