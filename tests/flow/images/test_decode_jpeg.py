"""JPEG becomes frames; whatever cannot leave as it came, or is not whole, is refused with its reason."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stream_ae.errors import RecordError
from stream_ae.flow.images import FrameFormat, FrameKind, FrameLimits, decode_frame
from stream_ae.records import Reason
from tests.flow.images.files import saved, scene

LIMITS = FrameLimits()
WHOLE = saved(scene(24, 40), "JPEG")
SIZE_AT = WHOLE.index(b"\xff\xc0") + 5  # height, width, channels
SCAN_AT = WHOLE.index(b"\xff\xda")


def as_pillow_has_it(value: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(value)) as image:
        return np.asarray(image)


def patched(value: bytes, at: int, new: bytes) -> bytes:
    return value[:at] + new + value[at + len(new) :]


def refusal(value: bytes, limits: FrameLimits = LIMITS) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode_frame(value, (), limits)
    return caught.value


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_of_every_usual_kind(channels: int, options: dict[str, Any]) -> None:
    value = saved(scene(24, 40, channels), "JPEG", **options)
    frame = decode_frame(value, (), LIMITS)
    assert frame.format == FrameFormat(FrameKind.JPEG, "uint8", channels, 24, 40)
    expected = as_pillow_has_it(value).reshape(24, 40, channels)
    np.testing.assert_array_equal(frame.values.transpose(1, 2, 0), expected)


def test_an_orientation_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    frame = decode_frame(saved(scene(24, 40), "JPEG", exif=exif), (), LIMITS)
    assert frame.format.shape == (3, 24, 40)


def test_notes_within_and_bytes_behind_the_file_do_not_matter() -> None:
    note = b"\xff\xfe\x00\x06note" + b"\xff\xe2\x00\x08MPF\0??"
    frame = decode_frame(WHOLE[:2] + note + WHOLE[2:] + b"padding", (), LIMITS)
    np.testing.assert_array_equal(frame.values, decode_frame(WHOLE, (), LIMITS).values)


def test_fill_bytes_before_a_mark_do_not_matter() -> None:
    frame = decode_frame(WHOLE[:2] + b"\xff" * 1000 + WHOLE[2:-2] + b"\xff" * 1000 + WHOLE[-2:], (), LIMITS)
    np.testing.assert_array_equal(frame.values, decode_frame(WHOLE, (), LIMITS).values)


def test_many_fill_bytes_take_no_longer_than_others() -> None:
    """A search that starts anew at each byte would take minutes for a megabyte of them."""
    value = WHOLE[:-2] + (b"\xff" * 2_000_000 + b"\0") * 2
    assert refusal(value).reason == Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize("options", [{"optimize": True}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_one_colour_is_no_truncated_one(channels: int, options: dict[str, Any]) -> None:
    """As few bytes as a whole file can have: its tables are made for it."""
    pixels = np.full((800, 800, 3)[: 2 if channels == 1 else 3], 128, np.uint8)
    frame = decode_frame(saved(pixels, "JPEG", quality=5, **options), (), LIMITS)
    assert (frame.values == 128).all()


def test_damage_within_the_pixels_goes_unseen() -> None:
    """There is no checksum in the format; this is known and said."""
    frame = decode_frame(WHOLE[: SCAN_AT + 60] + WHOLE[-2:], (), LIMITS)
    assert frame.format.shape == (3, 24, 40)


BROKEN: dict[str, tuple[bytes, Reason, str]] = {
    "four inks": (saved(scene(8, 8), "JPEG", mode="CMYK"), Reason.WRONG_FRAME, "CMYK"),
    "two channels": (patched(WHOLE, SIZE_AT + 4, b"\x02"), Reason.WRONG_FRAME, "2 channels"),
    "12 bits": (patched(WHOLE, SIZE_AT - 1, b"\x0c"), Reason.WRONG_FRAME, "12 bits"),
    "a lossless one": (patched(WHOLE, SIZE_AT - 4, b"\xc3"), Reason.WRONG_FRAME, "C3"),
    "no width": (patched(WHOLE, SIZE_AT + 2, b"\0\0"), Reason.WRONG_FRAME, "width 0"),
    "no height": (patched(WHOLE, SIZE_AT, b"\0\0"), Reason.WRONG_FRAME, "height 0"),
    "a huge size": (patched(WHOLE, SIZE_AT, b"\xff\xff\xff\xff"), Reason.IMAGE_TOO_LARGE, "65535"),
    "the first bytes alone": (WHOLE[:3], Reason.TRUNCATED_IMAGE, "3 bytes"),
    "a file cut in its pixels": (WHOLE[: SCAN_AT + 60], Reason.TRUNCATED_IMAGE, "no end mark"),
    "a file cut in a segment": (WHOLE[:30], Reason.TRUNCATED_IMAGE, "are left"),
    "a file without its end": (WHOLE[:-2], Reason.TRUNCATED_IMAGE, "no end mark"),
    "a large size of few bytes": (patched(WHOLE, SIZE_AT, b"\x10\0\x10\0"), Reason.TRUNCATED_IMAGE, "too few"),
    "a file without pixels": (WHOLE[:SCAN_AT] + b"\xff\xd9", Reason.DAMAGED_IMAGE, "no pixels"),
    "a start and an end": (b"\xff\xd8\xff\xd9", Reason.DAMAGED_IMAGE, "no pixels"),
    "bytes between the segments": (WHOLE[:20] + b"??" + WHOLE[20:], Reason.DAMAGED_IMAGE, "byte 20"),
    "a segment of no bytes": (WHOLE[:2] + b"\xff\xfe\0\0" + WHOLE[2:], Reason.DAMAGED_IMAGE, "byte 4"),
    "two files in one": (WHOLE[:-2] + WHOLE[2:], Reason.DAMAGED_IMAGE, "second header"),
    "tables that are missing": (WHOLE.replace(b"\xff\xdb", b"\xff\xfe"), Reason.DAMAGED_IMAGE, "cannot be decoded"),
    "ten thousand scans": (WHOLE[:-2] + WHOLE[SCAN_AT:-2] * 10_000 + WHOLE[-2:], Reason.DAMAGED_IMAGE, "scans"),
}


@pytest.mark.parametrize(("value", "reason", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_jpeg_that_cannot_be_taken_is_refused_with_its_reason(value: bytes, reason: Reason, says: str) -> None:
    error = refusal(value)
    assert error.reason == reason
    assert says in str(error)


def test_the_usual_huffman_tables_may_be_left_out_as_in_motion_jpeg() -> None:
    frame = decode_frame(WHOLE.replace(b"\xff\xc4", b"\xff\xfe"), (), LIMITS)
    np.testing.assert_array_equal(frame.values, decode_frame(WHOLE, (), LIMITS).values)
