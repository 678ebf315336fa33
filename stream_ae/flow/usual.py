"""The usual record, one flat sample, read fast: a msgspec struct generated for the channels."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np

from stream_ae.flow.columns import Shape, UInt8
from stream_ae.records import Float64
from stream_ae.settings import DecodeSettings

UsualRecord = Any
"""A generated struct: `timestamp` (int, float or str), `values` (a struct of C floats, or a list of C floats) and
`stream` (str or None). A float may be None."""


def usual_reader(channels: Sequence[str], settings: DecodeSettings) -> Callable[[bytes], UsualRecord]:
    """A function that reads one usual record and raises one of REFUSALS for any other.

    gc=False: the garbage collector need not visit thousands of structs that cannot form cycles.
    """
    length = msgspec.Meta(min_length=len(channels), max_length=len(channels))
    values: Any = Annotated[list[float | None], length]
    if all(map(is_plain_name, channels)):
        values = _named(channels) | values
    names = {"timestamp": settings.timestamp_field, "values": settings.values_field, "stream": settings.stream_field}
    fields: list[Any] = [("timestamp", int | float | str), ("values", values)]
    without: dict[str, Any] = {}
    if settings.stream_from == "key":
        without["stream"] = None
    else:
        fields.append(("stream", str | None, None))
    struct = msgspec.defstruct("Usual", fields, rename=names, namespace=without, gc=False)
    return msgspec.json.Decoder(struct).decode


def _named(channels: Sequence[str]) -> type[msgspec.Struct]:
    attributes = {f"c{column}": name for column, name in enumerate(channels)}
    fields = [(attribute, float | None, math.nan) for attribute in attributes]
    return msgspec.defstruct("Named", fields, rename=attributes, forbid_unknown_fields=True, gc=False)


def is_plain_name(name: str) -> bool:
    """Whether JSON spells the name without a backslash, which is all that msgspec's structs can be named."""
    return not any(character in '"\\' or character < " " for character in name)


def nan_as_null(value: bytes) -> bytes:
    """A record with the NaN literals, which Python's json writes and msgspec refuses, turned into null.

    Between quotes they are text and stay. With a backslash a quote may be text itself: the record stays as it is.
    """
    if b"\\" in value:
        return value
    pieces = value.split(b'"')
    pieces[::2] = [outside.replace(b"NaN", b"null") for outside in pieces[::2]]
    return b'"'.join(pieces)


def usual_shapes(values: Sequence[Any]) -> UInt8:
    """NAMED or LISTED for the values of each record."""
    listed = [type(item) is list for item in values]
    return np.where(listed, np.uint8(Shape.LISTED), np.uint8(Shape.NAMED))


def usual_matrix(values: Sequence[Any], channel_count: int) -> Float64:
    """The values of all records (N, C), NaN = missing."""
    rows = [item if type(item) is list else msgspec.structs.astuple(item) for item in values]
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * channel_count)
        return flat.reshape(len(rows), channel_count)
    except TypeError:
        # A null among them; np.array turns None into NaN, at 1.6 times the price.
        return np.array(rows, np.float64)
