"""Whole numbers of pixels, axes (H, W, C), to values, axes (C, H, W), and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.errors import InvariantError, RecordError
from stream_ae.flow.images.frame import HIGHEST, FrameFormat
from stream_ae.records import Float32, Reason

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def values_of(pixels: NDArray[Any], fmt: FrameFormat) -> Float32:
    """A fresh (C, H, W) array of pixels (H, W) or (H, W, C); raises RecordError where a value is infinite."""
    stacked = pixels.reshape(fmt.height, fmt.width, fmt.channels)
    values = np.empty(fmt.shape, np.float32)
    for channel in range(fmt.channels):  # one plane at a time: half as long as one copy of the transposed array
        values[channel] = stacked[..., channel]
    if fmt.dtype == "float32":
        _check_finite(values)
    return values


def pixels_of(values: Float32, fmt: FrameFormat) -> NDArray[Any]:
    """(H, W, C) in the format's dtype: whole numbers are rounded half to even and clipped to what the type holds.

    Raises RecordError(MODEL_FAILED) for NaN where the type has none, InvariantError for values of another shape.
    """
    if values.shape != fmt.shape:
        raise InvariantError(f"values {values.shape} for a frame of shape {fmt.shape}")
    pixels = np.empty((fmt.height, fmt.width, fmt.channels), fmt.dtype)
    for channel, plane in enumerate(values):
        pixels[..., channel] = plane if fmt.dtype == "float32" else _whole(plane, HIGHEST[fmt.dtype])
    return pixels


def _whole(plane: Float32, highest: float) -> Float32:
    # The lowest of values with a NaN among them is NaN: one pass without an array of truths.
    if np.isnan(plane.min()):
        raise RecordError(Reason.MODEL_FAILED, "the model's answer for this frame holds NaN, which no pixel can hold")
    whole: Float32 = np.rint(plane)
    return np.clip(whole, 0.0, highest, out=whole)


def _check_finite(values: Float32) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        channel, y, x = (int(axis) for axis in np.unravel_index(infinite.argmax(), values.shape))
        what = f"the pixel at x {x}, y {y}, channel {channel} is {values[channel, y, x]:g}"
        raise RecordError(Reason.NOT_FINITE, f"{what}; finite numbers are expected, NaN where one is missing")
