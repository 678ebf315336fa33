"""Where in a frame the model was surprised: a small picture for a person and boxes for a machine."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stream_ae.flow.images.png_file import write_png
from stream_ae.records import Float32

MAP_SIDE = 128
WHITE_KEYWORD = "stream-ae-white"
_NEIGHBOURS = np.ones((3, 3), np.int8)


class Box(NamedTuple):
    """The smallest upright rectangle round a region, in pixels of the map; peak is the region's largest error."""

    x: int
    y: int
    width: int
    height: int
    peak: float


def encode_map(error_map: Float32, white: float | None = None) -> bytes:
    """An 8-bit grey PNG of an error map (H, W), at most 128 pixels a side.

    Black is 0, `white` (by default the map's largest error) and above are white, between them it is linear; the value
    of white stands in the file's text `stream-ae-white` (%.6g). Of the pixels that become one the largest counts, so
    that no small defect vanishes. What is missing (NaN) is black.
    """
    small = _largest_of_blocks(np.nan_to_num(error_map, nan=0.0))
    top = float(small.max()) if white is None else white
    scaled = np.clip(small, 0.0, max(top, 0.0)) * (255.0 / top if top > 0 else 0.0)
    pixels = np.rint(np.minimum(scaled, 255.0)).astype(np.uint8)
    return write_png(pixels[..., np.newaxis], ((WHITE_KEYWORD, f"{top:.6g}"),))


def boxes(error_map: Float32, level: float, at_most: int) -> list[Box]:
    """The worst regions of an error map (H, W) that lie above `level`, by their peaks, the largest first.

    Pixels that touch at a corner are of one region; NaN is in none. Equal peaks keep their order from top to bottom.
    """
    above = error_map > level
    labels, count = ndimage.label(above, _NEIGHBOURS)
    peaks = np.full(count, -np.inf, np.float32)
    # ndimage.maximum sorts all pixels: 190 ms for 1080p, where these few take less than one.
    np.maximum.at(peaks, labels[above] - 1, error_map[above])
    worst = np.argsort(-peaks, kind="stable")[:at_most]
    # Only these keep a number, from 1 on: noise has half a million regions, and each would become a tuple of slices.
    place = np.zeros(count + 1, np.int32)
    place[worst + 1] = np.arange(1, len(worst) + 1)
    return [
        Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start, float(peak))
        for (rows, columns), peak in zip(ndimage.find_objects(place[labels]), peaks[worst], strict=True)
    ]


def _largest_of_blocks(error_map: Float32) -> Float32:
    """The map with square blocks of pixels made one, so that both sides fit MAP_SIDE."""
    height, width = error_map.shape
    block = -(-max(height, width) // MAP_SIDE)
    rows = np.maximum.reduceat(error_map, np.arange(0, height, block), axis=0)
    small: Float32 = np.maximum.reduceat(rows, np.arange(0, width, block), axis=1)
    return small
