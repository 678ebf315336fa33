"""Names and text of the headers that our outputs carry.

`stream-ae-score` (%.6g; of a block the largest), `stream-ae-flag` (0 or 1; of a block: any), `stream-ae-model`
(name/version), `stream-ae-profile` (version, only where one applied), `stream-ae-source` (topic/partition/offset);
dead letters also `stream-ae-reason`, `stream-ae-exception` (a sentence) and `stream-ae-software`.
"""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Float64, Headers, ModelIdentity, RecordBatch

SCORE = "stream-ae-score"
FLAG = "stream-ae-flag"
MODEL = "stream-ae-model"
PROFILE = "stream-ae-profile"
SOURCE = "stream-ae-source"
REASON = "stream-ae-reason"
EXCEPTION = "stream-ae-exception"
SOFTWARE = "stream-ae-software"
SHAPE = "stream-ae-shape"
OURS = frozenset({SCORE, FLAG, MODEL, PROFILE, SOURCE, REASON, EXCEPTION, SOFTWARE, SHAPE})


def software() -> str:
    """The release that writes, as the header `stream-ae-software` has it."""
    return f"stream-ae/{version('stream-ae')}"


class Source(NamedTuple):
    """The raw record that an output answers."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def header_text(headers: Headers, name: str) -> str | None:
    """The text of a header, the last one if it repeats; None if there is none."""
    found = [value for key, value in headers if key == name]
    return found[-1].decode(errors="replace") if found else None


def source_of(headers: Headers) -> Source | None:
    """Which raw record an output answers; None if it does not say so in our way."""
    topic, _, rest = (header_text(headers, SOURCE) or "").partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and _is_number(partition) and _is_number(offset)):
        return None
    return Source(topic, int(partition), int(offset))


def source_texts(records: RecordBatch, rows: NDArray[np.integer[Any]]) -> list[bytes]:
    """The source header's value for each of the rows."""
    partition = records.partition[rows].tolist()
    stem = {number: f"{records.topic}/{number}/".encode() for number in set(partition)}
    return [b"%b%d" % (stem[p], offset) for p, offset in zip(partition, records.offset[rows].tolist(), strict=True)]


def score_texts(score: Float64) -> list[bytes]:
    """The score header's value for each score; `inf` and `nan` are spelled so."""
    return [b"%.6g" % value for value in score.tolist()]


def model_text(model: ModelIdentity) -> bytes:
    """The model header's value."""
    return f"{model.name}/{model.version}".encode()


def without(headers: Headers, names: Collection[str]) -> tuple[tuple[str, bytes], ...]:
    """The headers that do not carry one of the names: ours replace those that an earlier pipeline wrote."""
    return tuple(header for header in headers if header[0] not in names)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19
