"""Images between bytes and numbers: what a frame is, the form it came in, and how large it may be."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stream_ae.errors import RecordError
from stream_ae.records import Float32, Reason

PixelType = Literal["uint8", "uint16", "float32"]

HIGHEST: dict[PixelType, float] = {"uint8": 255.0, "uint16": 65535.0}
"""The largest value of each whole-number type; the lowest is 0."""


class FrameKind(StrEnum):
    """How the bytes of a frame are laid out."""

    PNG = "png"
    JPEG = "jpeg"
    NPY = "npy"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The form that a frame came in, and leaves in.

    axes: of `.npy` and raw only: 2 = (H, W), 3 = (H, W, C). PNG and JPEG say it by their channels, 1 or 3.
    """

    kind: FrameKind
    dtype: PixelType
    channels: int
    height: int
    width: int
    axes: Literal[2, 3] = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, self.height, self.width


@dataclass(frozen=True, slots=True)
class Frame:
    """One image: values (C, H, W) float32 in the input's units, the caller's own to write to.

    uint8 gives 0..255, uint16 0..65535, float32 what it holds, with NaN = missing. A palette gives its colours.
    """

    values: Float32
    format: FrameFormat


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may measure; judged by what its first bytes or headers say, before anything is allocated.

    max_pixels:    height x width. Decoding takes up to 20 bytes for each pixel and channel, for a moment.
    max_channels:  more is taken for a frame whose axes are in another order.
    """

    max_pixels: int = 4096 * 4096
    max_channels: int = 64


def check_size(what: str, height: int, width: int, channels: int, limits: FrameLimits) -> None:
    """Raises RecordError if a frame of this size is not taken."""
    if min(height, width, channels) < 1:
        raise RecordError(Reason.WRONG_FRAME, f"the {what} has {_size(height, width, channels)}: nothing is in it")
    if height * width > limits.max_pixels:
        problem = f"the {what} has {_size(height, width, channels)}; at most {limits.max_pixels} pixels are taken"
        raise RecordError(Reason.IMAGE_TOO_LARGE, f"{problem}: send smaller frames or raise max_pixels")
    if channels > limits.max_channels:
        problem = f"the {what} has {_size(height, width, channels)}; at most {limits.max_channels} channels are taken"
        raise RecordError(Reason.WRONG_FRAME, f"{problem}: the axes are (height, width, channels), in this order")


def _size(height: int, width: int, channels: int) -> str:
    return f"height {height}, width {width}, channels {channels}"
