"""A record's bytes become a frame, and a frame bytes of the same form.

The bytes say themselves what they are, by how they begin; raw frames say it in their record headers.
"""

from stream_ae.errors import RecordError
from stream_ae.flow.images import array_files, jpeg_file, png_file
from stream_ae.flow.images.array_files import is_raw, npy_bytes, raw_bytes, read_npy, read_raw
from stream_ae.flow.images.arrays import pixels_of, values_of
from stream_ae.flow.images.frame import Frame, FrameFormat, FrameKind, FrameLimits, PixelType
from stream_ae.flow.images.jpeg_file import read_jpeg
from stream_ae.flow.images.pixels import JPEG_MAX_SIDE, jpeg_bytes, jpeg_pixels, png_pixels
from stream_ae.flow.images.png_file import read_png, write_png
from stream_ae.records import Float32, Headers, Reason


def decode_frame(value: bytes, headers: Headers, limits: FrameLimits) -> Frame:
    """The frame in a record's value; raises RecordError for anything that is not a whole frame within the limits.

    ConfigError where it is PNG or JPEG and the extra `images` is not installed.
    """
    if not value:
        raise RecordError(Reason.EMPTY, "the value is empty; an image is expected")
    if value.startswith(png_file.MAGIC) and not is_raw(value, headers):
        return _png(value, limits)
    if value.startswith(jpeg_file.MAGIC) and not is_raw(value, headers):
        return _jpeg(value, limits)
    if value.startswith(array_files.MAGIC) and not is_raw(value, headers):
        return read_npy(value, limits)
    return read_raw(value, headers, limits)


def encode_frame(values: Float32, fmt: FrameFormat, lossy: bool = False) -> bytes:
    """The bytes of values (C, H, W) in the form that the frame came in; the same bytes for the same values.

    What came as JPEG leaves as PNG, which keeps what the model said. With `lossy` it leaves as JPEG of quality 95,
    unless a side exceeds the 65500 pixels that libjpeg writes at most. Whole numbers are rounded half to even and
    clipped. Raises RecordError for NaN that no pixel can hold.
    """
    pixels = pixels_of(values, fmt)
    if fmt.kind is FrameKind.NPY:
        return npy_bytes(pixels, fmt)
    if fmt.kind is FrameKind.RAW:
        return raw_bytes(pixels)
    if fmt.kind is FrameKind.JPEG and lossy and max(fmt.shape) <= JPEG_MAX_SIDE:
        return jpeg_bytes(pixels)
    return write_png(pixels)


def _png(value: bytes, limits: FrameLimits) -> Frame:
    file = read_png(value, limits)
    pixels = png_pixels(file)
    dtype: PixelType = "uint16" if file.depth == 16 else "uint8"
    fmt = FrameFormat(FrameKind.PNG, dtype, file.channels, file.height, file.width)
    return Frame(values_of(pixels, fmt), fmt)


def _jpeg(value: bytes, limits: FrameLimits) -> Frame:
    file = read_jpeg(value, limits)
    fmt = FrameFormat(FrameKind.JPEG, "uint8", file.channels, file.height, file.width)
    return Frame(values_of(jpeg_pixels(file), fmt), fmt)
