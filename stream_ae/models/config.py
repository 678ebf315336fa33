"""What `config.json` of a version folder says, read strictly: no key too many, none too few."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from stream_ae.errors import ModelError
from stream_ae.marginals import input_names

SCHEMA: Final = 5
"""Raised when a folder written by this code can no longer be read by the code before it; older ones are read too."""

Config = TypeVar("Config", bound=Struct)

Count = Annotated[int, Meta(ge=1, le=1_000_000)]


Widths = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=16)]
BottleneckKind = Literal["deterministic", "variational"]


class DenseConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="dense"):
    """A dense autoencoder over whole windows: window*channels -> hidden -> latent -> hidden -> window*channels."""

    channels: Count
    window: Count
    hidden: Widths = (64,)
    latent: Count = 16
    bottleneck: BottleneckKind = "deterministic"


class ConvConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="conv1d"):
    """A convolutional autoencoder along time: each of `widths` is a layer of so many channels that halves the time."""

    channels: Count
    window: Count
    widths: Widths = (32, 32)
    kernel: Annotated[int, Meta(ge=1, le=63)] = 5
    latent: Count = 16
    bottleneck: BottleneckKind = "deterministic"


ArchitectureConfig = DenseConfig | ConvConfig


class UNetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A U-Net along time, see `models.unet`: `widths` of the levels, the first at full rate, `strides` between them."""

    channels: Count
    window: Count
    widths: Widths
    strides: Annotated[tuple[Annotated[int, Meta(ge=2, le=16)], ...], Meta(max_length=15)]
    kernel: Annotated[int, Meta(ge=1, le=63)] = 5


CleanedBy = Literal["identity", "autoencoder", "unet"]


class ChannelChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who cleans a channel, and why.

    by:       identity leaves observed values alone.
    fill:     whose estimate stands in for a missing value.
    reason:   a sentence for people.
    figures:  what was measured, by name, see `training.choose`.
    """

    by: CleanedBy
    fill: Literal["autoencoder", "unet"]
    reason: str
    figures: dict[str, float]


class DenoiserConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who cleans what; `blind`: the U-Net learnt without clean data and is never shown the value that it estimates."""

    choices: tuple[ChannelChoice, ...]
    unet: UNetConfig | None = None
    blind: bool = False


class TailConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calibrated scale, see `models.calibration.TailScale`."""

    knots: list[float]
    levels: list[float]
    shape: float
    sigma: float


class LinearConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The linear view; its tensors lie beside the weights."""

    span: Count
    components: Count
    tail: TailConfig


class ScoringConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How errors become a score; the per-channel error levels lie beside the weights."""

    span: Count
    decay: float
    newest: TailConfig
    smoothed: TailConfig
    fused: TailConfig
    threshold: float
    linear: LinearConfig | None = None
    peak: TailConfig | None = None
    start_threshold: float | None = None


class MarginalConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one quantity of normal samples was spread, see `marginals.Marginal`."""

    name: str
    edges: Annotated[tuple[float, ...], Meta(max_length=64)]
    shares: tuple[Annotated[float, Meta(gt=0, le=1)], ...]
    usual: Annotated[float, Meta(ge=0)]


class DriftBinsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What drift of inputs and of latent codes is told by; since schema 5, of images since 3."""

    inputs: Annotated[tuple[MarginalConfig, ...], Meta(max_length=1024)]
    latents: Annotated[tuple[MarginalConfig, ...], Meta(max_length=1024)]


class VersionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `config.json`."""

    schema: Literal[1, 2, 3, 4, 5] = SCHEMA
    architecture: ArchitectureConfig
    channels: tuple[str, ...]
    units: tuple[str, ...]
    window: Count
    lookahead: Annotated[int, Meta(ge=0)]
    recentre: float
    scoring: ScoringConfig
    denoiser: DenoiserConfig | None = None
    drift_bins: DriftBinsConfig | None = None
    lineage: dict[str, str]
    weights_sha256: str


def encoded(config: Struct) -> bytes:
    """Canonical JSON: sorted keys, two spaces, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(config, order="sorted"), indent=2) + b"\n"


def decoded(text: bytes, where: str) -> VersionConfig:
    """The configuration that `text` holds. Raises ModelError naming the key that is unknown, missing or wrong."""
    config = decoded_as(VersionConfig, text, where, "a version's")
    refuse(_problems(config), where)
    return config


def decoded_as(kind: type[Config], text: bytes, where: str, whose: str) -> Config:
    """A configuration of this kind. Raises ModelError naming the key that is unknown, missing or wrong."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(
            f"{where} is not {whose} configuration: {error}. Register the version again, or use the release of "
            "stream-ae that wrote it"
        ) from error


def refuse(problems: Mapping[str, bool], where: str) -> None:
    """Raises ModelError naming the problems that there are."""
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise ModelError(f"{where} contradicts itself: {'; '.join(found)}. Register the version again")


def _problems(config: VersionConfig) -> dict[str, bool]:
    count, architecture = len(config.channels), config.architecture
    inputs = input_names(config.channels, frames=False)
    return {
        f"{count} channels, but {len(config.units)} units": len(config.units) != count,
        f"{count} channels, but the network has {architecture.channels}": architecture.channels != count,
        f"window {config.window}, but the network has {architecture.window}": architecture.window != config.window,
        f"lookahead {config.lookahead} does not fit window {config.window}": config.lookahead >= config.window,
        "an even kernel: only odd ones keep the window's length": _kernel(architecture) % 2 == 0,
        "a U-Net that does not fit: its channels, window, levels or an even kernel": not _unet_fits(config),
        "choices of the denoiser that do not fit the channels or its networks": not _choices_fit(config),
        "two channels of one name": len(set(config.channels)) != count,
        f"span {config.scoring.span} exceeds the window": config.scoring.span > config.window - config.lookahead,
        "the linear view's span exceeds the window": _linear_span(config) > config.window - config.lookahead,
        "drift bins that do not fit the channels, or no bins at all": not bins_fit(config.drift_bins, inputs),
    }


def bins_fit(config: DriftBinsConfig | None, inputs: Sequence[str]) -> bool:
    """Bins of these inputs, each with edges that ascend and a share for each bin."""
    if config is None:
        return True
    each = [
        len(one.shares) == len(one.edges) + 2 and all(low < high for low, high in pairwise(one.edges))
        for one in (*config.inputs, *config.latents)
    ]
    return [one.name for one in config.inputs] == list(inputs) and all(each)


def _linear_span(config: VersionConfig) -> int:
    return config.scoring.linear.span if config.scoring.linear is not None else 0


def _kernel(architecture: ArchitectureConfig) -> int:
    return architecture.kernel if isinstance(architecture, ConvConfig) else 1


def _unet_fits(config: VersionConfig) -> bool:
    unet = config.denoiser.unet if config.denoiser is not None else None
    if unet is None:
        return True
    sizes = (unet.channels, unet.window, len(unet.widths), unet.kernel % 2)
    return sizes == (len(config.channels), config.window, len(unet.strides) + 1, 1)


def _choices_fit(config: VersionConfig) -> bool:
    """A choice for each channel, and none of a U-Net that is not there."""
    if config.denoiser is None:
        return True
    choices = config.denoiser.choices
    there = config.denoiser.unet is not None or all("unet" not in (choice.by, choice.fill) for choice in choices)
    return len(choices) == len(config.channels) and there
