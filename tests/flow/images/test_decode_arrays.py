"""`.npy` files and raw frames: plain numbers of which only headers can lie."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from stream_ae.errors import RecordError
from stream_ae.flow.images import FrameKind, FrameLimits, decode_frame
from stream_ae.records import Headers, Reason
from tests.flow.images.files import npy, npy_of_header, png, raw_headers, scene

LIMITS = FrameLimits()
GOOD_HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }"
SIX = bytes(range(6))

ARRAYS = st.sampled_from(["uint8", "uint16", "float32"]).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        st.one_of(
            st.tuples(st.integers(1, 6), st.integers(1, 6)),
            st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 8)),
        ),
        elements=st.floats(width=32, allow_infinity=False) if dtype == "float32" else None,
    )
)


def refusal(value: bytes, headers: Headers = (), limits: FrameLimits = LIMITS) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode_frame(value, headers, limits)
    return caught.value


def planes(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@given(ARRAYS)
def test_an_array_comes_through_as_npy_and_raw(pixels: NDArray[Any]) -> None:
    shape = ",".join(map(str, pixels.shape))
    for value, headers, kind in (
        (npy(pixels), (), FrameKind.NPY),
        (pixels.tobytes(), raw_headers(shape, pixels.dtype.name), FrameKind.RAW),
    ):
        frame = decode_frame(value, headers, LIMITS)
        np.testing.assert_array_equal(frame.values, planes(pixels))
        assert frame.format.shape == planes(pixels).shape
        assert (frame.format.kind, frame.format.axes) == (kind, pixels.ndim)
        assert frame.format.dtype == pixels.dtype.name


def test_fortran_order_is_the_same_array() -> None:
    pixels = np.asfortranarray(scene(5, 7))
    assert b"True" in npy(pixels)[:80]
    np.testing.assert_array_equal(decode_frame(npy(pixels), (), LIMITS).values, planes(pixels))


@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00"])
def test_every_version_and_spelling_of_a_npy_header_is_read(version: bytes) -> None:
    spelt = '{"shape":(2,3,),"fortran_order":False,"descr":"<u1"}\n'
    for header in (GOOD_HEADER, spelt):
        frame = decode_frame(npy_of_header(header, SIX, version), (), LIMITS)
        np.testing.assert_array_equal(frame.values, [[[0, 1, 2], [3, 4, 5]]])


def test_nan_is_missing_and_infinity_is_refused() -> None:
    pixels = np.array([[1, np.nan], [2, np.inf]], np.float32)
    assert np.isnan(decode_frame(npy(pixels[:1]), (), LIMITS).values[0, 0, 1])
    error = refusal(npy(pixels))
    assert error.reason == Reason.NOT_FINITE
    assert "x 1, y 1, channel 0" in str(error)


class _Bomb:
    """Unpickled, it would fail the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was read",)


def header(descr: str = "'|u1'", order: str = "False", shape: str = "(2, 3)") -> bytes:
    return npy_of_header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}", SIX)


BROKEN_NPY: dict[str, tuple[bytes, Reason, str]] = {
    "a pickle": (npy(np.array([[_Bomb()]], object)), Reason.WRONG_FRAME, "|O"),
    "a pickle that says it is plain": (npy_of_header(GOOD_HEADER, pickle.dumps(_Bomb())), Reason.DAMAGED_IMAGE, "6"),
    "float64": (npy(np.zeros((2, 2))), Reason.WRONG_FRAME, "<f8"),
    "big-endian": (npy(np.zeros((2, 2), ">u2")), Reason.WRONG_FRAME, ">u2"),
    "truths": (npy(np.zeros((2, 2), bool)), Reason.WRONG_FRAME, "|b1"),
    "records": (npy(np.zeros((2, 2), [("r", "u1")])), Reason.WRONG_FRAME, "records"),
    "one axis": (npy(np.zeros(5, np.uint8)), Reason.WRONG_FRAME, "'5'"),
    "four axes": (npy(np.zeros((1, 2, 2, 3), np.uint8)), Reason.WRONG_FRAME, "1,2,2,3"),
    "no axes": (npy(np.array(5, np.uint8)), Reason.WRONG_FRAME, "shape"),
    "channels first": (npy(np.zeros((3, 80, 90), np.uint8)), Reason.WRONG_FRAME, "channels 90"),
    "nothing in it": (npy(np.zeros((0, 5), np.uint8)), Reason.WRONG_FRAME, "height 0"),
    "too large": (header(shape="(99999999, 9)"), Reason.IMAGE_TOO_LARGE, "99999999"),
    "a number of many digits": (header(shape=f"({'9' * 400}, 3)"), Reason.WRONG_FRAME, "shape"),
    "a negative number": (header(shape="(-2, 3)"), Reason.DAMAGED_IMAGE, "(-2, 3)"),
    "a wrong order": (header(order="None"), Reason.DAMAGED_IMAGE, "None"),
    "a header that is none": (npy_of_header("hello", SIX), Reason.DAMAGED_IMAGE, "hello"),
    "a header that nests": (npy_of_header("(" * 1000, SIX), Reason.DAMAGED_IMAGE, "((("),
    "a huge header": (npy_of_header(GOOD_HEADER + " " * 5000, SIX), Reason.WRONG_FRAME, "5059 bytes"),
    "a header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + SIX, Reason.WRONG_FRAME, "4294967295"),
    "a header cut off": (npy_of_header(GOOD_HEADER, b"")[:40], Reason.TRUNCATED_IMAGE, "byte 40"),
    "the first bytes alone": (b"\x93NUMPY", Reason.DAMAGED_IMAGE, "version"),
    "version 9": (npy_of_header(GOOD_HEADER, SIX, b"\x09\x00"), Reason.DAMAGED_IMAGE, "09 00"),
    "a byte too few": (npy_of_header(GOOD_HEADER, SIX[:-1]), Reason.TRUNCATED_IMAGE, "5 bytes"),
    "a byte too many": (npy_of_header(GOOD_HEADER, SIX + b"!"), Reason.DAMAGED_IMAGE, "7 bytes"),
}


@pytest.mark.parametrize(("value", "reason", "says"), BROKEN_NPY.values(), ids=BROKEN_NPY.keys())
def test_a_npy_file_that_cannot_be_taken_is_refused_with_its_reason(value: bytes, reason: Reason, says: str) -> None:
    error = refusal(value)
    assert error.reason == reason
    assert says in str(error)


BROKEN_RAW: dict[str, tuple[Headers, Reason, str]] = {
    "no headers": ((), Reason.NOT_AN_IMAGE, "no shape and dtype"),
    "no dtype": ((("shape", b"2,3"),), Reason.NOT_AN_IMAGE, "no dtype"),
    "no shape": ((("dtype", b"uint8"),), Reason.NOT_AN_IMAGE, "no shape"),
    "another dtype": (raw_headers("2,3", "float64"), Reason.WRONG_FRAME, "float64"),
    "bytes for a dtype": ((("shape", b"2,3"), ("dtype", b"\xff\xfe")), Reason.WRONG_FRAME, "dtype"),
    "a shape in words": (raw_headers("two,three", "uint8"), Reason.WRONG_FRAME, "two,three"),
    "one axis": (raw_headers("6", "uint8"), Reason.WRONG_FRAME, "'6'"),
    "four axes": (raw_headers("1,1,2,3", "uint8"), Reason.WRONG_FRAME, "1,1,2,3"),
    "a negative size": (raw_headers("-2,-3", "uint8"), Reason.WRONG_FRAME, "-2,-3"),
    "digits of another script": (raw_headers("٢,٣", "uint8"), Reason.WRONG_FRAME, "shape"),
    "no rows": (raw_headers("0,3", "uint8"), Reason.WRONG_FRAME, "height 0"),
    "too few bytes": (raw_headers("2,4", "uint8"), Reason.TRUNCATED_IMAGE, "6 bytes"),
    "too many bytes": (raw_headers("2,2", "uint8"), Reason.DAMAGED_IMAGE, "6 bytes"),
    "a size beyond all": (raw_headers("9999999999,9999999999", "uint8"), Reason.IMAGE_TOO_LARGE, "9999999999"),
}


@pytest.mark.parametrize(("headers", "reason", "says"), BROKEN_RAW.values(), ids=BROKEN_RAW.keys())
def test_raw_bytes_that_cannot_be_taken_are_refused_with_their_reason(
    headers: Headers, reason: Reason, says: str
) -> None:
    error = refusal(SIX, headers)
    assert error.reason == reason
    assert says in str(error)


def test_nothing_is_no_image() -> None:
    assert refusal(b"", raw_headers("2,3", "uint8")).reason == Reason.EMPTY


def test_raw_bytes_that_begin_like_a_file_are_believed_where_their_headers_fit() -> None:
    value = b"\xff\xd8\xff" + bytes(3)
    frame = decode_frame(value, raw_headers("1,2,3", "uint8"), LIMITS)
    assert frame.format.kind == FrameKind.RAW
    assert frame.values[:, 0, 0].tolist() == [255, 216, 255]


def test_a_file_is_believed_where_headers_only_describe_its_pixels() -> None:
    pixels = scene(40, 50)
    frame = decode_frame(png(pixels), raw_headers("40,50,3", "uint8"), LIMITS)
    assert frame.format.kind == FrameKind.PNG
