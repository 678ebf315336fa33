"""How much white noise there is in frames, told from themselves."""

import numpy as np
from scipy import fft

from stream_ae.records import Float32, Float64

BLOCK = 8
MOST_BLOCKS = 50_000
LEAST_BLOCKS = 16
# A coefficient counts as high from here on, both its frequencies together.
HIGH = 7
# Median of a chi-square with one degree of freedom.
MEDIAN = 0.454936


def noise_power(frames: Float32) -> Float64:
    """(C,) variance of the white noise in frames (N, C, H, W), NaN = missing; 0 where nothing can be told.

    White noise is in every coefficient of a cosine transform alike, an image mostly in the low ones. Each coefficient
    is the median over blocks, so that edges do not raise it, and the quietest high frequencies count. Noise that is not
    white is underestimated: then a pixel is rather left alone.
    """
    return np.array([_floor(frames[:, channel]) for channel in range(frames.shape[1])])


def _floor(frames: Float32) -> float:
    blocks = _blocks(frames)
    if len(blocks) < LEAST_BLOCKS:
        return 0.0
    squares = np.square(fft.dctn(blocks, axes=(1, 2), norm="ortho"))
    power = np.median(squares, axis=0) / MEDIAN
    rows, columns = np.indices((BLOCK, BLOCK))
    bands = [power[rows + columns == total].mean() for total in range(HIGH, 2 * BLOCK - 3)]
    return float(min(bands))


def _blocks(frames: Float32) -> Float64:
    """(K, BLOCK, BLOCK) blocks side by side without a missing pixel, no more than MOST_BLOCKS of them."""
    rows, columns = (side // BLOCK for side in frames.shape[1:])
    if rows * columns == 0:
        return np.empty((0, BLOCK, BLOCK))
    step = max(len(frames) * rows * columns // MOST_BLOCKS, 1)
    some = frames[::step, : rows * BLOCK, : columns * BLOCK].astype(np.float64)
    blocks = some.reshape(len(some), rows, BLOCK, columns, BLOCK).swapaxes(2, 3).reshape(-1, BLOCK, BLOCK)
    found: Float64 = blocks[np.isfinite(blocks).all((1, 2))]
    return found
