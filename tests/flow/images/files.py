"""Image files put together by hand from their specifications: reading is judged by something else than writing."""

import io
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stream_ae.records import Headers

Chunks = Iterable[tuple[bytes, bytes]]
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_header(width: int, height: int, depth: int = 8, colour: int = GREY, interlaced: bool = False) -> bytes:
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((depth, colour, 0, 0, interlaced))


def png_of_chunks(chunks: Chunks) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts += [len(data).to_bytes(4, "big"), name, data, zlib.crc32(name + data).to_bytes(4, "big")]
    return b"".join(parts)


def png(pixels: NDArray[Any], filters: Sequence[int] = (0,), interlaced: bool = False, extra: Chunks = ()) -> bytes:
    """Pixels (H, W) or (H, W, C) of uint8 or uint16; row i has filter i of `filters`, which repeat."""
    stacked = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    colour = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}[stacked.shape[2]]
    parts = [stacked[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [stacked]
    rows = b"".join(filtered_rows(part, filters) for part in parts if part.size)
    height, width = pixels.shape[:2]
    header = png_header(width, height, pixels.itemsize * 8, colour, interlaced)
    return png_of_chunks([(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def filtered_rows(pixels: NDArray[Any], filters: Sequence[int]) -> bytes:
    """PNG specification, 9.2: each byte less a guess from the bytes left, above and above left of it."""
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(len(pixels), -1).astype(int)
    step = pixels.itemsize * pixels.shape[2]
    above, packed = np.zeros(rows.shape[1], int), bytearray()
    for y, row in enumerate(rows):
        kind = filters[y % len(filters)]
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = (0 * row, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]
        packed += bytes((kind, *((row - guess) % 256).tolist()))
        above = row
    return bytes(packed)


def _paeth(left: NDArray[Any], above: NDArray[Any], corner: NDArray[Any]) -> NDArray[Any]:
    guess = left + above - corner
    far_left, far_above, far_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    nearest = np.where(far_above <= far_corner, above, corner)
    return np.where((far_left <= far_above) & (far_left <= far_corner), left, nearest)


def saved(pixels: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    """As Pillow saves it, converted to a mode first if one is given."""
    image = Image.fromarray(pixels)
    packed = io.BytesIO()
    (image.convert(mode) if mode else image).save(packed, kind, **options)
    return packed.getvalue()


def npy(array: NDArray[Any], **options: Any) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array, **options)
    return packed.getvalue()


def npy_of_header(header: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    size = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + header.encode("latin-1") + body


def raw_headers(shape: str, dtype: str) -> Headers:
    return (("shape", shape.encode()), ("dtype", dtype.encode()))


def scene(height: int, width: int, channels: int = 3, dtype: str = "uint8") -> NDArray[Any]:
    """(H, W) for one channel, else (H, W, C): waves with a little noise, like a photograph in small."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(5).normal(0, 2, (height, width))
    planes = [120 + 60 * np.sin(x / 7 + k) + 40 * np.cos(y / 5) + noise for k in range(channels)]
    pixels = (np.stack(planes, -1) * (257 if dtype == "uint16" else 1)).astype(dtype)
    return pixels[..., 0] if channels == 1 else pixels
