"""A bounded span of the raw topic, read for training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_ae.digest import fingerprint
from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Int64, Partition, RecordBatch
from stream_ae.settings import Settings
from stream_ae.training.collect import Collected, Collector, SampleLayout, channels_of
from stream_ae.training.images.collect import frame_layout

# As many records are looked at to find out which channels a topic has.
CHANNEL_SAMPLE = 1000

Counted = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of the raw topic between two Kafka times."""

    ranges: tuple[OffsetRange, ...]
    start_ms: int
    end_ms: int

    @property
    def records(self) -> int:
        return sum(r.end - r.begin for r in self.ranges)

    @property
    def offsets(self) -> str:
        """`0:17-900,1:0-450`: partition, first offset, end offset (not included)."""
        return ",".join(f"{r.partition.number}:{r.begin}-{r.end}" for r in self.ranges)


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Flagged(msgspec.Struct):
    state: str
    source: _Source


def newest_span(reader: RecordReader, settings: Settings, now_ms: int) -> Span:
    """The newest `retrain.span_s` of the raw topic, as it is now."""
    return span_of(reader, settings.topics.raw, settings.retrain.span_s, now_ms)


def span_of(reader: RecordReader, topic: str, span_s: float, now_ms: int) -> Span:
    """The newest `span_s` of a topic, as it is now."""
    start_ms = now_ms - int(span_s * 1000)
    ranges = sorted(reader.ranges(topic, max(start_ms, 0)), key=lambda r: r.partition)
    return Span(tuple(r for r in ranges if r.end > r.begin), start_ms, now_ms)


def collect(
    reader: RecordReader,
    settings: Settings,
    span: Span,
    layout: SampleLayout | None,
    progress: Counted | None = None,
) -> Collected:
    """The span's samples, per stream, without the records that workers have flagged.

    Without `layout` (before the first version) the records themselves say which there are. Raises ConfigError if
    fewer than `retrain.min_samples` are left.
    """
    if not span.records:
        raise ConfigError(
            f"topic {settings.topics.raw} has no record of the last {settings.retrain.span_s:g} s: send some, or "
            "change retrain.span_s"
        )
    if layout is None:
        layout = _layout(reader, settings, span)
    flagged = _flagged_offsets(reader, settings, span)
    collector = Collector(layout, settings, settings.retrain.max_samples, flagged)
    read_into(collector, reader, span, progress)
    collected = collector.collected(min_length=settings.training.window if layout.frame is None else 1)
    if collected.kept < settings.retrain.min_samples:
        raise ConfigError(
            f"{collected.kept} usable samples in {collected.records} records of topic {settings.topics.raw} "
            f"({collected.rejected} records not readable, {collected.flagged} samples flagged): at least "
            f"{settings.retrain.min_samples} are needed; wait, or change retrain.span_s or retrain.min_samples"
        )
    return collected


def read_into(collector: Collector, reader: RecordReader, span: Span, progress: Counted | None = None) -> None:
    """Gather every record of the span; `progress` hears how many there have been."""
    done = 0
    for batch in reader.read(span.ranges):
        collector.add(batch)
        done += len(batch)
        if progress is not None:
            progress(done)


def run_key(span: Span, settings: Settings, software: str) -> str:
    """What a training depends on, as one name: the same data, settings and code give the same key."""
    parts = [software, settings.topics.raw, span.offsets, settings.training.model_dump_json()]
    return fingerprint(parts)


def _layout(reader: RecordReader, settings: Settings, span: Span) -> SampleLayout:
    """As the first records of the span have it."""
    share = max(CHANNEL_SAMPLE // max(len(span.ranges), 1), 1)
    heads = [OffsetRange(r.partition, r.begin, min(r.end, r.begin + share)) for r in span.ranges]
    if settings.decode.records == "images":
        return frame_layout(reader.read(heads), settings.images)
    return SampleLayout(channels_of(_values(reader.read(heads)), settings.decode))


def _values(batches: Iterable[RecordBatch]) -> Iterable[bytes | None]:
    for batch in batches:
        yield from batch.values


def _flagged_offsets(reader: RecordReader, settings: Settings, span: Span) -> dict[Partition, Int64]:
    """Offsets of raw records with flagged samples; an event's closing record is about a normal sample."""
    decoder = msgspec.json.Decoder(_Flagged)
    offsets: dict[int, list[int]] = {}
    for value in _values(reader.read(reader.ranges(settings.topics.flagged, max(span.start_ms, 0)))):
        try:
            event = decoder.decode(value or b"")
        except msgspec.DecodeError:
            # Somebody else's record on our topic tells nothing about a raw one.
            continue
        if event.state != "close":
            offsets.setdefault(event.source.partition, []).append(event.source.offset)
    return {
        Partition(settings.topics.raw, number): np.unique(np.array(found, np.int64))
        for number, found in offsets.items()
    }
