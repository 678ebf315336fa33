"""Whatever is done to a file, it gives a frame or a reason, within the limits and nothing else."""

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import RecordError
from stream_ae.flow.images import Frame, FrameLimits, decode_frame
from stream_ae.records import Headers, Reason
from tests.flow.images.files import npy, png, png_of_chunks, raw_headers, saved, scene

LIMITS = FrameLimits(max_pixels=100_000, max_channels=8)
FILES: list[bytes] = [
    png(scene(9, 11), [0, 1, 2, 3, 4]),
    png(scene(9, 11, 1, "uint16"), [4], interlaced=True),
    png(scene(9, 11, 3, "uint16"), [3]),
    saved(scene(9, 11), "PNG", mode="P", bits=4),
    saved(scene(24, 40), "JPEG"),
    saved(scene(24, 40, 1), "JPEG"),
    saved(scene(24, 40), "JPEG", progressive=True, restart_marker_rows=1),
    npy(scene(9, 11)),
    npy(scene(9, 11, 1, "float32")),
]
BYTES = st.one_of(st.binary(max_size=6), st.sampled_from([b"\xff", b"\0", b"\xff\xd9", b"\xff\xff\xff\xff", b"IEND"]))
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), BYTES), min_size=1, max_size=5)
HEADERS = st.one_of(
    st.just(()),
    st.builds(raw_headers, st.text("0123456789,- ", max_size=12), st.sampled_from(["uint8", "uint16", "float32"])),
    st.lists(st.tuples(st.sampled_from(["shape", "dtype"]), st.binary(max_size=8)), max_size=3),
)


def edited(value: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """At each place so many bytes are replaced by others: a change, a gap, an insertion or all at once."""
    for place, size, new in edits:
        at = round(place * len(value))
        value = value[:at] + new + value[at + size :]
    return value


def with_right_sums(value: bytes) -> bytes:
    """The chunks of a damaged PNG with checksums that fit, so that the damage gets past them."""
    chunks, at = [], 8
    while at + 12 <= len(value):
        size = min(int.from_bytes(value[at : at + 4], "big"), len(value) - at - 12)
        chunks.append((value[at + 4 : at + 8], value[at + 8 : at + 8 + size]))
        at += 12 + size
    return png_of_chunks(chunks)


def judge(value: bytes, headers: Headers = ()) -> None:
    try:
        frame = decode_frame(value, headers, LIMITS)
    except RecordError as error:
        refused = error
    else:
        assert isinstance(frame, Frame)
        assert frame.values.shape == frame.format.shape
        assert frame.format.height * frame.format.width <= LIMITS.max_pixels
        return
    assert Reason(refused.reason)
    assert 10 < len(str(refused)) < 2000


@settings(max_examples=400)
@given(st.sampled_from(FILES), EDITS)
def test_a_file_with_any_damage_is_a_frame_or_refused(value: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    damaged = edited(value, edits)
    judge(damaged)
    if damaged.startswith(b"\x89PNG\r\n\x1a\n"):
        judge(with_right_sums(damaged))


@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused(value: bytes, place: float) -> None:
    cut = value[: int(place * len(value))]
    try:
        decode_frame(cut, (), LIMITS)
    except RecordError:
        return
    raise AssertionError(f"{len(cut)} of {len(value)} bytes gave a frame")


@given(
    st.binary(max_size=40), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x93NUMPY\x01\0"]), HEADERS
)
def test_any_bytes_with_any_headers_are_a_frame_or_refused(value: bytes, start: bytes, headers: Headers) -> None:
    judge(start + value, headers)


@given(st.binary(max_size=60), st.sampled_from(["uint8", "float32"]), st.text(max_size=10))
def test_headers_that_lie_are_refused(value: bytes, dtype: str, shape: str) -> None:
    judge(value, raw_headers(shape, dtype))


@given(st.binary(max_size=200))
def test_pixels_that_unpack_to_anything_are_a_frame_or_refused(rows: bytes) -> None:
    header = b"\0\0\0\x05\0\0\0\x03\x08\0\0\0\0"
    judge(png_of_chunks([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]))
