"""The worst of what was flagged, with the records around it: what a person wants to see of an hour.

Read once an hour and bounded, so records may be objects here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import Struct

from stream_ae.flow.codec import Codec
from stream_ae.flow.columns import concat_records, select_records
from stream_ae.flow.headers import FLAG, SCORE, header_text, source_of
from stream_ae.records import Bool, Float32, Float64, Int64, RecordBatch, empty_record_batch


class _Model(Struct):
    name: str
    version: str


class _Source(Struct):
    partition: int
    offset: int


class _Channel(Struct):
    name: str
    share: float | None = None


class Flagged(Struct):
    """What is used here of a record of the flagged topic; `score` None = not finite, so the worst there is."""

    stream: str
    timestamp_ms: int
    score: float | None
    threshold: float | None
    p_value: float | None
    model: _Model
    source: _Source
    channels: list[_Channel]
    error_map: str = ""

    @property
    def badness(self) -> float:
        return float("inf") if self.score is None else self.score

    @property
    def worst_channel(self) -> str:
        """The one with the largest share; empty if none is named."""
        return self.channels[0].name if self.channels else ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples of one stream around a flagged one, in time order.

    raw, cleaned:  (N, V), NaN = missing; cleaned NaN where it was not found.
    score:         (N,) of the sample's record, NaN likewise; flagged: (N,).
    """

    about: Flagged
    timestamp_ms: Int64
    raw: Float32
    cleaned: Float32
    score: Float64
    flagged: Bool

    def __len__(self) -> int:
        return len(self.timestamp_ms)


def worst_of(batches: Iterable[RecordBatch], version: tuple[str, str], count: int, apart: int) -> list[Flagged]:
    """The worst records that a version (name, number) flagged, the worst first, of one stream at least `apart` offsets
    apart: an event has many samples.
    """
    found = [one for batch in batches for value in batch.values if (one := _read(value)) is not None]
    found = [one for one in found if (one.model.name, one.model.version) == version]
    chosen: list[Flagged] = []
    for one in sorted(found, key=lambda each: (-each.badness, each.timestamp_ms)):
        if len(chosen) == count:
            break
        if not any(_near(one, other, apart) for other in chosen):
            chosen.append(one)
    return chosen


def stretch_of(about: Flagged, raw: RecordBatch, cleaned: RecordBatch, codec: Codec, most: int) -> Stretch:
    """At most so many samples of its stream on either side, of raw records of its partition, and their answers."""
    mine = _Samples.of(raw, codec, about.stream)
    at = int(np.searchsorted(mine.offset, about.source.offset))
    near = slice(max(at - most, 0), at + most + 1)
    shown = _Samples(mine.offset[near], mine.timestamp_ms[near], mine.values[near])
    of: dict[int, tuple[int, float, bool]] = {}
    for row, headers in enumerate(cleaned.headers):
        source = source_of(headers)
        if source is not None and source.partition == about.source.partition:
            of[source.offset] = row, _number(header_text(headers, SCORE)), header_text(headers, FLAG) == "1"
    known = np.isin(shown.offset, list(of))
    values = np.full_like(shown.values, np.nan)
    score, flagged = np.full(len(shown.offset), np.nan), np.zeros(len(shown.offset), np.bool_)
    if known.any():
        rows = np.array([of[offset][0] for offset in dict.fromkeys(shown.offset[known].tolist())], np.int64)
        answers = _Samples.of(select_records(cleaned, rows), codec, about.stream)
        # A block's samples stand in the order of the raw ones; a cleaned record of another length answers none.
        if len(answers.values) == int(known.sum()):
            values[known] = answers.values
        score[known] = [of[offset][1] for offset in shown.offset[known].tolist()]
        flagged[known] = [of[offset][2] for offset in shown.offset[known].tolist()]
    return Stretch(about, shown.timestamp_ms, shown.values, values, score, flagged)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Of one stream, in record order; offset: of each one's record."""

    offset: Int64
    timestamp_ms: Int64
    values: Float32

    @classmethod
    def of(cls, records: RecordBatch, codec: Codec, stream: str) -> "_Samples":
        samples = codec.decode(records).samples
        code = samples.streams.index(stream) if stream in samples.streams else -1
        mine = np.flatnonzero(samples.stream == code)
        return cls(records.offset[samples.row[mine]], samples.timestamp_ms[mine], samples.values[mine])


def joined_batches(topic: str, batches: Sequence[RecordBatch]) -> RecordBatch:
    """One batch of all of them."""
    return concat_records(batches) if batches else empty_record_batch(topic)


def _read(value: bytes | None) -> Flagged | None:
    """None for what is none of ours: others may write to the topic."""
    try:
        return msgspec.json.decode(value or b"", type=Flagged)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _number(text: str | None) -> float:
    """NaN where it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _near(one: Flagged, other: Flagged, apart: int) -> bool:
    same = (one.stream, one.source.partition) == (other.stream, other.source.partition)
    return same and abs(one.source.offset - other.source.offset) < apart
