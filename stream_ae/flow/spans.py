"""Where the values stand in many records at once, so that only they are replaced when a record is written again."""

from collections.abc import Sequence

import numpy as np

from stream_ae.flow.columns import Shape, UInt8
from stream_ae.records import Bool, Int32, Int64

QUOTE, COLON, SPACE, BACKSLASH = b'": \\'
OPENING = {Shape.NAMED: ord("{"), Shape.LISTED: ord("[")}
CLOSING = {Shape.NAMED: ord("}"), Shape.LISTED: ord("]")}


class ValueLocator:
    """Finds the values' bytes in records that `decode` accepts: JSON objects (NaN allowed) that have the field."""

    def __init__(self, field: str, channels: Sequence[str]) -> None:
        self._field = field.encode()
        self._plain_names = not any("}" in name for name in channels)

    def spans(self, records: Sequence[bytes], shape: UInt8) -> tuple[Int32, Int32]:
        """Bytes [start, end) of flat values, NAMED or LISTED, in each record; both 0 where only a parser can tell.

        In valid JSON without a backslash the bytes `"field"` are one whole string, for a quote inside a string needs
        a backslash. So if a record has them once, they are its key: it has that key somewhere. And no bracket closes
        between the opening bracket of flat values and their own closing one, unless a channel's name has it.
        """
        length = np.fromiter(map(len, records), np.int64, len(records))
        end_of_record = np.cumsum(length + 1) - 1
        start_of_record = end_of_record - length
        # Some bytes more, so that looking behind the last key stays inside.
        data = np.frombuffer(b"\n".join([*records, b" " * 8]), np.uint8)
        row, behind = _single_keys(data, start_of_record, self._field)
        opening = _behind_colon(data, behind)
        start, end = np.zeros((2, len(records)), np.int64)
        for kind in (Shape.NAMED, Shape.LISTED) if self._plain_names else (Shape.LISTED,):
            of_kind = (shape[row] == kind) & (data[opening] == OPENING[kind])
            if of_kind.any():
                rows, first = row[of_kind], opening[of_kind]
                closings = np.flatnonzero(data == CLOSING[kind])
                start[rows] = first - start_of_record[rows]
                end[rows] = closings[np.searchsorted(closings, first)] + 1 - start_of_record[rows]
        end[_with_backslash(data, start_of_record)] = 0
        return start.astype(np.int32), end.astype(np.int32)


def _single_keys(data: UInt8, start_of_record: Int64, field: bytes) -> tuple[Int64, Int64]:
    """Of the records that have `"field"` exactly once: their rows, and the position behind it."""
    size = len(field) + 2
    ends = data[size - 1 :] == QUOTE
    at = np.flatnonzero((data[: len(ends)] == QUOTE) & ends)
    for place, byte in enumerate(field, 1):
        at = at[data[at + place] == byte]
    row = np.searchsorted(start_of_record, at, side="right") - 1
    single = np.bincount(row, minlength=len(start_of_record))[row] == 1
    return row[single], at[single] + size


def _behind_colon(data: UInt8, at: Int64) -> Int64:
    """The position behind `:` or `: `; where there is no colon, a position that holds no bracket."""
    colon = data[at] == COLON
    return np.where(colon, at + 1 + (data[at + 1] == SPACE), at)


def _with_backslash(data: UInt8, start_of_record: Int64) -> Bool:
    found = np.zeros(len(start_of_record), np.bool_)
    at = np.flatnonzero(data == BACKSLASH)
    found[np.searchsorted(start_of_record, at, side="right") - 1] = True
    return found
