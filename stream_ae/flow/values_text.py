"""Values as JSON text in the shape of the raw record: what replaces the raw values.

Numbers are float32's shortest decimals. In an object the channels stand in the model's order, missing ones added.
Spaces stand where Python's json puts them if the raw record had one before its values, else nowhere.
"""

from collections.abc import Sequence

import numpy as np
import orjson

from stream_ae.flow.columns import Shape, UInt8
from stream_ae.records import Bool, Float32


def value_texts(x: Float32, channels: Sequence[str], shape: UInt8, spaced: Bool) -> list[bytes]:
    """A text for each row of x (N, C), each a NAMED or LISTED sample."""
    texts: list[bytes] = [b""] * len(x)
    for kind in np.unique(shape).tolist():
        for wide in (False, True):
            rows = np.flatnonzero((shape == kind) & (spaced == wide))
            if len(rows) == len(x):
                return _texts_of_kind(x, channels, kind, wide)
            if len(rows):
                for row, text in zip(rows.tolist(), _texts_of_kind(x[rows], channels, kind, wide), strict=True):
                    texts[row] = text
    return texts


def block_text(x: Float32, channels: Sequence[str], shape: int, spaced: bool) -> bytes:
    """The text of a block x (n, C)."""
    if shape == Shape.LISTED_BLOCK:
        return _spaced(_json(x), spaced)
    columns = _spaced(_json(x.T), spaced)[1:-1].removeprefix(b"[").removesuffix(b"]")
    between = b"], [" if spaced else b"],["
    return _object_template(channels, spaced) % tuple(b"[%b]" % column for column in columns.split(between))


def _texts_of_kind(x: Float32, channels: Sequence[str], kind: int, spaced: bool) -> list[bytes]:
    if kind == Shape.LISTED:
        return [b"[%b]" % row for row in _spaced(_json(x), spaced)[2:-2].split(b"], [" if spaced else b"],[")]
    # One format over all rows, one split: no Python per record. Channel names in JSON hold no line break.
    template = b"\n".join([_object_template(channels, spaced)] * len(x))
    numbers = _json(x)[2:-2].replace(b"],[", b",").split(b",")
    return (template % tuple(numbers)).split(b"\n")


def _object_template(channels: Sequence[str], spaced: bool) -> bytes:
    """`{"a":%b,"b":%b}`."""
    colon, comma = (b": ", b", ") if spaced else (b":", b",")
    names = [orjson.dumps(name).replace(b"%", b"%%") for name in channels]
    return b"{" + comma.join([name + colon + b"%b" for name in names]) + b"}"


def _json(x: Float32) -> bytes:
    return orjson.dumps(np.ascontiguousarray(x, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)


def _spaced(text: bytes, spaced: bool) -> bytes:
    return text.replace(b",", b", ") if spaced else text
