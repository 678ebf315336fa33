"""What a version says to those that run no model: read from its `config.json` alone, without torch."""

from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from stream_ae.errors import ModelError
from stream_ae.marginals import DriftBins
from stream_ae.models.config import DriftBinsConfig, decoded_as
from stream_ae.models.drift_bins import bins_of


@dataclass(frozen=True, slots=True)
class About:
    """`frame`: (C, H, W) of frames, None of readings. `drift_bins`: None in a version of before there were any."""

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None = None
    drift_bins: DriftBins | None = None


class _Part(Struct):
    """Of the configuration of either kind, what is read here."""

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None = None
    drift_bins: DriftBinsConfig | None = None


def read_about(folder: Path) -> About:
    """Of the version in a folder. Raises ModelError if it is not to be read."""
    config = folder / "config.json"
    try:
        text = config.read_bytes()
    except OSError as error:
        raise ModelError(f"{config} cannot be read ({error.strerror}): fetch the version again") from error
    found = decoded_as(_Part, text, str(config), "a version's")
    return About(found.channels, found.frame, bins_of(found.drift_bins))
