"""Arrays as people give them, as the samples of a detector, and back."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream_ae.errors import ConfigError
from stream_ae.records import Float32

Frame = tuple[int, int, int]


def array_of(x: ArrayLike) -> NDArray[Any]:
    """Numbers, whatever their type. Raises ConfigError for what are none."""
    try:
        given = np.asarray(x)
    except ValueError as error:
        raise ConfigError("x has rows of different lengths: give rows (N, C), NaN = missing") from error
    if not (np.issubdtype(given.dtype, np.number) or given.dtype == np.bool_) or np.iscomplexobj(given):
        raise ConfigError(f"x holds {given.dtype}, not numbers: convert it to float, NaN = missing")
    return given


def rows_of(given: NDArray[Any]) -> Float32:
    """Readings as (N, C) float32."""
    if given.ndim not in (1, 2):
        raise ConfigError(
            f"x has shape {given.shape}: give rows (N, C) in time order, (N,) for one channel, or images (N, H, W) or "
            "(N, C, H, W) to a detector of images"
        )
    with np.errstate(over="ignore"):
        rows = given.astype(np.float32, copy=False)
    return rows[:, None] if given.ndim == 1 else rows


def frames_of(given: NDArray[Any], frame: Frame | None = None) -> Float32:
    """Images (N, H, W) or (N, C, H, W) as (N, C, H, W) float32; of this size, if it is known."""
    if given.ndim not in (3, 4):
        raise ConfigError(f"x has shape {given.shape}: this detector takes images (N, H, W) or (N, C, H, W)")
    frames = given[:, None] if given.ndim == 3 else given
    if frame is not None and frames.shape[1:] != frame:
        raise ConfigError(f"x holds images {frames.shape[1:]}; this detector was fitted on {frame} (C, H, W)")
    with np.errstate(over="ignore"):
        return frames.astype(np.float32, copy=False)


def is_images(given: NDArray[Any]) -> bool:
    """Whether an array is of images rather than of rows."""
    return given.ndim in (3, 4)


def as_given(x_hat: Float32, given: NDArray[Any]) -> NDArray[Any]:
    """Denoised samples in the shape of what was given, in its type where that can hold them.

    Readings of whole numbers become float32: rounding would put back the noise. Pixels of whole numbers are rounded.
    """
    shaped = x_hat.reshape(given.shape)
    if np.issubdtype(given.dtype, np.floating):
        return shaped.astype(given.dtype)
    if is_images(given) and np.issubdtype(given.dtype, np.integer):
        limits = np.iinfo(given.dtype)
        return np.clip(np.rint(shaped), limits.min, limits.max).astype(given.dtype)
    return shaped
