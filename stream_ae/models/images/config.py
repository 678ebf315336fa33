"""What `config.json` of an image version says, read strictly: no key too many, none too few."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from stream_ae.errors import ModelError
from stream_ae.models.config import ChannelChoice, Count, TailConfig, Widths

SCHEMA: Final = 1
"""Raised when a folder written by this code can no longer be read by the code before it."""

Side = Annotated[int, Meta(ge=1, le=16_384)]
BottleneckKind = Literal["deterministic", "variational", "spatial"]


class AutoencoderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A convolutional autoencoder over patches: each of `widths` is a level of so many channels that halves both sides.

    latent:     length of a flat code, or channels of a spatial one.
    bottleneck: spatial = a Gaussian at every place of the smallest level, as latent diffusion has it.
    """

    channels: Count
    patch: tuple[Side, Side]
    widths: Widths
    latent: Count
    bottleneck: BottleneckKind = "deterministic"


class ImageUNetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A U-Net over images, see `images.unet`: `widths` of the levels, each half as large as the one before.

    blind: it learnt without clean frames.
    """

    channels: Count
    widths: Annotated[tuple[Count, ...], Meta(min_length=2, max_length=8)]
    blind: bool = False


class ImageDenoiserConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who cleans what; `noise`: each channel's variance of white noise in the network's units, for a blind U-Net."""

    choices: tuple[ChannelChoice, ...]
    unet: ImageUNetConfig | None = None
    noise: tuple[Annotated[float, Meta(ge=0)], ...] = ()


class ContrastConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `images.scoring.Contrasts`."""

    usual: Annotated[float, Meta(gt=0)]
    least: Annotated[float, Meta(gt=0)]
    most: Annotated[float, Meta(gt=0)]


class ImageScoringConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How errors become a score; the levels of each pixel and the components lie beside the weights."""

    blur: Annotated[float, Meta(gt=0, le=16)]
    components: Count
    contrasts: ContrastConfig
    mean: TailConfig
    peak: TailConfig
    linear: TailConfig
    fused: TailConfig
    threshold: float


class ImageVersionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `config.json`; `holds` tells it from the version of a signal model."""

    holds: Literal["images"] = "images"
    schema: Literal[1] = SCHEMA
    architecture: AutoencoderConfig
    channels: tuple[str, ...]
    frame: tuple[Side, Side, Side]
    overlap: Annotated[int, Meta(ge=0)]
    scoring: ImageScoringConfig
    denoiser: ImageDenoiserConfig
    lineage: dict[str, str]
    weights_sha256: str


def encoded(config: ImageVersionConfig) -> bytes:
    """Canonical JSON: sorted keys, two spaces, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(config, order="sorted"), indent=2) + b"\n"


def decoded(text: bytes, where: str) -> ImageVersionConfig:
    """The configuration that `text` holds. Raises ModelError naming the key that is unknown, missing or wrong."""
    try:
        config = msgspec.json.decode(text, type=ImageVersionConfig)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(
            f"{where} is not an image version's configuration: {error}. Register the version again, or use the release "
            "of stream-ae that wrote it"
        ) from error
    _check(config, where)
    return config


def _check(config: ImageVersionConfig, where: str) -> None:
    count, (channels, height, width) = len(config.channels), config.frame
    architecture, unet, choices = config.architecture, config.denoiser.unet, config.denoiser.choices
    patch = architecture.patch
    needs_unet = any("unet" in (choice.by, choice.fill) for choice in choices)
    problems = {
        f"{count} channels, but the frame has {channels}": channels != count,
        f"{count} channels, but the network has {architecture.channels}": architecture.channels != count,
        f"{count} channels, but the U-Net has another number": unet is not None and unet.channels != count,
        f"a patch of {patch} in a frame of {height} x {width}": patch[0] > height or patch[1] > width,
        f"tiles of {patch} that overlap by {config.overlap}": 2 * config.overlap > min(patch),
        "choices of the denoiser that do not fit the channels": len(choices) != count,
        "a blind U-Net without the noise of each channel": _noise_missing(config),
        "a choice for a U-Net that is not there": needs_unet and unet is None,
        "two channels of one name": len(set(config.channels)) != count,
    }
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise ModelError(f"{where} contradicts itself: {'; '.join(found)}. Register the version again")


def _noise_missing(config: ImageVersionConfig) -> bool:
    unet = config.denoiser.unet
    return unet is not None and unet.blind and len(config.denoiser.noise) != len(config.channels)
