"""Many frames at once, in order; and what is said where Pillow is missing."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stream_ae.errors import ConfigError, InvariantError, RecordError
from stream_ae.flow.images import Frame, FrameLimits, FrameWorkers, decode_frame
from stream_ae.flow.images.pixels import pillow
from stream_ae.records import Reason
from tests.flow.images.files import npy, png, saved, scene

LIMITS = FrameLimits()
JPEG = saved(scene(8, 8), "JPEG")


@pytest.fixture
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    pillow.cache_clear()
    yield
    pillow.cache_clear()


def numbered(index: int) -> bytes:
    return npy(np.full((2, 2), index, np.uint8))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_frames_come_in_the_order_of_their_records_and_a_bad_one_costs_itself_alone(threads: int) -> None:
    values = [numbered(index) for index in range(100)]
    values[3], values[97] = b"?", b""
    with FrameWorkers(LIMITS, threads) as reader:
        found = reader.decode(values, [()] * 100)
    seen = [int(one.values[0, 0, 0]) if isinstance(one, Frame) else one.reason for one in found]
    assert seen == [0, 1, 2, Reason.NOT_AN_IMAGE, *range(4, 97), Reason.EMPTY, 98, 99]


def test_each_record_is_read_with_its_own_headers() -> None:
    with FrameWorkers(LIMITS, 2) as reader:
        found = reader.decode([b"ab", b"abcd"], [[("shape", b"1,2"), ("dtype", b"uint8")], []])
    assert isinstance(found[0], Frame)
    assert isinstance(found[1], RecordError)


def test_nothing_gives_nothing() -> None:
    with FrameWorkers(LIMITS, 2) as reader:
        assert reader.decode([], []) == []


def test_a_refusal_keeps_no_pixels_alive() -> None:
    with FrameWorkers(LIMITS) as reader:
        (error,) = reader.decode([npy(np.full((3, 3), np.inf, np.float32))], [()])
    assert isinstance(error, RecordError)
    assert error.__traceback__ is None
    assert error.__context__ is None
    assert not any(isinstance(held, np.ndarray) for held in gc.get_referents(error))


def test_closing_ends_the_threads_and_may_be_done_twice() -> None:
    reader = FrameWorkers(LIMITS, 3)
    reader.decode([numbered(1)] * 9, [()] * 9)
    assert any(thread.name.startswith("frames") for thread in threading.enumerate())
    reader.close()
    reader.close()
    assert not any(thread.name.startswith("frames") for thread in threading.enumerate())
    with pytest.raises(InvariantError):
        reader.decode([numbered(1)], [()])


def test_values_without_their_headers_are_our_own_mistake() -> None:
    with FrameWorkers(LIMITS) as reader, pytest.raises(InvariantError):
        reader.decode([numbered(1)], [])


@pytest.mark.usefixtures("no_pillow")
@pytest.mark.parametrize(
    "use",
    [
        lambda: FrameWorkers(LIMITS),
        lambda: decode_frame(png(scene(2, 2)), (), LIMITS),
        lambda: decode_frame(JPEG, (), LIMITS),
    ],
    ids=["a reader", "a PNG", "a JPEG"],
)
def test_without_pillow_the_error_says_what_to_install(use: Any) -> None:
    with pytest.raises(ConfigError, match=r"stream-ae\[images\]"):
        use()


@pytest.mark.usefixtures("no_pillow")
def test_plain_numbers_need_no_pillow() -> None:
    assert decode_frame(numbered(7), (), LIMITS).values.max() == 7


def test_importing_the_codecs_imports_no_pillow() -> None:
    code = "import sys, stream_ae.flow.images; sys.exit('PIL' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
