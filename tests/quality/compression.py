"""Codes as a way to store images, against JPEG at the same PSNR."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stream_ae.models.images import ImageDetector
from stream_ae.records import Float32, Float64
from tests.quality.images import psnr

DEPTHS = (32, 8, 4)
QUALITIES = (*range(1, 10), *range(10, 96, 5))
START_OF_SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class Compressed:
    """One way to store an image. PSNR in dB from the mean squared error over all held-out images; bits of an image.

    numbers:   of a code, each stored in `depth` bits; ranges and weights are stored once, so they do not count.
    jpeg_bits: mean size of a JPEG at the quality that gives this PSNR, interpolated, and `jpeg_scan_bits` of its pixels
               alone, as if headers and tables were stored once too. NaN where no quality gives so low a PSNR.
    """

    seed: int
    model: str
    numbers: int
    depth: int
    psnr: float
    bits: int
    jpeg_bits: float
    jpeg_scan_bits: float


def compressed_rows(
    seed: int, model: str, detector: ImageDetector, codes: Float32, held_out: Float32
) -> Iterator[Compressed]:
    """Images (N, 1, H, W), 0 to 1, through codes of each depth; ranges of codes are those of images learnt from."""
    numbers, own, (levels, sizes, scans) = detector.code_size, detector.encode(held_out), jpeg_curve(held_out)
    for depth in DEPTHS:
        found = psnr(held_out, detector.decode(own if depth == 32 else quantised(own, codes, depth)))[0]
        jpeg, scan = (float(np.interp(found, levels, bits, left=np.nan)) for bits in (sizes, scans))
        yield Compressed(seed, model, numbers, depth, found, numbers * depth, jpeg, scan)


def quantised(codes: Float32, seen: Float32, depth: int) -> Float32:
    """Each number of codes (N, ...) at the nearest of 2^depth levels over the range of that number in codes seen.

    >>> quantised(np.float32([[0.2], [0.9], [7.0]]), np.float32([[0.0], [1.0]]), 1).tolist()
    [[0.0], [1.0], [1.0]]
    """
    low, high = seen.min(0), seen.max(0)
    width = np.maximum(high - low, 1e-12) / (2**depth - 1)
    return np.asarray(low + np.rint((np.clip(codes, low, high) - low) / width) * width, np.float32)


def jpeg_curve(x: Float32) -> tuple[Float64, Float64, Float64]:
    """For rising qualities PSNR of images (N, 1, H, W), 0 to 1, mean bits of a file, and of what follows its header."""
    bytes_ = np.rint(255 * x[:, 0]).astype(np.uint8)
    found = []
    for quality in QUALITIES:
        files = [_jpeg(image, quality) for image in bytes_]
        back = np.stack([np.asarray(Image.open(io.BytesIO(file)), np.float32) for file in files])[:, None]
        sizes = np.mean([(len(file), scan_size(file)) for file in files], axis=0)
        found.append((psnr(x, np.float32(1 / 255) * back)[0], *(8.0 * sizes)))
    levels, sizes_, scans = np.array(found, np.float64).T
    return np.maximum.accumulate(levels), sizes_, scans


def scan_size(file: bytes) -> int:
    """Bytes of a JPEG's coded pixels, without headers and tables."""
    place, kind = 2, 0
    while kind != START_OF_SCAN:
        kind, size = struct.unpack(">xBH", file[place : place + 4])
        place += 2 + size
    return len(file) - place - len(b"\xff\xd9")


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()
