"""PNG becomes frames; whatever cannot leave as it came, or is not whole, is refused with its reason."""

import tracemalloc
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from stream_ae.errors import RecordError
from stream_ae.flow.images import FrameFormat, FrameKind, FrameLimits, decode_frame
from stream_ae.records import Reason
from tests.flow.images.files import (
    GREY,
    PALETTE,
    RGB,
    filtered_rows,
    png,
    png_header,
    png_of_chunks,
    saved,
    scene,
)

LIMITS = FrameLimits()
SMALL = scene(4, 6)
WHOLE = png(SMALL)
ROWS = zlib.compress(filtered_rows(SMALL, [0]))
RGB_HEADER = png_header(6, 4, 8, RGB)


def channels_last(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(1, 2, 0)


def refusal(value: bytes, limits: FrameLimits = LIMITS) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode_frame(value, (), limits)
    return caught.value


@given(
    pixels=st.sampled_from(["uint8", "uint16"]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3])))
    ),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    interlaced=st.booleans(),
)
def test_every_filter_depth_and_interlacing_gives_the_pixels(
    pixels: NDArray[Any], filters: list[int], interlaced: bool
) -> None:
    frame = decode_frame(png(pixels, filters, interlaced), (), LIMITS)
    height, width, channels = pixels.shape
    assert frame.format == FrameFormat(FrameKind.PNG, pixels.dtype.name, channels, height, width)  # type: ignore[arg-type]
    assert frame.values.dtype == np.float32
    np.testing.assert_array_equal(channels_last(frame.values), pixels)


def test_a_frame_is_the_callers_own_to_write_to() -> None:
    frame = decode_frame(WHOLE, (), LIMITS)
    frame.values[0, 0, 0] += 1
    assert frame.values.flags.c_contiguous


@pytest.mark.parametrize("colours", [2, 4, 16, 200])
def test_a_palette_gives_its_colours_at_every_depth(colours: int) -> None:
    pixels = scene(20, 30)
    value = saved(pixels, "PNG", mode="P", bits=(colours - 1).bit_length())
    with Image.open(BytesIO(value)) as image:
        expected = np.asarray(image.convert("RGB"))
    frame = decode_frame(value, (), LIMITS)
    assert frame.format == FrameFormat(FrameKind.PNG, "uint8", 3, 20, 30)
    np.testing.assert_array_equal(channels_last(frame.values), expected)


def test_notes_within_and_bytes_behind_the_file_do_not_matter() -> None:
    value = png(SMALL, extra=[(b"gAMA", b"\0\1\x86\xa0"), (b"tEXt", b"by\0me"), (b"prVt", b"?")])
    frame = decode_frame(value + b"padding", (), LIMITS)
    np.testing.assert_array_equal(channels_last(frame.values), SMALL)


def test_pixels_may_come_in_many_chunks() -> None:
    parts = [(b"IDAT", ROWS[at : at + 1]) for at in range(len(ROWS))]
    frame = decode_frame(png_of_chunks([(b"IHDR", RGB_HEADER), *parts, (b"IEND", b"")]), (), LIMITS)
    np.testing.assert_array_equal(channels_last(frame.values), SMALL)


def chunks(header: bytes, *others: tuple[bytes, bytes]) -> bytes:
    return png_of_chunks([(b"IHDR", header), *others, (b"IEND", b"")])


BROKEN: dict[str, tuple[bytes, Reason, str]] = {
    "alpha": (png(scene(3, 3, 4)), Reason.WRONG_FRAME, "alpha"),
    "grey with alpha": (png(scene(3, 3, 2)), Reason.WRONG_FRAME, "alpha"),
    "a transparent colour": (png(SMALL, extra=[(b"tRNS", b"\0\1" * 3)]), Reason.WRONG_FRAME, "transparen"),
    "an animation": (png(SMALL, extra=[(b"acTL", b"\0\0\0\2\0\0\0\0")]), Reason.WRONG_FRAME, "animated"),
    "1-bit grey": (chunks(png_header(8, 1, 1), (b"IDAT", zlib.compress(b"\0\xff"))), Reason.WRONG_FRAME, "1 bits"),
    "4-bit grey": (chunks(png_header(2, 1, 4), (b"IDAT", zlib.compress(b"\0\xff"))), Reason.WRONG_FRAME, "4 bits"),
    "no width": (chunks(png_header(0, 4), (b"IDAT", ROWS)), Reason.WRONG_FRAME, "width 0"),
    "no height": (chunks(png_header(4, 0), (b"IDAT", ROWS)), Reason.WRONG_FRAME, "height 0"),
    "a depth that is none": (chunks(png_header(6, 4, 7, RGB), (b"IDAT", ROWS)), Reason.WRONG_FRAME, "7 bits"),
    "a colour that is none": (chunks(png_header(6, 4, 8, 5), (b"IDAT", ROWS)), Reason.DAMAGED_IMAGE, "header"),
    "no header": (png_of_chunks([(b"IDAT", ROWS), (b"IEND", b"")]), Reason.DAMAGED_IMAGE, "header"),
    "no pixels": (chunks(RGB_HEADER), Reason.TRUNCATED_IMAGE, "0 are there"),
    "a file cut in its pixels": (WHOLE[: len(WHOLE) // 2], Reason.TRUNCATED_IMAGE, "are left"),
    "a file without its end": (WHOLE[:-12], Reason.TRUNCATED_IMAGE, "0 are left"),
    "the first bytes alone": (WHOLE[:8], Reason.TRUNCATED_IMAGE, "byte 8"),
    "a chunk that claims 4 GB": (WHOLE[:33] + b"\xff\xff\xff\xff" + WHOLE[37:], Reason.TRUNCATED_IMAGE, "byte 33"),
    "a flipped bit": (WHOLE[:50] + bytes((WHOLE[50] ^ 1,)) + WHOLE[51:], Reason.DAMAGED_IMAGE, "checksum"),
    "a chunk nobody knows": (png(SMALL, extra=[(b"ABCD", b"")]), Reason.DAMAGED_IMAGE, "ABCD"),
    "a chunk without a name": (png(SMALL, extra=[(b"\0\0\0\0", b"")]), Reason.DAMAGED_IMAGE, "byte 37"),
    "packed pixels that end early": (chunks(RGB_HEADER, (b"IDAT", ROWS[:-6])), Reason.TRUNCATED_IMAGE, "announced"),
    "too few pixels": (
        chunks(RGB_HEADER, (b"IDAT", zlib.compress(filtered_rows(SMALL[:3], [0])))),
        Reason.TRUNCATED_IMAGE,
        "76 bytes",
    ),
    "too many pixels": (
        chunks(RGB_HEADER, (b"IDAT", zlib.compress(filtered_rows(scene(5, 6), [0])))),
        Reason.DAMAGED_IMAGE,
        "more pixels",
    ),
    "a wrong sum of the pixels": (chunks(RGB_HEADER, (b"IDAT", ROWS[:-1] + b"?")), Reason.DAMAGED_IMAGE, "unpack"),
    "pixels that are not packed": (chunks(RGB_HEADER, (b"IDAT", b"hello")), Reason.DAMAGED_IMAGE, "unpack"),
    "a filter that is none": (
        chunks(png_header(1, 1), (b"IDAT", zlib.compress(b"\x09\0"))),
        Reason.DAMAGED_IMAGE,
        "filter",
    ),
    "no palette": (
        chunks(png_header(1, 1, 8, PALETTE), (b"IDAT", zlib.compress(b"\0\0"))),
        Reason.DAMAGED_IMAGE,
        "palette of 0",
    ),
    "a colour behind the palette": (
        chunks(png_header(1, 1, 8, PALETTE), (b"PLTE", b"rgb"), (b"IDAT", zlib.compress(b"\0\1"))),
        Reason.DAMAGED_IMAGE,
        "colour 1",
    ),
}


@pytest.mark.parametrize(("value", "reason", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_png_that_cannot_be_taken_is_refused_with_its_reason(value: bytes, reason: Reason, says: str) -> None:
    error = refusal(value)
    assert error.reason == reason
    assert says in str(error)


def test_too_large_is_told_by_the_header_alone() -> None:
    value = png_of_chunks([(b"IHDR", png_header(100_000, 100_000))])
    error = refusal(value)
    assert error.reason == Reason.IMAGE_TOO_LARGE
    assert "100000" in str(error)
    assert refusal(WHOLE, FrameLimits(max_pixels=23)).reason == Reason.IMAGE_TOO_LARGE
    assert decode_frame(WHOLE, (), FrameLimits(max_pixels=24)).format.width == 6


@pytest.mark.parametrize("name", [b"IDAT", b"iCCP", b"zTXt"])
def test_a_bomb_is_never_unpacked(name: bytes) -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)  # 97 kB
    data = bomb if name == b"IDAT" else b"bomb\0\0" + bomb
    value = chunks(png_header(16, 16, 8, GREY), (name, data))
    tracemalloc.start()
    try:
        refusal(value)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
