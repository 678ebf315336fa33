"""Whose record it is: stream ids from a field or the key, as codes into a table of the batch."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow.timestamps import shown
from stream_ae.records import Int32, Reason

StreamId = str | bytes | None
"""As a record gives it: text of a field, bytes of a key, or nothing."""
StreamFrom = Literal["field", "key", "either"]


def stream_id(given: str | None, key: bytes | None, source: StreamFrom) -> StreamId:
    """What names the stream: the field, the key, or the field and else the key."""
    if source == "field":
        return given
    if source == "key":
        return key
    return given or key


def stream_codes(ids: Sequence[StreamId]) -> tuple[Int32, list[str], dict[int, RecordError]]:
    """For each id its code, -1 if it names no stream; the streams by code; the errors by index."""
    code_of: dict[str, int] = {}
    seen: dict[StreamId, int] = {}
    wrong: dict[StreamId, RecordError] = {}
    for given in dict.fromkeys(ids):
        try:
            stream = _text(given)
            seen[given] = code_of.setdefault(stream, len(code_of))
        except RecordError as error:
            seen[given] = -1
            wrong[given] = error
    codes = np.fromiter(map(seen.__getitem__, ids), np.int32, len(ids))
    errors = {index: wrong[ids[index]] for index in np.flatnonzero(codes < 0).tolist()} if wrong else {}
    return codes, list(code_of), errors


def _text(given: StreamId) -> str:
    if not given:
        wanted = "a stream id is expected in its field or as the key (decode.stream_from)"
        raise RecordError(Reason.NO_STREAM, f"the record does not say which stream it is of; {wanted}")
    try:
        if isinstance(given, bytes):
            return given.decode()
        # Fails for half of a surrogate pair, which JSON can spell and UTF-8 cannot.
        given.encode()
        return given
    except UnicodeError:
        raise RecordError(Reason.NOT_UTF8, f"stream id {shown(given)} is not UTF-8 text") from None
