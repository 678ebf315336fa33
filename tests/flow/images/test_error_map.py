"""A map of errors becomes a small picture and boxes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from stream_ae.flow.images import Box, FrameLimits, boxes, decode_frame, encode_map
from stream_ae.records import Float32


def picture(value: bytes) -> Float32:
    drawn: Float32 = decode_frame(value, (), FrameLimits()).values[0]
    return drawn


def test_a_small_map_is_drawn_from_black_at_nought_to_white_at_its_largest() -> None:
    error_map = np.array([[0, 1], [2, 4]], np.float32)
    assert picture(encode_map(error_map)).tolist() == [[0, 64], [128, 255]]


def test_white_can_be_given_and_stands_in_the_file() -> None:
    value = encode_map(np.array([[0, 1], [2, 40]], np.float32), white=4.0)
    assert picture(value).tolist() == [[0, 64], [128, 255]]
    with Image.open(io.BytesIO(value)) as image:
        assert image.info["stream-ae-white"] == "4"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((128, 128), (128, 128)), ((129, 1), (65, 1)), ((1080, 1920), (72, 128)), ((1, 1000), (1, 125))],
)
def test_no_side_exceeds_128_pixels(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert picture(encode_map(np.ones(shape, np.float32))).shape == expected


def test_a_defect_of_one_pixel_stays_white() -> None:
    error_map = np.zeros((1000, 1000), np.float32)
    error_map[999, 500] = 3.0
    drawn = picture(encode_map(error_map))
    assert np.argwhere(drawn == 255).tolist() == [[124, 62]]
    assert np.count_nonzero(drawn) == 1


@pytest.mark.parametrize("fill", [0.0, np.nan, -1.0])
def test_a_map_without_errors_is_black(fill: float) -> None:
    assert not picture(encode_map(np.full((3, 4), fill, np.float32))).any()


def test_infinity_is_white() -> None:
    assert picture(encode_map(np.array([[0, np.inf]], np.float32))).tolist() == [[0, 255]]


def test_boxes_are_the_worst_regions_by_their_peaks() -> None:
    error_map = np.zeros((6, 8), np.float32)
    error_map[0:2, 1:4] = 2.0
    error_map[4, 6] = 9.0
    error_map[5, 7] = 3.0  # touches it at a corner
    error_map[5, 0] = 4.0
    assert boxes(error_map, 1.0, 9) == [Box(6, 4, 2, 2, 9.0), Box(0, 5, 1, 1, 4.0), Box(1, 0, 3, 2, 2.0)]
    assert boxes(error_map, 1.0, 1) == [Box(6, 4, 2, 2, 9.0)]
    assert boxes(error_map, 2.0, 9) == [Box(6, 4, 2, 2, 9.0), Box(0, 5, 1, 1, 4.0)]
    assert boxes(error_map, 9.0, 9) == []
    assert boxes(error_map, 1.0, 0) == []


def test_regions_of_one_peak_come_from_top_to_bottom() -> None:
    error_map = np.zeros((9, 9), np.float32)
    error_map[::2, ::2] = 1.0
    found = boxes(error_map, 0.5, 7)
    assert [(box.y, box.x) for box in found] == [(0, 0), (0, 2), (0, 4), (0, 6), (0, 8), (2, 0), (2, 2)]


def test_missing_pixels_are_in_no_box() -> None:
    error_map = np.array([[np.nan, 2.0, np.nan]], np.float32)
    assert boxes(error_map, 1.0, 9) == [Box(1, 0, 1, 1, 2.0)]


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 9, width=32)))
def test_all_boxes_together_hold_every_pixel_above_the_level(error_map: Float32) -> None:
    found = boxes(error_map, 4.0, 100)
    inside = np.zeros(error_map.shape, bool)
    for box in found:
        part = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
        inside[part] = True
        assert box.peak in error_map[part]
        assert box.peak > 4.0
    assert inside[error_map > 4.0].all()
    assert [box.peak for box in found] == sorted((box.peak for box in found), reverse=True)
