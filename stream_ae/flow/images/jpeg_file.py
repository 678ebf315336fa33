"""JPEG without its pixels: which segments there are, whether the file is whole, and what a decoder needs of it.

Grey and colour, baseline and progressive. EXIF is left aside: a frame is taken as the sensor gave it, never turned, and
what leaves carries no orientation. JPEG has no checksums: damage within the pixels, and pixels that are missing before
an end mark, give a frame with grey or wrong pixels, as they do in every viewer, unless next to all of them are missing.
"""

import re
from dataclasses import dataclass

from stream_ae.flow.images.frame import FrameLimits, check_size
from stream_ae.flow.images.refusals import damaged, truncated, unsuitable

MAGIC = b"\xff\xd8\xff"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended, progressive. A block of 8 x 8 costs the first two a bit for its mean and one for its end, the last
# a bit for its mean. Files with less lack most of their pixels, and libjpeg would make up the rest in silence.
_MOST_BLOCKS_OF_BYTE = {0xC0: 4, 0xC1: 4, 0xC2: 8}
# DQT, DHT and DRI; without APP0 and APP14 a decoder would guess at the colours. All the rest is somebody's notes.
_KEPT = frozenset({*_STARTS_OF_FRAME, 0xC4, 0xDB, 0xDD, _SOS, _JFIF, _ADOBE})
_FILL = re.compile(rb"\xff*")
# Within a scan, FF 00 is a plain FF, FF D0..D7 are restart marks, and of several FF the last one counts.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# Encoders write 10 or so; each is one more pass over all pixels, and a megabyte has room for ten thousands of them.
_MAX_SCANS = 32


@dataclass(frozen=True, slots=True)
class JpegFile:
    """essence: the file again, of its segments only those that the pixels need. channels: 1 or 3."""

    width: int
    height: int
    channels: int
    essence: bytes


def read_jpeg(value: bytes, limits: FrameLimits) -> JpegFile:
    """The parts of a whole JPEG file; raises RecordError for a damaged, too large or unsuitable one."""
    at, scans, packed, size, blocks_of_byte = 2, 0, 0, None, 8
    parts = [value[:2]]
    while True:
        marker, start = _marker(value, at)
        if marker == _EOI:
            break
        end = _segment_end(value, start, marker)
        if marker in _STARTS_OF_FRAME:
            if size is not None:
                raise damaged("JPEG", f"has a second header at byte {at}")
            size = _header(marker, value[start + 2 : end], limits)
            blocks_of_byte = _MOST_BLOCKS_OF_BYTE[marker]
        elif marker == _SOS:
            scans += 1
            begin, end = end, _scan_end(value, end)
            packed += end - begin
        if scans > _MAX_SCANS:
            raise damaged("JPEG", f"has more than {_MAX_SCANS} scans")
        if marker in _KEPT:
            parts += [bytes((0xFF, marker)), value[start:end]]
        at = end
    if size is None or not scans:
        raise damaged("JPEG", "has no pixels")
    height, width, channels = size
    if packed * blocks_of_byte < -(-height // 8) * -(-width // 8):
        raise truncated("JPEG", f"{packed} bytes are too few for {height} x {width} pixels")
    return JpegFile(width, height, channels, b"".join([*parts, bytes((0xFF, _EOI))]))


def _marker(value: bytes, at: int) -> tuple[int, int]:
    """The marker at a byte, and where its segment begins."""
    fill = _FILL.match(value, at)
    mark = fill.end() if fill else at
    if mark >= len(value):
        raise truncated("JPEG", f"no end mark in {len(value)} bytes")
    marker = value[mark]
    if mark == at or marker < 0xC0 or 0xD0 <= marker <= _SOI:
        raise damaged("JPEG", f"has no segment at byte {at}")
    return marker, mark + 1


def _segment_end(value: bytes, start: int, marker: int) -> int:
    size = int.from_bytes(value[start : start + 2], "big")
    if start + max(size, 2) > len(value):
        raise truncated("JPEG", f"a segment at byte {start} needs {size} bytes; {len(value) - start} are left")
    if size < 2:
        raise damaged("JPEG", f"has a segment {marker:02X} of {size} bytes at byte {start}")
    return start + size


def _scan_end(value: bytes, at: int) -> int:
    found = _NEXT_MARKER.search(value, at)
    if found is None:
        raise truncated("JPEG", f"no end mark in {len(value)} bytes")
    return found.start()


def _header(marker: int, data: bytes, limits: FrameLimits) -> tuple[int, int, int]:
    """Height, width, channels."""
    if len(data) < 6:
        raise damaged("JPEG", f"has a header of {len(data)} bytes")
    if marker not in _MOST_BLOCKS_OF_BYTE:
        raise unsuitable("JPEG", f"is of a rare kind (marker {marker:02X})", "save it as baseline or progressive")
    precision, channels = data[0], data[5]
    height, width = int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big")
    if channels == 4:
        raise unsuitable("JPEG", "has 4 inks (CMYK)", "save it as grey or RGB")
    if precision != 8 or channels not in (1, 3):
        raise unsuitable("JPEG", f"has {channels} channels of {precision} bits", "save it as 8-bit grey or RGB")
    check_size("JPEG", height, width, channels, limits)
    return height, width, channels
