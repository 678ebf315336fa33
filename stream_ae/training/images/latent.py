"""What the codes of an image model stand for: frames along the directions in which codes differ most, and between two
of them."""

from dataclasses import dataclass

import numpy as np

from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32

REACH = 2.5
"""A traversal goes so many standard deviations to either side."""


@dataclass(frozen=True, slots=True)
class Traversal:
    """frames: (K, steps, C, H, W) decoded along each of K directions; explained: (K,) share of the codes' variance."""

    frames: Float32
    explained: tuple[float, ...]


def traversal(detector: ImageDetector, frames: Float32, directions: int, steps: int) -> Traversal:
    """Along the principal directions of the codes of frames (N, C, H, W), N at least 1; what else is in the code stays
    that of the most usual frame. There are no more directions than frames and numbers in a code."""
    codes = detector.encode(frames).reshape(len(frames), -1).astype(np.float64)
    mean = codes.mean(0)
    _, strength, axes = np.linalg.svd(codes - mean, full_matrices=False)
    axes = axes[:directions]
    usual = codes[np.square(codes - mean).sum(1).argmin()] - mean
    spread = strength[: len(axes)] / np.sqrt(len(codes))
    reach = np.linspace(-REACH, REACH, steps)
    # Whatever the frame had along the direction gives way to the step.
    rest = usual - (axes @ usual)[:, None] * axes
    there = mean + rest[:, None] + (spread[:, None] * reach)[..., None] * axes[:, None]
    found = detector.decode(there.reshape(-1, *detector.code_shape).astype(np.float32))
    share = np.square(strength) / max(float(np.square(strength).sum()), 1e-300)
    return Traversal(found.reshape(len(axes), steps, *detector.frame), tuple(share[: len(axes)].tolist()))


def between(detector: ImageDetector, first: Float32, last: Float32, steps: int) -> Float32:
    """(N, steps, C, H, W) decoded from the straight lines between the codes of frames (N, C, H, W), ends included."""
    ends = detector.encode(first), detector.encode(last)
    codes = np.linspace(*ends, steps, axis=1, dtype=np.float32)
    return detector.decode(codes.reshape(-1, *detector.code_shape)).reshape(len(first), steps, *detector.frame)
