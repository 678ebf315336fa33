"""Timestamps of records: ISO-8601 text or epoch numbers in, milliseconds out, and back to text for people.

Epoch seconds and milliseconds are told apart by magnitude: below 1e11 it is seconds (up to the year 5138), from 1e11
(as milliseconds: March 1973) it is milliseconds; from 1e14 on, micro- or nanoseconds, it is refused.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.records import Float64, Int64, Reason

SECONDS_BELOW = 1e11
MILLISECONDS_BELOW = 1e14
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def timestamp_ms(stamp: object) -> int:
    """Milliseconds since the Unix epoch; text without a time zone is UTC. RecordError if it is no timestamp.

    >>> timestamp_ms(1_700_000_000), timestamp_ms(1_700_000_000_000), timestamp_ms("2023-11-14T22:13:20Z")
    (1700000000000, 1700000000000, 1700000000000)
    """
    if isinstance(stamp, str):
        return _of_text(stamp)
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        if abs(stamp) < SECONDS_BELOW:
            return round(stamp * 1000)
        if abs(stamp) < MILLISECONDS_BELOW:
            return round(stamp)
        unit = "epoch seconds or milliseconds (not micro- or nanoseconds) are expected"
        raise RecordError(Reason.BAD_TIMESTAMP, f"timestamp {shown(stamp)} is out of range; {unit}")
    if stamp is None:
        raise RecordError(Reason.NO_TIMESTAMP, "a timestamp is null")
    kinds = "ISO-8601 text or an epoch number is expected"
    raise RecordError(Reason.BAD_TIMESTAMP, f"timestamp {shown(stamp)} is a {type(stamp).__name__}; {kinds}")


def timestamps_ms(stamps: Sequence[object]) -> tuple[Int64, dict[int, RecordError]]:
    """Each of many timestamps in milliseconds, and by index the error of those that are none (their value is 0)."""
    kinds = set(map(type, stamps))
    try:
        if kinds <= {int} or kinds == {float}:
            numbers = np.array(stamps, np.float64)
            # In float64 an int below 1e14 is exact.
            if bool((np.abs(numbers) < MILLISECONDS_BELOW).all()):
                return _of_numbers(numbers), {}
        elif kinds == {str}:
            return np.array([_of_text(str(stamp)) for stamp in stamps], np.int64), {}
    except (OverflowError, RecordError):
        return _one_by_one(stamps)
    return _one_by_one(stamps)


def iso_utc(times_ms: Int64) -> list[str]:
    """`2023-11-14T22:13:20.123Z` for each time."""
    return [text + "Z" for text in np.datetime_as_string(times_ms.astype("datetime64[ms]")).tolist()]


def shown(value: object, limit: int = 60) -> str:
    """A value for an error message, short whatever it is."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _of_numbers(numbers: Float64) -> Int64:
    milliseconds = np.where(np.abs(numbers) < SECONDS_BELOW, numbers * 1000.0, numbers)
    return np.rint(milliseconds).astype(np.int64)


def _one_by_one(stamps: Sequence[object]) -> tuple[Int64, dict[int, RecordError]]:
    times = np.zeros(len(stamps), np.int64)
    errors: dict[int, RecordError] = {}
    for index, stamp in enumerate(stamps):
        try:
            times[index] = timestamp_ms(stamp)
        except RecordError as error:
            errors[index] = error
    return times, errors


def _of_text(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        example = "expected is e.g. 2023-11-14T22:13:20.123Z"
        raise RecordError(Reason.BAD_TIMESTAMP, f"timestamp {shown(text)} is not ISO-8601; {example}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MILLISECOND
