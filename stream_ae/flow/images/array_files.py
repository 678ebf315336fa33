"""Frames that are plain numbers: `.npy` files, and raw bytes whose record headers say what they are.

Axes (H, W) or (H, W, C), dtype uint8, uint16 or float32, little-endian. A `.npy` header is read by pattern and never
evaluated, so that neither pickles nor deep nesting are anybody's business. Fortran order is read and leaves as C order.
"""

import math
import re
from typing import Literal

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow.headers import header_text
from stream_ae.flow.images.arrays import values_of
from stream_ae.flow.images.frame import Frame, FrameFormat, FrameKind, FrameLimits, PixelType, check_size
from stream_ae.records import Headers, Reason

MAGIC = b"\x93NUMPY"
SHAPE_HEADER = "shape"
DTYPE_HEADER = "dtype"
_DESCRIPTIONS: dict[str, PixelType] = {"|u1": "uint8", "<u1": "uint8", "<u2": "uint16", "<f4": "float32"}
_DTYPES: dict[str, PixelType] = {"uint8": "uint8", "uint16": "uint16", "float32": "float32"}
_BYTES: dict[PixelType, int] = {"uint8": 1, "uint16": 2, "float32": 4}
# numpy writes 118 bytes; a shape of three numbers needs no more than this.
_MAX_NPY_HEADER = 1024
_DESCR = re.compile(r"['\"]descr['\"]\s*:\s*['\"]([^'\"]*)['\"]")
_ORDER = re.compile(r"['\"]fortran_order['\"]\s*:\s*(True|False)")
_SHAPE = re.compile(r"['\"]shape['\"]\s*:\s*\(([0-9,\s]*)\)")
_NUMBER = re.compile(r"[0-9]{1,10}")


def read_npy(value: bytes, limits: FrameLimits) -> Frame:
    """The frame of a `.npy` file; raises RecordError for one that is damaged, too large or of another dtype."""
    start, header = _npy_header(value)
    descr, order, shape = (pattern.search(header) for pattern in (_DESCR, _ORDER, _SHAPE))
    if order is None or shape is None or (descr is None and "descr" not in header):
        raise RecordError(Reason.DAMAGED_IMAGE, f"the .npy header says {header.strip()!r}, not descr, order and shape")
    if descr is None or descr[1] not in _DESCRIPTIONS:
        what = f"the .npy file holds {descr[1] if descr else 'records'}; uint8, uint16 or float32 are taken"
        raise RecordError(Reason.WRONG_FRAME, f"{what}, little-endian; objects are never unpickled")
    sizes = [size.strip() for size in shape[1].split(",")]
    if sizes[-1] == "":  # (480, 640,) is allowed
        sizes.pop()
    fmt = _format(FrameKind.NPY, sizes, _DESCRIPTIONS[descr[1]], limits)
    return _frame(value, start, fmt, order[1] == "True")


def read_raw(value: bytes, headers: Headers, limits: FrameLimits) -> Frame:
    """The frame that the record headers `shape` ("480,640,3" or "480,640") and `dtype` ("uint8") describe."""
    shape, dtype = header_text(headers, SHAPE_HEADER), header_text(headers, DTYPE_HEADER)
    if shape is None or dtype is None:
        what = f"the value begins with {value[:8].hex(' ')}: no PNG, JPEG or .npy file"
        missing = " and ".join(name for name, text in ((SHAPE_HEADER, shape), (DTYPE_HEADER, dtype)) if text is None)
        advice = f"send one of these, or raw pixels with the record headers shape and dtype (there is no {missing})"
        raise RecordError(Reason.NOT_AN_IMAGE, f"{what}; {advice}")
    if dtype not in _DTYPES:
        raise RecordError(Reason.WRONG_FRAME, f"header dtype is {dtype[:40]!r}; uint8, uint16 or float32 are taken")
    fmt = _format(FrameKind.RAW, [size.strip() for size in shape.split(",")], _DTYPES[dtype], limits)
    return _frame(value, 0, fmt, False)


def is_raw(value: bytes, headers: Headers) -> bool:
    """Whether the headers describe exactly so many bytes: then they are believed whatever the bytes begin with."""
    shape, dtype = header_text(headers, SHAPE_HEADER), header_text(headers, DTYPE_HEADER)
    sizes = [size.strip() for size in (shape or "").split(",")]
    if dtype not in _DTYPES or not _is_shape(sizes):
        return False
    return math.prod(map(int, sizes)) * _BYTES[_DTYPES[dtype]] == len(value)


def npy_bytes(pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]], fmt: FrameFormat) -> bytes:
    """A file of version 1.0, as `numpy.save` writes it, of pixels (H, W, C)."""
    shape = (fmt.height, fmt.width) if fmt.axes == 2 else (fmt.height, fmt.width, fmt.channels)
    descr = np.dtype(fmt.dtype).newbyteorder("<").str
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    padded = header + " " * (-(len(header) + 11) % 64) + "\n"
    return MAGIC + b"\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + raw_bytes(pixels)


def raw_bytes(pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    """The numbers themselves, little-endian."""
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _npy_header(value: bytes) -> tuple[int, str]:
    """Where the numbers begin, and what the header says."""
    version = value[6:8]
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise RecordError(Reason.DAMAGED_IMAGE, f"the .npy file has the version {version.hex(' ')}; 1.0 to 3.0 exist")
    start = 10 if version[0] == 1 else 12
    size = int.from_bytes(value[8:start], "little")
    if size > _MAX_NPY_HEADER:
        what = f"the .npy header measures {size} bytes, more than {_MAX_NPY_HEADER}"
        raise RecordError(Reason.WRONG_FRAME, f"{what}: save a plain array of numbers")
    if len(value) < start + size:
        raise RecordError(Reason.TRUNCATED_IMAGE, f"the .npy file ends within its header, at byte {len(value)}")
    return start + size, value[start : start + size].decode("latin-1")


def _is_shape(sizes: list[str]) -> bool:
    return len(sizes) in (2, 3) and all(_NUMBER.fullmatch(size) for size in sizes)


def _format(kind: FrameKind, sizes: list[str], dtype: PixelType, limits: FrameLimits) -> FrameFormat:
    if not _is_shape(sizes):
        what = f"the {kind} frame has the shape {','.join(sizes)[:60]!r}"
        raise RecordError(Reason.WRONG_FRAME, f"{what}; height,width or height,width,channels are expected")
    height, width, channels = (*map(int, sizes), 1)[:3]
    check_size(f"{kind} frame", height, width, channels, limits)
    axes: Literal[2, 3] = 2 if len(sizes) == 2 else 3
    return FrameFormat(kind, dtype, channels, height, width, axes)


def _frame(value: bytes, start: int, fmt: FrameFormat, fortran: bool) -> Frame:
    count = fmt.height * fmt.width * fmt.channels
    expected, given = count * _BYTES[fmt.dtype], len(value) - start
    if given != expected:
        reason = Reason.TRUNCATED_IMAGE if given < expected else Reason.DAMAGED_IMAGE
        what = f"the {fmt.kind} frame has {given} bytes of pixels; {expected} are announced"
        raise RecordError(reason, f"{what} ({fmt.height} x {fmt.width} x {fmt.channels} {fmt.dtype}): make them agree")
    numbers = np.frombuffer(value, np.dtype(fmt.dtype).newbyteorder("<"), count, start)
    shape = (fmt.height, fmt.width, fmt.channels)
    return Frame(values_of(numbers.reshape(shape, order="F" if fortran else "C"), fmt), fmt)
