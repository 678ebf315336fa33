"""Which offsets of the raw topic are meant, and whether they are still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.training.marks import offset_ranges, offsets_text


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for: Kafka times [start, end), each open if it is None, or offsets as `0:17-900,1:0-450`."""

    start_ms: int | None = None
    end_ms: int | None = None
    offsets: str | None = None

    def __str__(self) -> str:
        if self.offsets is not None:
            return f"offsets {self.offsets}"
        start = f"from {_iso(self.start_ms)}" if self.start_ms is not None else "from the beginning"
        return f"{start} to {_iso(self.end_ms)}" if self.end_ms is not None else f"{start} to the end"


def time_ms(text: str) -> int:
    """Milliseconds since the Unix epoch of an ISO-8601 time, UTC where it names no zone.

    >>> time_ms("2026-11-01T00:00Z")
    1793491200000
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write it as 2026-11-01T00:00Z") from None
    return int((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp() * 1000)


def spans_of(reader: RecordReader, topic: str, asked: Asked) -> list[OffsetRange]:
    """The offsets that are meant, of each partition that has any. ConfigError where there are none, or not all yet."""
    held = {each.partition: each for each in reader.ranges(topic)}
    if asked.offsets is None:
        found = reader.ranges(topic, asked.start_ms, asked.end_ms)
    else:
        found = offset_ranges(topic, asked.offsets)
        for span in found:
            there = held.get(span.partition)
            if there is None:
                raise ConfigError(f"topic {topic} has no partition {span.partition.number}, which {asked} name")
            if span.end > there.end or sum(one.partition == span.partition for one in found) > 1:
                raise ConfigError(
                    f"partition {span.partition.number} of topic {topic} ends at offset {there.end}: {asked} must name "
                    "one span of each partition, up to there"
                )
    spans = sorted((span for span in found if span.begin < span.end), key=lambda span: span.partition)
    if not spans:
        raise ConfigError(f"topic {topic} holds no record {asked}; it holds offsets {offsets_text(held.values())}")
    return spans


def check_there(reader: RecordReader, spans: Sequence[OffsetRange], asked: Asked) -> None:
    """ConfigError if retention has deleted records that are still to be answered."""
    for span in spans:
        there = {each.partition: each for each in reader.ranges(span.partition.topic)}[span.partition]
        where = f"topic {span.partition.topic} partition {span.partition.number}"
        if span.begin < there.begin:
            raise ConfigError(
                f"{where}: retention has deleted offsets {span.begin}-{there.begin - 1}; begin with {there.begin}"
            )
        if asked.start_ms is None or span.begin != there.begin or not there.begin:
            continue
        oldest_ms = next((int(batch.timestamp_ms[0]) for batch in reader.read([there], 1)), asked.start_ms)
        if oldest_ms > asked.start_ms:
            raise ConfigError(
                f"{where}: retention has deleted what was before offset {there.begin}, and so what there may have been "
                f"{asked}; the oldest record is of {_iso(oldest_ms)}: begin there, or without --from"
            )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
