"""The one door to Pillow (optional extra `images`): row filters of PNG, JPEG both ways.

Pillow and not OpenCV or imagecodecs: 22 MB under MIT-CMU instead of 150 and 80 MB with dozens of libraries inside. It
decodes 1080p PNG as fast as they do (28, 28, 24 ms) and JPEG at three quarters of their speed (11, 8, 8 ms), and what
it lacks, 16-bit RGB, it gives in two halves (114 instead of 60 ms).
"""

import struct
from functools import cache
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar
from zlib import compress

import numpy as np
from numpy.typing import NDArray

from stream_ae.errors import ConfigError, RecordError
from stream_ae.flow.images import png_file
from stream_ae.flow.images.arrays import Pixels
from stream_ae.flow.images.jpeg_file import JpegFile
from stream_ae.flow.images.png_file import PngFile
from stream_ae.records import Reason

if TYPE_CHECKING:
    from PIL.Image import Image

Number = TypeVar("Number", np.uint8, np.uint16)

JPEG_QUALITY = 95
JPEG_MAX_SIDE = 65500
_BROKEN = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error)
_RAW_MODES = {1: "P;1", 2: "P;2", 4: "P;4", 8: "P"}


@cache
def pillow() -> ModuleType:
    """Pillow's module Image; raises ConfigError where Pillow is not installed."""
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        problem = f"PNG and JPEG need Pillow, which is not installed ({error})"
        raise ConfigError(f"{problem}: pip install 'stream-ae[images]'") from error


def png_pixels(file: PngFile) -> Pixels:
    """(H, W) or (H, W, 3) in uint8 or uint16; raises RecordError where the rows are not filtered as PNG has it."""
    if file.colour == png_file.PALETTE:
        return _coloured(_array(_unfiltered(file, "P", _RAW_MODES[file.depth]), np.uint8), file.palette)
    if file.depth == 8:
        mode = "L" if file.colour == png_file.GREY else "RGB"
        return _array(_unfiltered(file, mode, mode), np.uint8)
    if file.colour == png_file.GREY:
        return _array(_unfiltered(file, "I;16", "I;16B"), np.uint16)
    # Pillow (13) keeps one byte of each value: the first if told big-endian, the second if told little-endian.
    high = _array(_unfiltered(file, "RGB", "RGB;16B"), np.uint16)
    low = _array(_unfiltered(file, "RGB", "RGB;16L"), np.uint16)
    both: NDArray[np.uint16] = (high << np.uint16(8)) | low
    return both


def jpeg_pixels(file: JpegFile) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3); raises RecordError where the file cannot be decoded."""
    pillow()
    # The class itself: `Image.open` would try other formats and has a limit of its own, for the whole process.
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with JpegImageFile(BytesIO(file.essence)) as image:
            size, mode = image.size, image.mode
            pixels = _array(image, np.uint8)
    except _BROKEN as error:
        what = f"the JPEG cannot be decoded ({error})"
        raise RecordError(Reason.DAMAGED_IMAGE, f"{what}: send the file as the camera wrote it") from error
    if size != (file.width, file.height) or mode != ("L" if file.channels == 1 else "RGB"):
        raise RecordError(Reason.DAMAGED_IMAGE, f"the JPEG decodes to {mode} {size}, not to what its header says")
    return pixels


def jpeg_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A baseline file of quality 95, colours at half the resolution, of pixels (H, W, 1) or (H, W, 3)."""
    packed = BytesIO()
    grey = pixels.shape[2] == 1
    pillow().fromarray(pixels[..., 0] if grey else pixels).save(packed, "JPEG", quality=JPEG_QUALITY)
    return packed.getvalue()


def _unfiltered(file: PngFile, mode: str, raw_mode: str) -> "Image":
    """Pillow inflates as it undoes the filters; the rows are inflated already, so they go in stored (2 ms)."""
    stored = compress(file.rows, 0)
    size = (file.width, file.height)
    try:
        image: Image = pillow().frombytes(mode, size, stored, "zip", (raw_mode, int(file.interlaced)))
    except ValueError as error:
        what = f"the PNG has rows that no filter fits ({error})"
        raise RecordError(Reason.DAMAGED_IMAGE, f"{what}: send the file as the camera wrote it") from error
    return image


def _array(image: "Image", dtype: type[Number]) -> NDArray[Number]:
    return np.asarray(image).astype(dtype, copy=False)


def _coloured(indices: NDArray[np.uint8], palette: bytes) -> NDArray[np.uint8]:
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    highest = int(indices.max())
    if highest >= len(colours):
        what = f"the PNG uses colour {highest} of a palette of {len(colours)}"
        raise RecordError(Reason.DAMAGED_IMAGE, f"{what}: send the file as the camera wrote it")
    return colours[indices]
