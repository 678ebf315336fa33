"""What `config.json` of an image version says, read strictly: no key too many, none too few."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from stream_ae.marginals import input_names
from stream_ae.models.config import (
    ChannelChoice,
    Count,
    DriftBinsConfig,
    TailConfig,
    Widths,
    bins_fit,
    decoded_as,
    refuse,
)

SCHEMA: Final = 3
"""Raised when a folder written by this code can no longer be read by the code before it; since 2 there may be a
diffusion prior, since 3 drift bins."""

GROUPS: Final = 8
"""Channels of the prior's network are normalised in so many groups."""

Side = Annotated[int, Meta(ge=1, le=16_384)]
BottleneckKind = Literal["deterministic", "variational", "spatial"]
PriorKind = Literal["normal", "diffusion"]
"""What samples are decoded from: N(0, I), or codes of a diffusion prior."""


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


class DiffusionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A diffusion prior over spatial codes, see `images.diffusion`.

    latent: channels of a code; widths: of the levels of its U-Net. times: of the schedule that it learnt with; steps:
    how many of them a sample takes.
    """

    latent: Count
    widths: Annotated[tuple[Annotated[int, Meta(ge=GROUPS, multiple_of=GROUPS)], ...], Meta(min_length=2, max_length=8)]
    times: Annotated[int, Meta(ge=2, le=100_000)]
    steps: Annotated[int, Meta(ge=1, le=100_000)]


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
    schema: Literal[1, 2, 3] = SCHEMA
    architecture: AutoencoderConfig
    channels: tuple[str, ...]
    frame: tuple[Side, Side, Side]
    overlap: Annotated[int, Meta(ge=0)]
    scoring: ImageScoringConfig
    denoiser: ImageDenoiserConfig
    prior: DiffusionConfig | None = None
    drift_bins: DriftBinsConfig | None = None
    lineage: dict[str, str]
    weights_sha256: str


def decoded(text: bytes, where: str) -> ImageVersionConfig:
    """The configuration that `text` holds. Raises ModelError naming the key that is unknown, missing or wrong."""
    config = decoded_as(ImageVersionConfig, text, where, "an image version's")
    refuse(_problems(config), where)
    return config


def _problems(config: ImageVersionConfig) -> dict[str, bool]:
    count, (channels, height, width) = len(config.channels), config.frame
    architecture, unet, choices = config.architecture, config.denoiser.unet, config.denoiser.choices
    patch, inputs = architecture.patch, input_names(config.channels, frames=True)
    needs_unet = any("unet" in (choice.by, choice.fill) for choice in choices)
    return {
        f"{count} channels, but the frame has {channels}": channels != count,
        f"{count} channels, but the network has {architecture.channels}": architecture.channels != count,
        f"{count} channels, but the U-Net has another number": unet is not None and unet.channels != count,
        f"a patch of {patch} in a frame of {height} x {width}": patch[0] > height or patch[1] > width,
        f"tiles of {patch} that overlap by {config.overlap}": 2 * config.overlap > min(patch),
        "choices of the denoiser that do not fit the channels": len(choices) != count,
        "a blind U-Net without the noise of each channel": _noise_missing(config),
        "a choice for a U-Net that is not there": needs_unet and unet is None,
        "two channels of one name": len(set(config.channels)) != count,
        "drift bins that do not fit the channels, or no bins at all": not bins_fit(config.drift_bins, inputs),
        **_problems_of_prior(config),
    }


def _problems_of_prior(config: ImageVersionConfig) -> dict[str, bool]:
    prior, architecture = config.prior, config.architecture
    if prior is None:
        return {}
    return {
        "a diffusion prior in a version of schema 1": config.schema == 1,
        "a diffusion prior over codes that are not spatial": architecture.bottleneck != "spatial",
        "a diffusion prior over frames that are cut into tiles": architecture.patch != config.frame[1:],
        f"a diffusion prior over {prior.latent} channels of {architecture.latent}": prior.latent != architecture.latent,
        f"{prior.steps} steps of {prior.times} times": prior.steps > prior.times,
    }


def _noise_missing(config: ImageVersionConfig) -> bool:
    unet = config.denoiser.unet
    return unet is not None and unet.blind and len(config.denoiser.noise) != len(config.channels)
