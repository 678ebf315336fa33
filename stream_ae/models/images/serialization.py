"""A version folder of an image model: `weights.safetensors` and `config.json`. Loading runs no code from it."""

import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from stream_ae.digest import folder_digest
from stream_ae.models.calibration import TailScale
from stream_ae.models.drift_bins import bins_config, bins_of
from stream_ae.models.images.config import (
    ContrastConfig,
    ImageDenoiserConfig,
    ImageScoringConfig,
    ImageVersionConfig,
    decoded,
)
from stream_ae.models.images.denoiser import ImageDenoiser, ImageSide
from stream_ae.models.images.detector import ImageDetector, ImageNetwork
from stream_ae.models.images.diffusion import LatentPrior, LatentUNet
from stream_ae.models.images.linear import LinearPatch
from stream_ae.models.images.networks import ImageAutoencoder
from stream_ae.models.images.scoring import Contrasts, ImageScoring, PixelLevels
from stream_ae.models.images.tiles import Tiling
from stream_ae.models.images.unet import ImageUNet
from stream_ae.models.normaliser import Normaliser
from stream_ae.models.serialization import CONFIG, NORMALISER, WEIGHTS, check_tensors, put, read, write
from stream_ae.records import ModelIdentity

NETWORK, UNET, PRIOR = "network.", "unet.", "prior."
USUAL = "usual"
LEVELS = ("levels.network", "levels.linear")
LINEAR = ("linear.mean", "linear.components")
POSITIVE = ("normaliser.scale", *LEVELS)


def is_image_version(folder: Path) -> bool:
    """Whether the folder's configuration says that it holds an image model; whether it can be loaded `load` tells."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("holds") == "images"


def save(detector: ImageDetector, folder: Path) -> None:
    """Write the version folder; the same detector gives the same bytes. An existing version there is replaced."""
    write(folder, _tensors(detector), partial(_config, detector))


def load(folder: Path, device: str = "cpu") -> ImageDetector:
    """The detector that `save` wrote, identified by the folder's name and digest until it is given its version.

    Raises DigestError if the weights are not those that the configuration was written with, ModelError if anything
    else is missing, unreadable or does not fit together.
    """
    config, tensors = read(folder, decoded)
    networks = _networks(config)
    check_tensors(tensors, _shapes(config, networks), POSITIVE, folder / WEIGHTS)
    for prefix, network in networks.items():
        put(network, prefix, tensors)
        network.to(memory_format=torch.channels_last)
    detector = ImageDetector(
        channels=config.channels,
        network=_network(config, networks, tensors),
        scoring=_scoring(config.scoring, tensors, str(folder / CONFIG)),
        denoiser=_denoiser(config.denoiser, networks),
        prior=_prior(config, networks),
        drift_bins=bins_of(config.drift_bins),
        lineage=config.lineage,
        identity=ModelIdentity(folder.resolve().name, "0", folder_digest(folder)),
    )
    return detector.to(device)


def _tensors(detector: ImageDetector) -> dict[str, Tensor]:
    network, levels, side = detector.network, detector.scoring.levels, detector.denoiser.side
    normaliser = network.normaliser
    tensors = {NETWORK + name: tensor for name, tensor in network.autoencoder.state_dict().items()}
    if side is not None:
        tensors |= {UNET + name: tensor for name, tensor in side.unet.state_dict().items()}
    if detector.prior is not None:
        tensors |= {PRIOR + name: tensor for name, tensor in detector.prior.unet.state_dict().items()}
    own = (normaliser.centre, normaliser.scale, normaliser.low, normaliser.high)
    tensors |= dict(zip(NORMALISER, own, strict=True))
    tensors |= dict(zip(LEVELS, (levels.network, levels.linear), strict=True))
    tensors |= dict(zip(LINEAR, (network.linear.mean, network.linear.components), strict=True))
    tensors[USUAL] = network.usual
    return tensors


def _config(detector: ImageDetector, weights_sha256: str) -> ImageVersionConfig:
    scoring, denoiser, network = detector.scoring, detector.denoiser, detector.network
    side, contrasts = denoiser.side, scoring.contrasts
    return ImageVersionConfig(
        architecture=network.config,
        channels=detector.channels,
        frame=detector.frame,
        overlap=network.tiling.overlap,
        scoring=ImageScoringConfig(
            blur=scoring.blur,
            components=network.linear.components.shape[1],
            contrasts=ContrastConfig(usual=contrasts.usual, least=contrasts.least, most=contrasts.most),
            mean=scoring.mean.config(),
            peak=scoring.peak.config(),
            linear=scoring.linear.config(),
            fused=scoring.fused.config(),
            threshold=scoring.threshold,
        ),
        denoiser=ImageDenoiserConfig(
            choices=denoiser.choices,
            unet=side.config if side is not None else None,
            noise=side.noise if side is not None else (),
        ),
        prior=detector.prior.config if detector.prior is not None else None,
        drift_bins=bins_config(detector.drift_bins),
        lineage=dict(detector.lineage),
        weights_sha256=weights_sha256,
    )


def _networks(config: ImageVersionConfig) -> dict[str, nn.Module]:
    """By the prefix of their tensors; without memory, so that a giant one is refused before it is given room."""
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {NETWORK: ImageAutoencoder(config.architecture)}
        if config.denoiser.unet is not None:
            networks[UNET] = ImageUNet(config.denoiser.unet)
        if config.prior is not None:
            networks[PRIOR] = LatentUNet(config.prior)
    return networks


def _shapes(config: ImageVersionConfig, networks: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    shapes = {
        prefix + name: tuple(tensor.shape)
        for prefix, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    height, width = config.architecture.patch
    pixels = len(config.channels) * height * width
    shapes |= dict.fromkeys(NORMALISER, (len(config.channels), 1))
    shapes |= dict.fromkeys((USUAL, *LEVELS), config.frame)
    shapes |= dict(zip(LINEAR, ((pixels,), (pixels, config.scoring.components)), strict=True))
    return shapes


def _network(config: ImageVersionConfig, networks: dict[str, nn.Module], tensors: dict[str, Tensor]) -> ImageNetwork:
    """Of tensors that were checked."""
    autoencoder = networks[NETWORK]
    assert isinstance(autoencoder, ImageAutoencoder)
    centre, scale, low, high = (tensors[name] for name in NORMALISER)
    return ImageNetwork(
        config=config.architecture,
        autoencoder=autoencoder,
        linear=LinearPatch(*(tensors[name] for name in LINEAR)),
        tiling=Tiling(config.frame[1:], config.architecture.patch, config.overlap),
        normaliser=Normaliser(centre, scale, low, high, 0.0),
        usual=tensors[USUAL],
    )


def _denoiser(config: ImageDenoiserConfig, networks: dict[str, nn.Module]) -> ImageDenoiser:
    unet = networks.get(UNET)
    if config.unet is None or not isinstance(unet, ImageUNet):
        return ImageDenoiser(config.choices)
    return ImageDenoiser(config.choices, ImageSide(config.unet, unet, config.noise))


def _prior(config: ImageVersionConfig, networks: dict[str, nn.Module]) -> LatentPrior | None:
    unet = networks.get(PRIOR)
    return LatentPrior(config.prior, unet) if config.prior is not None and isinstance(unet, LatentUNet) else None


def _scoring(config: ImageScoringConfig, tensors: dict[str, Tensor], where: str) -> ImageScoring:
    contrasts = config.contrasts
    return ImageScoring(
        levels=PixelLevels(*(tensors[name] for name in LEVELS)),
        contrasts=Contrasts(contrasts.usual, contrasts.least, contrasts.most),
        blur=config.blur,
        mean=TailScale.of(config.mean, f"{where}: scoring.mean"),
        peak=TailScale.of(config.peak, f"{where}: scoring.peak"),
        linear=TailScale.of(config.linear, f"{where}: scoring.linear"),
        fused=TailScale.of(config.fused, f"{where}: scoring.fused"),
        threshold=config.threshold,
    )
