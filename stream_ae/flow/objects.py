"""A JSON object read as Python sees it, and where the value of one of its fields stands in the bytes."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from stream_ae.errors import RecordError
from stream_ae.records import Reason

REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that it cannot read."""

_SPACE = re.compile(r"[ \t\n\r]*")
# Longer integers are beyond float64 (infinite, which is refused where it counts); int() refuses more than 4300 digits.
_MOST_DIGITS = 400
_JSON = json.JSONDecoder(parse_int=lambda text: int(text) if len(text) <= _MOST_DIGITS else float(text))


class Span(NamedTuple):
    """Bytes [start, end) of a record."""

    start: int
    end: int


NOWHERE = Span(0, 0)


class ObjectReader:
    """Reads JSON objects, NaN and Infinity as Python's json writes them; of a repeated field the last counts.

    msgspec reads numbers six times as fast as json; json reads what msgspec refuses, or says why it is no JSON.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        located = msgspec.defstruct("Located", [("value", msgspec.Raw)], rename={"value": field}, gc=False)
        self._read_raw: Callable[[bytes], Any] = msgspec.json.Decoder(located).decode
        self._read_fields = msgspec.json.Decoder(dict[str, Any]).decode

    def read(self, value: bytes) -> tuple[dict[str, Any], Span]:
        """The fields, and where the value of `field` stands (NOWHERE if there is none). RecordError if unreadable."""
        try:
            fields = self._read_fields(value)
        except REFUSALS:
            fields, places = _read_with_json(value)
            return fields, places.get(self._field, NOWHERE)
        return fields, self.span(value) if self._field in fields else NOWHERE

    def span(self, value: bytes) -> Span:
        """Where the value of `field` stands in an object that has it. RecordError if unreadable."""
        try:
            text = bytes(self._read_raw(value).value)
        except REFUSALS:
            text = b""
        if text and value.count(text) == 1:
            start = value.find(text)
            return Span(start, start + len(text))
        _, places = _read_with_json(value)
        return places.get(self._field, NOWHERE)


def _read_with_json(value: bytes) -> tuple[dict[str, Any], dict[str, Span]]:
    """All fields and where the value of each stands."""
    if not value:
        raise RecordError(Reason.EMPTY, "the record is empty (0 bytes); a JSON object is expected")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        at = f"byte 0x{value[error.start]:02x} at {error.start}"
        raise RecordError(Reason.NOT_UTF8, f"the record is not UTF-8 ({at}); a JSON object is expected") from None
    try:
        fields, places = _scan(text)
    except RecursionError:
        raise RecordError(Reason.NOT_JSON, "the record is nested too deeply to be read as JSON") from None
    except ValueError as error:
        raise RecordError(Reason.NOT_JSON, f"the record is not JSON: {error}; an object is expected") from None
    if not text.isascii():
        places = {name: _in_bytes(text, place) for name, place in places.items()}
    return fields, places


def _scan(text: str) -> tuple[dict[str, Any], dict[str, Span]]:
    fields: dict[str, Any] = {}
    places: dict[str, Span] = {}
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        other = type(_JSON.decode(text)).__name__
        raise RecordError(Reason.WRONG_SHAPE, f"the record is a JSON {other}; an object is expected")
    at = _after_space(text, at + 1)
    more = text[at : at + 1] != "}"
    while more:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("expected a field name in double quotes", text, at)
        name, at = _JSON.raw_decode(text, at)
        at = _after_space(text, _after(text, at, ":"))
        fields[name], end = _JSON.raw_decode(text, at)
        places[name] = Span(at, end)
        at = _after_space(text, end)
        more = text[at : at + 1] == ","
        at = _after_space(text, at + 1) if more else at
    if _after_space(text, _after(text, at, "}")) != len(text):
        raise json.JSONDecodeError("extra data after the object", text, at + 1)
    return fields, places


def _after(text: str, at: int, mark: str) -> int:
    at = _after_space(text, at)
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"expected {mark!r}", text, at)
    return at + 1


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _in_bytes(text: str, place: Span) -> Span:
    start = len(text[: place.start].encode())
    return Span(start, start + len(text[place.start : place.end].encode()))
