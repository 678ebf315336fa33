"""Series as raw records: encoded as JSON, interleaved in time order, handed out flat out or at a rate."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import orjson

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError
from stream_ae.records import NO_HEADERS, Int32, Int64, OutgoingBatch
from stream_ae.tables import Series

BATCH = 1000
TICK_S = 0.02  # at a rate, records leave in batches this far apart


def batches(series: Sequence[Series], topic: str, size: int = BATCH) -> Iterator[OutgoingBatch]:
    """All samples as records `{"stream", "timestamp", "values"}`, keyed by stream, oldest first, `size` at a time.

    Samples of one moment keep the order of `series`. The Kafka timestamp is left to the producer: it is when the
    record is sent, however old the sample is.
    """
    times = [_times(one) for one in series]
    owner = np.repeat(np.arange(len(series), dtype=np.int32), [len(each) for each in times])
    row = np.concatenate([np.arange(len(each), dtype=np.int64) for each in times])
    order = np.argsort(np.concatenate(times), kind="stable")
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield _batch(series, owner[chosen], row[chosen], topic)


def paced(
    outgoing: Iterator[OutgoingBatch], rate: Callable[[], float], clock: Clock, stop: threading.Event
) -> Iterator[OutgoingBatch]:
    """The same batches, each when its first record is due; ends early once `stop` is set.

    `rate` is asked after each batch for the records a second from then on.
    """
    due_s = clock.monotonic_s()
    for batch in outgoing:
        if clock.wait(stop, due_s - clock.monotonic_s()):
            return
        yield batch
        due_s += len(batch) / rate()


def size_for(rate: float) -> int:
    """How many records a batch has at `rate`: those of one tick."""
    return min(max(round(rate * TICK_S), 1), BATCH)


def laid_out(series: Series, interval_s: float, end_ms: int) -> Series:
    """The series with times, `interval_s` apart and ending at `end_ms`, if its source had none."""
    if series.timestamp_ms is not None:
        return series
    back = np.arange(len(series.values) - 1, -1, -1, dtype=np.int64)
    times = end_ms - np.round(back * (interval_s * 1000)).astype(np.int64)
    return Series(series.stream, series.channels, times, series.values)


def _times(series: Series) -> Int64:
    if series.timestamp_ms is None:
        raise ConfigError(f"stream {series.stream!r} has no timestamps: give an interval to lay them out")
    return series.timestamp_ms


def _batch(series: Sequence[Series], owner: Int32, row: Int64, topic: str) -> OutgoingBatch:
    values: list[bytes] = [b""] * len(owner)
    keys: list[bytes] = [b""] * len(owner)
    for index in np.unique(owner):
        places = np.flatnonzero(owner == index)
        one = series[index]
        key = one.stream.encode()
        for place, value in zip(places.tolist(), _encoded(one, row[places]), strict=True):
            values[place] = value
            keys[place] = key
    return OutgoingBatch(
        topic,
        np.full(len(owner), -1, np.int32),
        np.full(len(owner), -1, np.int64),
        keys,
        values,
        [NO_HEADERS] * len(owner),
    )


def _encoded(series: Series, rows: Int64) -> list[bytes]:
    # There and back through orjson: 0.46 as float32 leaves as 0.46, not as 0.46000000834, and NaN as null.
    samples = orjson.loads(orjson.dumps(series.values[rows], option=orjson.OPT_SERIALIZE_NUMPY))
    return [
        orjson.dumps(
            {"stream": series.stream, "timestamp": moment, "values": dict(zip(series.channels, sample, strict=True))}
        )
        for moment, sample in zip(_times(series)[rows].tolist(), samples, strict=True)
    ]
