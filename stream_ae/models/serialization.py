"""A version folder: `weights.safetensors` and `config.json`. Loading runs no code from it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import safetensors.torch
import torch
from msgspec import Struct
from safetensors import SafetensorError
from torch import Tensor, nn

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError
from stream_ae.models.autoencoder import build
from stream_ae.models.blocks import finite
from stream_ae.models.calibration import TailScale
from stream_ae.models.config import DenoiserConfig, LinearConfig, ScoringConfig, VersionConfig, decoded, encoded
from stream_ae.models.denoiser import Denoiser, SideNetwork
from stream_ae.models.detector import Detector, Network, Signature
from stream_ae.models.drift_bins import bins_config, bins_of
from stream_ae.models.linear import LinearView
from stream_ae.models.normaliser import Normaliser
from stream_ae.models.scoring import ErrorLevels, LinearScore, Scoring
from stream_ae.models.unet import UNet
from stream_ae.records import ModelIdentity

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
NETWORK, UNET = "network.", "unet."
# Tensors that are not the network's: (C, 1) of the normaliser, (C,) of the error levels; the latter divide.
NORMALISER = ("normaliser.centre", "normaliser.scale", "normaliser.low", "normaliser.high")
LEVELS = ("levels.newest", "levels.smoothed")
LINEAR = ("linear.centre", "linear.scale", "linear.mean", "linear.components", "linear.level")
POSITIVE = ("normaliser.scale", *LEVELS, "linear.scale", "linear.level")


class _Signed(Protocol):
    @property
    def weights_sha256(self) -> str: ...


Signed = TypeVar("Signed", bound=_Signed)
"""A configuration that knows the weights it was written with."""


def save(detector: Detector, folder: Path) -> None:
    """Write the version folder; the same detector gives the same bytes. An existing version there is replaced."""
    write(folder, _tensors(detector), partial(_config, detector))


def load(folder: Path, device: str = "cpu") -> Detector:
    """The detector that `save` wrote, identified by the folder's name and digest until it is given its version.

    Raises DigestError if the weights are not those that the configuration was written with, ModelError if anything
    else is missing, unreadable or does not fit together.
    """
    config, tensors = read(folder, decoded)
    detector = Detector(
        signature=Signature(config.channels, config.units, config.window, config.lookahead),
        network=_network(config, tensors, folder / WEIGHTS),
        scoring=_scoring(config.scoring, tensors, str(folder / CONFIG)),
        denoiser=_denoiser(config.denoiser, tensors),
        drift_bins=bins_of(config.drift_bins),
        lineage=config.lineage,
        identity=ModelIdentity(folder.resolve().name, "0", folder_digest(folder)),
    )
    return detector.to(device)


def write(folder: Path, tensors: Mapping[str, Tensor], config_of: Callable[[str], Struct]) -> None:
    """A version folder of these tensors and the configuration that knows their sha256; what was there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    weights = safetensors.torch.save(own)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_bytes(encoded(config_of(hashlib.sha256(weights).hexdigest())))


def read(folder: Path, decoded: Callable[[bytes, str], Signed]) -> tuple[Signed, dict[str, Tensor]]:
    """What `write` wrote: the configuration as it was decoded, and the tensors, not checked any further.

    Raises DigestError if the weights are not those that the configuration was written with, ModelError if anything
    else is missing or unreadable.
    """
    config = decoded(_bytes(folder / CONFIG), str(folder / CONFIG))
    weights = _bytes(folder / WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != config.weights_sha256:
        raise DigestError(f"{folder / WEIGHTS} is not the file that {CONFIG} was written with: fetch the version again")
    return config, _parsed(weights, folder / WEIGHTS)


def _tensors(detector: Detector) -> dict[str, Tensor]:
    normaliser, levels = detector.network.normaliser, detector.scoring.levels
    own = (normaliser.centre, normaliser.scale, normaliser.low, normaliser.high, levels.newest, levels.smoothed)
    tensors = {NETWORK + name: tensor for name, tensor in detector.network.autoencoder.state_dict().items()}
    if detector.denoiser is not None and detector.denoiser.network is not None:
        weights = detector.denoiser.network.unet.state_dict()
        tensors |= {UNET + name: tensor for name, tensor in weights.items()}
    tensors |= dict(zip((*NORMALISER, *LEVELS), own, strict=True))
    if detector.scoring.linear is not None:
        view = detector.scoring.linear.view
        parts = (view.centre, view.scale, view.mean, view.components, view.level)
        tensors |= dict(zip(LINEAR, parts, strict=True))
    return tensors


def _config(detector: Detector, weights_sha256: str) -> VersionConfig:
    signature, scoring = detector.signature, detector.scoring
    return VersionConfig(
        architecture=detector.network.config,
        channels=signature.channels,
        units=signature.units,
        window=signature.window,
        lookahead=signature.lookahead,
        recentre=detector.network.normaliser.recentre,
        scoring=ScoringConfig(
            span=scoring.levels.span,
            decay=scoring.levels.decay,
            newest=scoring.newest.config(),
            smoothed=scoring.smoothed.config(),
            fused=scoring.fused.config(),
            threshold=scoring.threshold,
            linear=_linear_config(scoring.linear),
            peak=scoring.peak.config() if scoring.peak is not None else None,
            start_threshold=scoring.start_threshold,
        ),
        denoiser=_denoiser_config(detector.denoiser),
        drift_bins=bins_config(detector.drift_bins),
        lineage=dict(detector.lineage),
        weights_sha256=weights_sha256,
    )


def _linear_config(linear: LinearScore | None) -> LinearConfig | None:
    if linear is None:
        return None
    components = linear.view.components.shape[1]
    return LinearConfig(span=linear.view.span, components=components, tail=linear.scale.config())


def _denoiser_config(denoiser: Denoiser | None) -> DenoiserConfig | None:
    if denoiser is None:
        return None
    if denoiser.network is None:
        return DenoiserConfig(choices=denoiser.choices)
    return DenoiserConfig(choices=denoiser.choices, unet=denoiser.network.config, blind=denoiser.network.blind)


def _bytes(path: Path) -> bytes:
    """What the file of a version holds. Raises ModelError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): a version folder holds {WEIGHTS} and {CONFIG}; "
            "fetch or save it again"
        ) from error


def _parsed(weights: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ModelError if it is none."""
    try:
        return safetensors.torch.load(weights)
    except (SafetensorError, KeyError, ValueError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is not a safetensors file ({error}): fetch the version again") from error


def _network(config: VersionConfig, tensors: dict[str, Tensor], path: Path) -> Network:
    # Built without memory first: a configuration that asks for a giant network is refused before it is given room.
    with torch.device("meta"):
        autoencoder = build(config.architecture)
        unet = UNet(config.denoiser.unet) if config.denoiser is not None and config.denoiser.unet is not None else None
    count = len(config.channels)
    expected = {NETWORK + name: tuple(tensor.shape) for name, tensor in autoencoder.state_dict().items()}
    if unet is not None:
        expected |= {UNET + name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    expected |= dict.fromkeys(NORMALISER, (count, 1))
    expected |= dict.fromkeys(LEVELS, (count,)) | _linear_shapes(config)
    check_tensors(tensors, expected, POSITIVE, path)
    put(autoencoder, NETWORK, tensors)
    centre, scale, low, high = (tensors[name] for name in NORMALISER)
    normaliser = Normaliser(centre, scale, low, high, config.recentre)
    return Network(config.architecture, autoencoder, normaliser)


def _linear_shapes(config: VersionConfig) -> dict[str, tuple[int, ...]]:
    linear, count = config.scoring.linear, len(config.channels)
    if linear is None:
        return {}
    width = linear.span * count
    return dict(zip(LINEAR, ((count, 1), (count, 1), (width,), (width, linear.components), (count,)), strict=True))


def _denoiser(config: DenoiserConfig | None, tensors: dict[str, Tensor]) -> Denoiser | None:
    """Of tensors that were checked with the network's."""
    if config is None:
        return None
    if config.unet is None:
        return Denoiser.of(config.choices)
    with torch.device("meta"):
        unet = UNet(config.unet)
    put(unet, UNET, tensors)
    return Denoiser.of(config.choices, SideNetwork(config.unet, unet, config.blind))


def put(network: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Give a network without memory its checked tensors, those whose names begin with `prefix`; it is served from now
    on."""
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    network.load_state_dict(own, strict=True, assign=True)
    network.requires_grad_(False).eval()


def check_tensors(
    tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], positive: Sequence[str], path: Path
) -> None:
    """Raises ModelError naming the tensor that is unknown, missing, of another shape or type, or not finite, or one of
    `positive` that is not."""
    again = "train and register the version again"
    for name in sorted(expected.keys() ^ tensors.keys()):
        what = "is missing" if name in expected else "is not known"
        raise ModelError(f"{path}: tensor {name} {what}: {again}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name] or tensor.dtype != torch.float32:
            raise ModelError(
                f"{path}: tensor {name} is {tensor.dtype} {tuple(tensor.shape)}, not float32 {expected[name]}: {again}"
            )
        if not finite(tensor):
            raise ModelError(f"{path}: tensor {name} holds NaN or infinite values: {again}")
    for name in tensors.keys() & set(positive):
        if not bool((tensors[name] > 0).all()):
            raise ModelError(f"{path}: tensor {name} must be above 0 everywhere: {again}")


def _scoring(config: ScoringConfig, tensors: dict[str, Tensor], where: str) -> Scoring:
    levels = ErrorLevels(tensors[LEVELS[0]], tensors[LEVELS[1]], config.span, config.decay)
    linear = None
    if config.linear is not None:
        view = LinearView(*(tensors[name] for name in LINEAR))
        linear = LinearScore(view, TailScale.of(config.linear.tail, f"{where}: scoring.linear.tail"))
    return Scoring(
        levels=levels,
        newest=TailScale.of(config.newest, f"{where}: scoring.newest"),
        smoothed=TailScale.of(config.smoothed, f"{where}: scoring.smoothed"),
        fused=TailScale.of(config.fused, f"{where}: scoring.fused"),
        threshold=config.threshold,
        start_threshold=config.threshold if config.start_threshold is None else config.start_threshold,
        linear=linear,
        peak=TailScale.of(config.peak, f"{where}: scoring.peak") if config.peak is not None else None,
    )
