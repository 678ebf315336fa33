"""The wire format of the README, read by Python's json alone: what the decoder is held against.

Written from the README and the settings' descriptions, for single records, slowly; shares no code with the decoder.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np

MAX_CLOCK_SKEW_MS = 300_000
STATE_TTL_MS = 3_600_000
LONGEST_INTERVAL_MS = 1e11
# Python's int() refuses more digits than 4300; a number of so many digits is beyond float64 anyway.
MOST_DIGITS = 400


class BrokenRecordError(ValueError):
    """A record that has to become a dead letter."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a good record says: its stream, and of each sample the time and the values (float32, NaN = missing)."""

    stream: str
    timestamp_ms: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


def read(value: bytes, key: bytes | None, kafka_ms: int, channels: Sequence[str]) -> Reading:
    """A record as the README describes it; BrokenRecordError if it is not one."""
    record = parsed(value)
    if not isinstance(record, dict):
        raise BrokenRecordError("no object")
    rows, block = _rows(record.get("values"), channels)
    times = _times(record, len(rows), block)
    if max(times) > kafka_ms + MAX_CLOCK_SKEW_MS:
        raise BrokenRecordError("ahead of its Kafka time")
    if any(later < earlier for earlier, later in pairwise(times)):
        raise BrokenRecordError("a block that runs backwards")
    return Reading(_stream(record.get("stream"), key), times, rows)


def parsed(value: bytes) -> Any:
    """The JSON of a record, NaN and Infinity as Python writes them. BrokenRecordError if it is none."""
    try:
        return json.loads(value.decode("utf-8"), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BrokenRecordError("no JSON in UTF-8") from error


class Order:
    """Time within each stream of one partition: what is older than the stream's newest good sample is refused."""

    def __init__(self) -> None:
        self._newest_ms: dict[str, int] = {}
        self._seen_ms: dict[str, int] = {}
        self._now_ms = 0

    def admits(self, reading: Reading, kafka_ms: int) -> bool:
        """Whether the record may follow those before it; to be asked of every good record, in order."""
        self._now_ms = max(self._now_ms, kafka_ms)
        stream, seen_ms = reading.stream, self._seen_ms.get(reading.stream)
        starts = seen_ms is None or self._now_ms - seen_ms > STATE_TTL_MS
        self._seen_ms[stream] = self._now_ms
        if not starts and reading.timestamp_ms[0] < self._newest_ms[stream]:
            return False
        self._newest_ms[stream] = reading.timestamp_ms[-1]
        return True


def _integer(text: str) -> int | float:
    return int(text) if len(text) < MOST_DIGITS else float(text)


def _rows(values: object, channels: Sequence[str]) -> tuple[tuple[tuple[float, ...], ...], bool]:
    """The samples, and whether they are a block."""
    if isinstance(values, dict):
        if not set(values) <= set(channels):
            raise BrokenRecordError("an unknown channel")
        return _named(values, channels)
    if isinstance(values, list) and values:
        block = any(isinstance(item, list) for item in values)
        rows = values if block else [values]
        if any(not isinstance(row, list) or len(row) != len(channels) for row in rows):
            raise BrokenRecordError("a sample needs a value for each channel")
        return tuple(tuple(map(_number, row)) for row in rows), block
    raise BrokenRecordError("no values")


def _named(values: Mapping[str, object], channels: Sequence[str]) -> tuple[tuple[tuple[float, ...], ...], bool]:
    lists = {name: item for name, item in values.items() if isinstance(item, list)}
    if not lists:
        return (tuple(_number(values.get(name)) for name in channels),), False
    lengths = {len(item) for item in lists.values()}
    others = [_number(item) for name, item in values.items() if name not in lists]
    if len(lengths) != 1 or lengths == {0} or not all(map(math.isnan, others)):
        raise BrokenRecordError("a block needs lists of one length")
    missing = [None] * lengths.pop()
    columns = [map(_number, lists.get(name, missing)) for name in channels]
    return tuple(zip(*columns, strict=True)), True


def _number(item: object) -> float:
    """As float32; NaN for what is missing."""
    if item is None:
        return math.nan
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise BrokenRecordError("not a number")
    with np.errstate(over="ignore"):
        number = float(np.float32(item if isinstance(item, float) or abs(item) < 10**308 else math.inf))
    if math.isinf(number):
        raise BrokenRecordError("not finite")
    return number


def _times(record: Mapping[str, object], count: int, block: bool) -> tuple[int, ...]:
    stamp = record.get("timestamp")
    if block and isinstance(stamp, list):
        if len(stamp) != count:
            raise BrokenRecordError("a block needs a timestamp for each sample")
        return tuple(map(_time, stamp))
    first = _time(stamp)
    if count == 1:
        return (first,)
    interval = record.get("interval_ms")
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < LONGEST_INTERVAL_MS:
        raise BrokenRecordError("a block needs an interval")
    return tuple(first + round(step * interval) for step in range(count))


def _time(stamp: object) -> int:
    if isinstance(stamp, str):
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError as error:
            raise BrokenRecordError("no ISO-8601") from error
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 // 1)
    if isinstance(stamp, bool) or not isinstance(stamp, int | float) or not abs(stamp) < 1e14:
        raise BrokenRecordError("no epoch time")
    return round(stamp * 1000) if abs(stamp) < 1e11 else round(stamp)


def _stream(field: object, key: bytes | None) -> str:
    if field is not None and not isinstance(field, str):
        raise BrokenRecordError("a stream id is text")
    try:
        name = field or (key or b"").decode("utf-8")
        name.encode("utf-8")
    except UnicodeError as error:
        raise BrokenRecordError("a stream id is UTF-8") from error
    if not name:
        raise BrokenRecordError("no stream id")
    return name
