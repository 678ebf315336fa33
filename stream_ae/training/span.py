"""A bounded span of the raw topic, read for training."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from stream_ae.digest import fingerprint
from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Partition, RecordBatch
from stream_ae.settings import Settings
from stream_ae.training.collect import Collected, Collector, SampleLayout, channels_of
from stream_ae.training.images.collect import frame_layout
from stream_ae.training.labels import Selection
from stream_ae.training.marks import offset_ranges, offsets_text

# As many records are looked at to find out which channels a topic has.
CHANNEL_SAMPLE = 1000

Counted = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of the raw topic, none of whose records has a Kafka time before `start_ms`; `told`: which, in words."""

    ranges: tuple[OffsetRange, ...]
    start_ms: int
    end_ms: int
    told: str = ""

    @property
    def records(self) -> int:
        return sum(r.end - r.begin for r in self.ranges)

    @property
    def offsets(self) -> str:
        """`0:17-900,1:0-450`, see `marks.offsets_text`."""
        return offsets_text(self.ranges)


def newest_span(reader: RecordReader, settings: Settings, now_ms: int) -> Span:
    """The newest `retrain.span_s` of the raw topic, as it is now."""
    return span_of(reader, settings.topics.raw, settings.retrain.span_s, now_ms)


def span_of(reader: RecordReader, topic: str, span_s: float, now_ms: int) -> Span:
    """The newest `span_s` of a topic, as it is now."""
    start_ms = now_ms - int(span_s * 1000)
    ranges = sorted(reader.ranges(topic, max(start_ms, 0)), key=lambda r: r.partition)
    return Span(tuple(r for r in ranges if r.end > r.begin), start_ms, now_ms, f"of the last {span_s:g} s")


def span_since(span: Span, before: str) -> Span:
    """What of a span lies beyond the offsets `before`, which are written as `Span.offsets`; all of a partition that
    they say nothing of."""
    ends: dict[Partition, int] = {}
    for topic in {r.partition.topic for r in span.ranges}:
        for known in offset_ranges(topic, before):
            ends[known.partition] = max(known.end, ends.get(known.partition, 0))
    newer = (replace(r, begin=max(r.begin, ends.get(r.partition, 0))) for r in span.ranges)
    return replace(span, ranges=tuple(r for r in newer if r.end > r.begin), told=f"beyond offsets {before}")


def span_at(reader: RecordReader, topic: str, offsets: str, now_ms: int) -> Span:
    """Exactly these offsets, written as `Span.offsets`.

    Raises ConfigError if they cannot be read as such, or if records of them are not (or no longer) in the topic.
    """
    ranges = sorted(offset_ranges(topic, offsets), key=lambda r: (r.partition, r.begin))
    _check_there({r.partition: r for r in reader.ranges(topic)}, ranges)
    return Span(tuple(ranges), 0, now_ms, f"at offsets {offsets}")


def _check_there(held: Mapping[Partition, OffsetRange], ranges: list[OffsetRange]) -> None:
    for one in ranges:
        topic, number = one.partition
        if one.partition not in held:
            raise ConfigError(
                f"topic {topic} has no partition {number}, which offsets {number}:{one.begin}-{one.end} name"
            )
        there = held[one.partition]
        if one.begin < there.begin:
            raise ConfigError(
                f"records {one.begin}-{min(one.end, there.begin)} of topic {topic}, partition {number} are gone: "
                f"retention has deleted what was before offset {there.begin}; lengthen retention.ms of the topic to "
                "keep what shall be trained on again"
            )
        if one.end > there.end:
            raise ConfigError(
                f"topic {topic}, partition {number} ends at offset {there.end}, before {one.end}: give an end up to it"
            )
        if sum(other.partition == one.partition for other in ranges) > 1:
            raise ConfigError(f"offsets name partition {number} more than once: give one span of each partition")


def collect(
    reader: RecordReader,
    settings: Settings,
    span: Span,
    layout: SampleLayout | None,
    selection: Selection,
    progress: Counted | None = None,
) -> Collected:
    """The span's samples, per stream, without the records that `selection` leaves out.

    Without `layout` (before the first version) the records themselves say which there are. Raises ConfigError if
    fewer than `retrain.min_samples` are left.
    """
    topic = settings.topics.raw
    if not span.records:
        raise ConfigError(f"topic {topic} has no record {span.told}: send some, or change retrain.span_s")
    expected = layout
    if layout is None:
        layout = _layout(reader, settings, span)
    collector = Collector(layout, settings, settings.retrain.max_samples, selection)
    read_into(collector, reader, span, progress)
    collected = collector.collected(min_length=settings.training.window if layout.frame is None else 1)
    if collected.kept < settings.retrain.min_samples:
        counts = collected.counts
        raise ConfigError(
            f"{collected.kept} usable samples in {counts.records} records of topic {topic} {span.told} "
            f"({counts.rejected} records not readable, {counts.flagged} samples flagged, {counts.excluded} excluded by "
            f"operators, {counts.duplicates} duplicates): at least {settings.retrain.min_samples} are needed; wait, or "
            f"change retrain.span_s or retrain.min_samples{_expected(expected, collected)}"
        )
    return collected


def _expected(layout: SampleLayout | None, collected: Collected) -> str:
    """Where most records were not what the champion is for: what that is."""
    if layout is None or layout.frame is not None or 2 * collected.counts.rejected < collected.counts.records:
        return ""
    channels = ", ".join(layout.channels)
    return (
        f". They were read with the champion's channels, {channels}: if the topic has others now, serve them under "
        "another pipeline name; if the champion is the wrong one, promote another"
    )


def read_into(collector: Collector, reader: RecordReader, span: Span, progress: Counted | None = None) -> None:
    """Gather every record of the span; `progress` hears how many there have been."""
    done = 0
    for batch in reader.read(span.ranges):
        collector.add(batch)
        done += len(batch)
        if progress is not None:
            progress(done)


def run_key(span: Span, settings: Settings, software: str, labels: str = "") -> str:
    """What a training depends on, as one name: the same data, labels, settings and code give the same key."""
    data = settings.retrain.model_dump(include={"keep", "max_samples", "holdout_share", "check_data"})
    parts = [software, settings.topics.raw, span.offsets, settings.training.model_dump_json(), data, labels]
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
