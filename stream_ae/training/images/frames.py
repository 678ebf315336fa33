"""Frames to train on: checked, split, and read a batch of patches at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stream_ae.errors import ConfigError
from stream_ae.models.normaliser import Normaliser

FIT_SHARE, VALIDATION_SHARE = 0.7, 0.1
LEAST_FRAMES = 20
ROUNDING, TINY = 1e-5, 1e-30
# Of each channel, that its mean, spread and range are told from.
MOST_VALUES = 1 << 24


@dataclass(frozen=True, slots=True)
class Frames:
    """Three parts of (N, C, H, W) frames, NaN = missing: to fit on, to stop by, and to calibrate on.

    They keep their type, as bytes take a quarter of the room; whoever sees some of them makes them float32.
    """

    fit: NDArray[Any]
    validation: NDArray[Any]
    held_out: NDArray[Any]

    @property
    def seen(self) -> NDArray[Any]:
        """What the networks see before they are calibrated."""
        return np.concatenate((self.fit, self.validation))


def checked(frames: NDArray[Any], channels: Sequence[str]) -> NDArray[Any]:
    """The frames that have a pixel, whole numbers as they are, others as float32; infinite pixels become missing.
    Raises ConfigError with what to do about it."""
    if frames.ndim != 4 or frames.shape[1] != len(channels):
        raise ConfigError(
            f"frames have shape {frames.shape}: give (N, {len(channels)}, H, W) for channels {', '.join(channels)}"
        )
    if not (np.issubdtype(frames.dtype, np.number) or frames.dtype == np.bool_) or np.iscomplexobj(frames):
        raise ConfigError(f"frames are {frames.dtype}: give real numbers")
    found, some = frames, np.full(len(frames), frames[:1].size > 0)
    if np.issubdtype(frames.dtype, np.floating):
        found = frames.astype(np.float32)
        found[np.isinf(found)] = np.nan
        some = ~np.isnan(found).all((1, 2, 3))
    if some.sum() < LEAST_FRAMES:
        raise ConfigError(f"{some.sum()} frames with a pixel in them, at least {LEAST_FRAMES} are needed: give more")
    return found if some.all() else found[some]


def split(frames: NDArray[Any], seed: int) -> Frames:
    """Frames carry no order that a window would need, so the parts are drawn at random: 70, 10 and 20 %."""
    order = np.random.default_rng(seed).permutation(len(frames))
    first = round(FIT_SHARE * len(frames))
    second = first + max(round(VALIDATION_SHARE * len(frames)), 1)
    return Frames(frames[order[:first]], frames[order[first:second]], frames[order[second:]])


def fitted_normaliser(frames: NDArray[Any]) -> Normaliser:
    """Mean and spread of each channel, and the range that was seen, widened by itself on either side."""
    found = np.empty((4, frames.shape[1], 1), np.float32)
    step = max(frames[:, 0].size // MOST_VALUES, 1)
    for channel in range(frames.shape[1]):
        values = frames[::step, channel].astype(np.float64)
        values = values[~np.isnan(values)]
        if len(values) == 0:
            found[:, channel, 0] = 0.0, 1.0, -1.0, 1.0
            continue
        low, high, centre, scale = values.min(), values.max(), values.mean(), values.std()
        if scale <= ROUNDING * max(abs(low), abs(high)):
            scale = max(0.01 * abs(centre), TINY) if centre else 1.0
        room = max(high - low, scale)
        largest = float(np.finfo(np.float32).max) / 4
        found[:, channel, 0] = centre, scale, max(low - room, -largest), min(high + room, largest)
    centre, scale, low, high = torch.from_numpy(found)
    return Normaliser(centre, scale, low, high, 0.0)
