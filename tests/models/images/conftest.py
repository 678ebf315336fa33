"""Small detectors, trained once."""

import numpy as np
import pytest
import torch

from stream_ae.models.images import ImageDetector
from stream_ae.models.images.diffusion import LatentPrior, LatentUNet, diffusion_config
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training.images import train_frames

OPTIONS = TrainingSettings(max_epochs=3, denoiser_steps=30, clean=True, false_alarm_rate=0.05)


def disks(count: int, channels: int = 1, sides: tuple[int, int] = (16, 20), seed: int = 0) -> Float32:
    """(N, C, H, W) bright disks on a dark ground, 0 to 255, a disk in each frame, channels of different brightness."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(sides)
    middle = [generator.uniform(0.35, 0.65, (count, 1, 1)) * side for side in sides]
    radius = generator.uniform(0.2, 0.35, (count, 1, 1)) * min(sides)
    inside = radius - np.hypot(rows - middle[0], columns - middle[1])
    frames = 200.0 / (1.0 + np.exp(-2.0 * inside))[:, None] * np.linspace(1.0, 0.5, channels)[:, None, None]
    return np.asarray(frames + 3.0 * generator.standard_normal(frames.shape) + 20.0, np.float32)


@pytest.fixture(scope="session")
def detector() -> ImageDetector:
    return train_frames(disks(200), ("grey",), OPTIONS, lineage={"source": "test"}).detector


@pytest.fixture(scope="session")
def tiled() -> ImageDetector:
    """Of frames larger than a patch, in two channels."""
    options = OPTIONS.model_copy(update={"max_epochs": 1, "denoiser_steps": 5})
    return train_frames(disks(24, 2, (40, 100)), ("near", "far"), options).detector


@pytest.fixture(scope="session", params=["variational", "spatial"])
def generative(request: pytest.FixtureRequest) -> ImageDetector:
    options = OPTIONS.model_copy(update={"denoiser": "autoencoder", "model": f"conv2d-{request.param}"})
    return train_frames(disks(120), ("grey",), options).detector


@pytest.fixture(scope="session")
def spatial() -> ImageDetector:
    options = OPTIONS.model_copy(update={"denoiser": "none", "max_epochs": 15, "model": "conv2d-spatial"})
    return train_frames(disks(400), ("grey",), options).detector


@pytest.fixture
def with_prior(spatial: ImageDetector) -> ImageDetector:
    """With a prior that learnt nothing, which takes no library to make or to load."""
    config = diffusion_config(spatial.network.config.latent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = LatentUNet(config).to(memory_format=torch.channels_last)
    return spatial.sampling(LatentPrior(config, unet.requires_grad_(False).eval()))
