"""Replay: every sample once, in time order, as records that a worker decodes; paced by a clock."""

import threading

import numpy as np
import orjson
import pytest

from stream_ae.errors import ConfigError
from stream_ae.localdev.replay import batches, laid_out, paced, size_for
from stream_ae.records import OutgoingBatch
from stream_ae.tables import Series


def series(stream: str, times: list[int], values: list[list[float]]) -> Series:
    channels = tuple("xyz"[: len(values[0])])
    return Series(stream, channels, np.array(times, np.int64), np.array(values, np.float32))


class Timer:
    """A clock that stands still except while somebody waits on it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.now_s += max(timeout_s, 0.0)
        return event.is_set()


def values_of(sent: list[OutgoingBatch]) -> list[bytes]:
    return [value for batch in sent for value in batch.values if value is not None]


def test_a_sample_becomes_a_record_keyed_by_its_stream() -> None:
    (batch,) = batches([series("pump", [1767225600000], [[0.46, float("nan")]])], "raw")
    assert batch.topic == "raw"
    assert list(batch.keys) == [b"pump"]
    assert values_of([batch]) == [b'{"stream":"pump","timestamp":1767225600000,"values":{"x":0.46,"y":null}}']
    assert batch.partition.tolist() == [-1]
    assert batch.timestamp_ms.tolist() == [-1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_streams_are_interleaved_in_time_order(size: int) -> None:
    a = series("a", [1, 3, 5], [[1], [3], [5]])
    b = series("b", [2, 3, 4], [[2], [3], [4]])
    sent = list(batches([a, b], "raw", size))
    assert all(len(batch) <= size for batch in sent)
    records = [orjson.loads(value) for value in values_of(sent)]
    assert [(record["stream"], record["timestamp"]) for record in records] == [
        ("a", 1),
        ("b", 2),
        ("a", 3),
        ("b", 3),
        ("b", 4),
        ("a", 5),
    ]


def test_records_leave_at_the_rate_asked() -> None:
    clock, stop = Timer(), threading.Event()
    one = series("a", list(range(10)), [[0.0]] * 10)
    left_s = [clock.now_s for _ in paced(batches([one], "raw", 2), lambda: 4.0, clock, stop)]
    assert left_s == [100.0, 100.5, 101.0, 101.5, 102.0]


def test_the_rate_may_change_on_the_way() -> None:
    clock, stop = Timer(), threading.Event()
    one = series("a", list(range(4)), [[0.0]] * 4)
    rates = iter([1.0, 10.0, 10.0, 10.0])
    left_s = [clock.now_s for _ in paced(batches([one], "raw", 1), lambda: next(rates), clock, stop)]
    assert left_s == pytest.approx([100.0, 101.0, 101.1, 101.2])


def test_a_stop_ends_the_replay_between_two_batches() -> None:
    clock, stop = Timer(), threading.Event()
    one = series("a", list(range(10)), [[0.0]] * 10)
    sent = []
    for batch in paced(batches([one], "raw", 2), lambda: 4.0, clock, stop):
        sent.append(batch)
        stop.set()
    assert len(sent) == 1


@pytest.mark.parametrize(("rate", "size"), [(1, 1), (500, 10), (1e9, 1000)])
def test_batches_hold_what_is_due_within_a_tick(rate: float, size: int) -> None:
    assert size_for(rate) == size


def test_samples_without_times_are_laid_out_to_end_now() -> None:
    bare = Series("a", ("x",), None, np.zeros((3, 1), np.float32))
    times = laid_out(bare, 0.5, 10_000).timestamp_ms
    assert times is not None
    assert times.tolist() == [9000, 9500, 10_000]
    timed = series("a", [1, 2], [[1], [2]])
    assert laid_out(timed, 0.5, 10_000) is timed
    with pytest.raises(ConfigError, match="'a' has no timestamps"):
        list(batches([bare], "raw"))
