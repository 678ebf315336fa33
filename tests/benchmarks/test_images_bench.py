"""Frames alone: milliseconds a frame, decoded with one and two threads, and encoded with one."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_ae.flow.images import Frame, FrameFormat, FrameKind, FrameLimits, FrameWorkers, encode_frame
from stream_ae.records import Float32, Headers
from tests.flow.images.files import raw_headers

pytestmark = pytest.mark.bench

SIZES = {"256 x 256": (256, 256), "1080p": (1080, 1920)}
FORMS: list[Any] = [
    (FrameKind.PNG, "uint8", 3),
    (FrameKind.PNG, "uint8", 1),
    (FrameKind.PNG, "uint16", 3),
    (FrameKind.JPEG, "uint8", 3),
    (FrameKind.NPY, "uint8", 3),
    (FrameKind.RAW, "float32", 3),
]
FRAMES = 4


def photograph(height: int, width: int, channels: int, dtype: str) -> Float32:
    """Slow waves with noise of 4 in 255, which is what a camera's picture costs a codec."""
    y, x = np.mgrid[:height, :width]
    noise: NDArray[Any] = np.random.default_rng(0).normal(0, 4, (channels, height, width))
    waves = np.stack([128 + 60 * np.sin(x / 37 + k) + 50 * np.cos(y / 23) for k in range(channels)])
    values: Float32 = ((waves + noise).clip(0, 255) * (257 if dtype == "uint16" else 1)).astype(np.float32)
    return values


def best_ms(work: Callable[[], object]) -> float:
    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return 1000 * min(once() for _ in range(5))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form)))
def test_frames_in_and_out(form: Any, size: str) -> None:
    kind, dtype, channels = form
    height, width = SIZES[size]
    fmt = FrameFormat(kind, dtype, channels, height, width)
    value = encode_frame(photograph(height, width, channels, dtype), fmt, lossy=True)
    headers: Headers = raw_headers(f"{height},{width},{channels}", dtype) if kind is FrameKind.RAW else ()
    took = []
    for threads in (1, 2):
        with FrameWorkers(FrameLimits(), threads) as reader:
            took.append(best_ms(lambda r=reader: r.decode([value] * FRAMES, [headers] * FRAMES)) / FRAMES)  # type: ignore[misc]
            (frame,) = reader.decode([value], [headers])
    assert isinstance(frame, Frame)
    encoded = best_ms(lambda: encode_frame(frame.values, frame.format))
    decoded = f"decode {took[0]:7.2f} ms, with 2 threads {took[1]:7.2f} ms"
    print(f"\n{size:10s} {kind:5s} {dtype:8s} C={channels} {len(value):9d} bytes: {decoded}; encode {encoded:7.2f} ms")
