"""One JSON record read with care: every shape, missing values as NaN literals, and a good reason for every refusal.

The slow way (some ten microseconds) beside `decode`'s typed one, and what defines a record: a block, a record with NaN
and anything broken comes here.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow.columns import Shape
from stream_ae.flow.objects import ObjectReader, Span
from stream_ae.flow.timestamps import shown, timestamp_ms, timestamps_ms
from stream_ae.records import Float64, Int64, Reason

INTERVAL_FIELD = "interval_ms"
"""A block with a single timestamp, its first sample's, says here how far apart its samples are."""

NUMBERS = {int, float, type(None)}


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a record holds what: field names, and the channels by name with their column."""

    timestamp: str
    values: str
    channels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class OneRecord:
    """The n samples of one record: timestamp_ms (n,), values (n, C) with NaN = missing, and all its fields."""

    fields: Mapping[str, Any]
    timestamp_ms: Int64
    values: Float64
    shape: Shape
    span: Span


def read_record(value: bytes, names: Fields, reader: ObjectReader) -> OneRecord:
    """Everything a record says, except whose it is. RecordError with the reason if it cannot be used."""
    fields, span = reader.read(value)
    given = fields.get(names.values)
    if given is None:
        there = ", ".join(map(shown, list(fields)[:8])) or "nothing"
        raise RecordError(Reason.WRONG_SHAPE, f"there is no field {names.values!r}; the record has {there}")
    shape, values = _values(given, names.channels)
    times = _times(fields, names.timestamp, len(values), shape)
    return OneRecord(fields, times, values, shape, span)


def _values(given: object, channels: Mapping[str, int]) -> tuple[Shape, Float64]:
    if isinstance(given, dict):
        return _named(given, channels)
    if not isinstance(given, list):
        raise RecordError(
            Reason.WRONG_TYPE, f"values are a {type(given).__name__}, {shown(given)}; an object or a list is expected"
        )
    if not given:
        raise RecordError(Reason.EMPTY, f"the list of values is empty; {len(channels)} values are expected")
    if not any(isinstance(item, list) for item in given):
        if len(given) != len(channels):
            raise _wrong_count(given, channels)
        return Shape.LISTED, _numbers(given, list(channels))[None, :]
    return Shape.LISTED_BLOCK, _listed_block(given, channels)


def _named(given: Mapping[str, object], channels: Mapping[str, int]) -> tuple[Shape, Float64]:
    unknown = [name for name in given if name not in channels]
    if unknown:
        known = ", ".join(list(channels)[:8]) + (", ..." if len(channels) > 8 else "")
        raise RecordError(Reason.UNKNOWN_CHANNEL, f"channel {shown(unknown[0])} is unknown; the model knows {known}")
    if any(isinstance(column, list) for column in given.values()):
        return Shape.NAMED_BLOCK, _named_block(given, channels)
    row = np.full((1, len(channels)), np.nan)
    row[0, [channels[name] for name in given]] = _numbers(list(given.values()), list(given))
    return Shape.NAMED, row


def _named_block(given: Mapping[str, object], channels: Mapping[str, int]) -> Float64:
    columns = {name: column for name, column in given.items() if isinstance(column, list)}
    counts = {len(column) for column in columns.values()}
    if len(counts) != 1 or any(name not in columns and not _is_missing(item) for name, item in given.items()):
        lengths = ", ".join(f"{name!r} {len(column)}" for name, column in list(columns.items())[:8])
        raise RecordError(Reason.WRONG_SHAPE, f"in a block all channels are lists of one length; here {lengths}")
    count = counts.pop()
    if count == 0:
        raise RecordError(Reason.EMPTY, "the block is empty; at least one sample is expected")
    block = np.full((count, len(channels)), np.nan)
    for name, column in columns.items():
        block[:, channels[name]] = _numbers(column, [name])
    return block


def _listed_block(given: Sequence[object], channels: Mapping[str, int]) -> Float64:
    rows = [row for row in given if isinstance(row, list)]
    if len(rows) < len(given):
        index, row = next((index, row) for index, row in enumerate(given) if not isinstance(row, list))
        raise RecordError(Reason.WRONG_SHAPE, f"in a block every sample is a list; sample {index} is {shown(row)}")
    odd = next((row for row in rows if len(row) != len(channels)), None)
    if odd is not None:
        raise _wrong_count(odd, channels)
    names = list(channels)
    return _numbers(list(chain.from_iterable(rows)), names).reshape(len(rows), len(names))


def _wrong_count(row: Sequence[object], channels: Mapping[str, int]) -> RecordError:
    message = f"a sample has {len(row)} values; the model has {len(channels)} channels"
    return RecordError(Reason.WRONG_CHANNEL_COUNT, message)


def _numbers(given: Sequence[object], names: Sequence[str]) -> Float64:
    """Float64 with null as NaN. `names` says of whom they are; they repeat."""
    if set(map(type, given)) <= NUMBERS:
        try:
            return np.array(given, np.float64)
        except OverflowError:
            wrong, reason = _too_large, Reason.NOT_FINITE
    else:
        wrong, reason = _no_number, Reason.WRONG_TYPE
    index = next(index for index, item in enumerate(given) if wrong(item))
    name = names[index % len(names)]
    what = f"{type(given[index]).__name__} {shown(given[index])}"
    raise RecordError(reason, f"channel {name!r} is the {what}; a number that fits float32 or null is expected")


def _is_missing(item: object) -> bool:
    return item is None or item != item


def _no_number(item: object) -> bool:
    return type(item) not in NUMBERS


def _too_large(item: object) -> bool:
    return isinstance(item, int) and abs(item) > sys.float_info.max


def _times(fields: Mapping[str, Any], name: str, count: int, shape: Shape) -> Int64:
    """A timestamp for each sample: listed, or the first one's with `interval_ms`."""
    stamp = fields.get(name)
    if stamp is None:
        raise RecordError(Reason.NO_TIMESTAMP, f"there is no field {name!r}; every record says when it was measured")
    if shape not in (Shape.NAMED_BLOCK, Shape.LISTED_BLOCK):
        return np.array([timestamp_ms(stamp)], np.int64)
    if isinstance(stamp, list):
        if len(stamp) != count:
            raise RecordError(Reason.BAD_TIMESTAMP, f"a block of {count} samples has {len(stamp)} timestamps")
        times, errors = timestamps_ms(stamp)
        for error in errors.values():
            raise error
        return times
    first = timestamp_ms(stamp)
    interval_ms = _interval_ms(fields) if count > 1 else 0.0
    steps: Int64 = np.rint(np.arange(count) * interval_ms).astype(np.int64)
    return steps + first


def _interval_ms(fields: Mapping[str, Any]) -> float:
    interval = fields.get(INTERVAL_FIELD)
    if interval is None:
        wanted = f"a block needs a list of timestamps, or one and {INTERVAL_FIELD!r}"
        raise RecordError(Reason.NO_TIMESTAMP, f"only the first sample has a timestamp; {wanted}")
    if type(interval) not in (int, float) or not 0 < interval < 1e11:
        raise RecordError(Reason.BAD_TIMESTAMP, f"{INTERVAL_FIELD} is {shown(interval)}; a number above 0 is expected")
    return float(interval)
