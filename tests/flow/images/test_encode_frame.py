"""Frames leave in the form they came in, with the values that they were given."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from stream_ae.errors import InvariantError, RecordError
from stream_ae.flow.images import FrameFormat, FrameKind, FrameLimits, decode_frame, encode_frame
from stream_ae.records import Float32, Reason
from tests.flow.images.files import npy, png, raw_headers, saved, scene

LIMITS = FrameLimits()


def raw_headers_of(fmt: FrameFormat) -> Any:
    shape = f"{fmt.height},{fmt.width}" + (f",{fmt.channels}" if fmt.axes == 3 else "")
    return raw_headers(shape, fmt.dtype) if fmt.kind is FrameKind.RAW else ()


@st.composite
def formats(draw: st.DrawFn) -> FrameFormat:
    kind = draw(st.sampled_from(FrameKind))
    of_kind: dict[FrameKind, list[Any]] = {FrameKind.PNG: ["uint8", "uint16"], FrameKind.JPEG: ["uint8"]}
    dtype = draw(st.sampled_from(of_kind.get(kind, ["uint8", "uint16", "float32"])))
    channels = draw(st.sampled_from([1, 3]) if kind in of_kind else st.integers(1, 8))
    axes: Any = draw(st.sampled_from([2, 3])) if channels == 1 and kind not in of_kind else 3
    return FrameFormat(kind, dtype, channels, draw(st.integers(1, 9)), draw(st.integers(1, 9)), axes)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Float32, FrameFormat]:
    fmt = draw(formats())
    finite = fmt.dtype == "float32"
    numbers = st.floats(width=32, allow_nan=finite, allow_infinity=not finite)
    near = st.floats(-10, 70000, width=32)
    return draw(arrays.arrays(np.float32, fmt.shape, elements=st.one_of(near, numbers))), fmt


@given(answers())
def test_what_leaves_is_read_again_as_the_rounded_and_clipped_values(answer: tuple[Float32, FrameFormat]) -> None:
    values, fmt = answer
    before = values.copy()
    again = decode_frame(encode_frame(values, fmt), raw_headers_of(fmt), LIMITS)
    highest = {"uint8": 255, "uint16": 65535}.get(fmt.dtype)
    expected = values if highest is None else np.clip(np.rint(values), 0, highest)
    np.testing.assert_array_equal(again.values, expected)
    assert again.format.shape == fmt.shape
    assert again.format.dtype == fmt.dtype
    assert again.format.kind == (FrameKind.PNG if fmt.kind is FrameKind.JPEG else fmt.kind)
    assert again.format.axes == fmt.axes
    np.testing.assert_array_equal(values, before)


def test_a_half_is_rounded_to_the_even_neighbour() -> None:
    values = np.array([[[0.5, 1.5, 2.5, 254.5, 255.5, -0.5]]], np.float32)
    fmt = FrameFormat(FrameKind.RAW, "uint8", 1, 1, 6)
    assert list(encode_frame(values, fmt)) == [0, 2, 2, 254, 255, 0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 4)])
def test_an_untouched_npy_file_leaves_byte_for_byte(dtype: str, shape: tuple[int, ...]) -> None:
    value = npy(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    frame = decode_frame(value, (), LIMITS)
    assert encode_frame(frame.values, frame.format) == value


@pytest.mark.parametrize("channels", [1, 3])
def test_other_programs_read_our_png(channels: int) -> None:
    pixels = scene(20, 30, channels)
    frame = decode_frame(png(pixels), (), LIMITS)
    with Image.open(io.BytesIO(encode_frame(frame.values, frame.format))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_other_programs_read_our_16_bit_grey_png() -> None:
    pixels = scene(20, 30, 1, "uint16")
    frame = decode_frame(png(pixels), (), LIMITS)
    with Image.open(io.BytesIO(encode_frame(frame.values, frame.format))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_same_values_give_the_same_bytes() -> None:
    for value in (png(scene(20, 30)), saved(scene(20, 30), "JPEG"), npy(scene(20, 30))):
        frame = decode_frame(value, (), LIMITS)
        for lossy in (False, True):
            assert encode_frame(frame.values, frame.format, lossy) == encode_frame(frame.values, frame.format, lossy)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_leaves_as_png_unless_loss_is_allowed(channels: int) -> None:
    frame = decode_frame(saved(scene(24, 40, channels), "JPEG"), (), LIMITS)
    kept = decode_frame(encode_frame(frame.values, frame.format), (), LIMITS)
    assert kept.format.kind == FrameKind.PNG
    np.testing.assert_array_equal(kept.values, frame.values)
    lossy = decode_frame(encode_frame(frame.values, frame.format, lossy=True), (), LIMITS)
    assert lossy.format == frame.format
    # Quality 95 alone, on noise of 2: a few of 255 at most pixels.
    assert np.abs(lossy.values - frame.values).mean() < 3


def test_a_jpeg_wider_than_libjpeg_writes_leaves_as_png() -> None:
    fmt = FrameFormat(FrameKind.JPEG, "uint8", 1, 1, 65535)
    again = decode_frame(encode_frame(np.zeros(fmt.shape, np.float32), fmt, lossy=True), (), LIMITS)
    assert again.format.kind == FrameKind.PNG
    assert again.format.shape == fmt.shape


def test_loss_is_nothing_to_a_frame_that_came_without() -> None:
    frame = decode_frame(png(scene(8, 8)), (), LIMITS)
    assert encode_frame(frame.values, frame.format, lossy=True) == encode_frame(frame.values, frame.format)


def test_nan_leaves_in_floats_and_nowhere_else() -> None:
    values = np.full((1, 2, 2), np.nan, np.float32)
    assert np.isnan(np.frombuffer(encode_frame(values, FrameFormat(FrameKind.RAW, "float32", 1, 2, 2)), "<f4")).all()
    with pytest.raises(RecordError) as caught:
        encode_frame(values, FrameFormat(FrameKind.PNG, "uint8", 1, 2, 2))
    assert caught.value.reason == Reason.MODEL_FAILED


def test_values_of_another_shape_are_our_own_mistake() -> None:
    with pytest.raises(InvariantError):
        encode_frame(np.zeros((1, 2, 3), np.float32), FrameFormat(FrameKind.PNG, "uint8", 1, 3, 2))
