"""Which raw records a training leaves out or takes in: what workers flagged, and what operators said of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from stream_ae.digest import fingerprint
from stream_ae.errors import RecordError
from stream_ae.flow.feedback import Feedback, Label, decode_feedback
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Bool, Partition, RecordBatch
from stream_ae.settings import Settings
from stream_ae.training.marks import Int8, Marks, Stroke

FLAGGED = 1
CODES = {Label.NORMAL: 1, Label.ANOMALY: 2}
NORMAL, ANOMALY = CODES[Label.NORMAL], CODES[Label.ANOMALY]


@dataclass(frozen=True, slots=True)
class Labels:
    """What operators said. `marks`: NORMAL or ANOMALY; `unreadable`: feedback records that say nothing, and why the
    first of them does not."""

    marks: Marks = field(default_factory=Marks)
    given: int = 0
    unreadable: int = 0
    why: str = ""

    def key(self, ranges: tuple[OffsetRange, ...]) -> str:
        """One name for what was said of these offsets; empty where that is nothing."""
        said = self.marks.within(ranges)
        return fingerprint(said) if said else ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Flagged records are left out unless an operator called them normal, and those that one called anomalies.

    settled:  `flagged` is exactly what shall be left out, whatever is said now: a version is trained again.
    """

    flagged: Marks = field(default_factory=Marks)
    labels: Labels = field(default_factory=Labels)
    settled: bool = False

    def of(self, batch: RecordBatch) -> "Selected":
        """How it goes with each record of a batch."""
        flagged, label = self.flagged.of(batch) == FLAGGED, self.labels.marks.of(batch)
        if self.settled:
            return Selected(flagged, np.zeros(len(batch), np.bool_), flagged & False, label)
        excluded = label == ANOMALY
        return Selected(flagged & (label == 0), excluded, flagged & (label == NORMAL), label)


@dataclass(frozen=True, slots=True)
class Selected:
    """(N,) of each record: left out as flagged, left out by an operator, flagged but taken in, what it was called."""

    flagged: Bool
    excluded: Bool
    taken_in: Bool
    label: Int8

    @property
    def left_out(self) -> Bool:
        return self.flagged | self.excluded


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Flagged(msgspec.Struct):
    state: str
    source: _Source


def selection_of(reader: RecordReader, settings: Settings, start_ms: int, labels: Labels) -> Selection:
    """As the flagged topic has it now, from `start_ms` on."""
    return Selection(_flagged(reader, settings, start_ms), labels)


def read_labels(reader: RecordReader, settings: Settings) -> Labels:
    """All that is on the feedback topic, the newest by Kafka's time over the others; none where it is not used."""
    if settings.topics.feedback is None:
        return Labels()
    said: list[tuple[int, Feedback]] = []
    unreadable, why = 0, ""
    for batch in reader.read(reader.ranges(settings.topics.feedback)):
        for value, at_ms, number, offset in _records(batch):
            try:
                said.append((at_ms, decode_feedback(value)))
            except RecordError as error:
                unreadable += 1
                why = why or f"{batch.topic}/{number}/{offset}: {error}"
    ours = [(at_ms, one) for at_ms, one in said if one.source.topic == settings.topics.raw]
    # A stable sort: what one partition of the topic holds at the same time stays in its order.
    ours.sort(key=lambda pair: pair[0])
    marks = Marks.painted(Stroke(_range(one), CODES[one.label]) for _, one in ours)
    return Labels(marks, len(ours), unreadable, why)


def _records(batch: RecordBatch) -> Iterator[tuple[bytes | None, int, int, int]]:
    columns = batch.timestamp_ms.tolist(), batch.partition.tolist(), batch.offset.tolist()
    yield from zip(batch.values, *columns, strict=True)


def _range(feedback: Feedback) -> OffsetRange:
    source = feedback.source
    return OffsetRange(Partition(source.topic, source.partition), source.offset, source.end)


def _flagged(reader: RecordReader, settings: Settings, start_ms: int) -> Marks:
    """Raw records with flagged samples; an event's closing record is about a normal sample."""
    decoder = msgspec.json.Decoder(_Flagged)
    strokes: list[Stroke] = []
    for batch in reader.read(reader.ranges(settings.topics.flagged, max(start_ms, 0))):
        for value in batch.values:
            try:
                event = decoder.decode(value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                # Somebody else's record on our topic tells nothing about a raw one.
                continue
            if event.state != "close" and event.source.offset >= 0:
                where = Partition(settings.topics.raw, event.source.partition)
                strokes.append(Stroke(OffsetRange(where, event.source.offset, event.source.offset + 1), FLAGGED))
    return Marks.painted(strokes)
