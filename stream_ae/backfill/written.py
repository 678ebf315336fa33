"""How far an earlier run came with topics, found in what it wrote.

Flagged records and dead letters leave first, and once they are acknowledged the cleaned records and the codes, of which
no more than `GROUP` of a partition are on their way at once. So all is there of the records before the last `GROUP`
cleaned ones; those are answered again, and what is there already is left out. That needs neither a consumer group,
whose offsets brokers forget, nor transactions, which not every client has.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from stream_ae.errors import ConfigError
from stream_ae.flow.headers import MODEL, Source, header_text, model_text, source_of
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import ModelIdentity, OutgoingBatch, RecordBatch
from stream_ae.settings import TopicSettings

GROUP = 10_000
"""Cleaned records of a partition of which it is not known whether they have arrived."""


OTHER = "that is another backfill; choose another suffix, or delete the topics"


@dataclass(frozen=True, slots=True)
class Written:
    """What is there of a backfill.

    begins:  by partition, the raw offset before which nothing is missing.
    there:   records from there on: topic, partition and offset of the raw record, and how many of it.
    """

    begins: Mapping[int, int]
    there: Counter[tuple[str, int, int]] = field(default_factory=Counter)


class _EventSource(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Event(msgspec.Struct):
    source: _EventSource


_events = msgspec.json.Decoder(_Event)


def sources_of(batch: RecordBatch | OutgoingBatch, flagged: bool) -> Iterator[Source | None]:
    """The raw record of each record: flagged ones say it in their value, all others in a header."""
    if not flagged:
        yield from (source_of(headers) for headers in batch.headers)
        return
    for value in batch.values:
        try:
            source = _events.decode(value or b"").source
        except msgspec.DecodeError:
            # Somebody else's record on our topic.
            yield None
        else:
            yield Source(source.topic, source.partition, source.offset)


def found_written(
    reader: RecordReader, names: TopicSettings, spans: Sequence[OffsetRange], model: ModelIdentity
) -> Written:
    """What is there in the topics `names` of the spans of the raw topic.

    Raises ConfigError if they hold what another backfill wrote: by another version, or of a later span.
    """
    begins: dict[int, int] = {}
    there: Counter[tuple[str, int, int]] = Counter()
    for topic in filter(None, (names.cleaned, names.latent)):
        held = {each.partition.number: each for each in reader.ranges(topic)}
        for span in spans:
            number, whole = span.partition.number, held[span.partition.number]
            tail = _tail(reader, whole, span, model)
            there.update((topic, source.partition, source.offset) for source in tail)
            since = span.begin
            if whole.end - whole.begin > GROUP or whole.begin > 0:
                _check_beginning(reader, names, whole, span)
                since = max(min((source.offset for source in tail), default=span.begin), span.begin)
            begins[number] = min(begins.get(number, since), since)
    for topic in (names.flagged, names.dead_letters):
        for batch in reader.read(reader.ranges(topic)):
            for found in sources_of(batch, flagged=topic == names.flagged):
                if found is not None and found.topic == names.raw:
                    there[topic, found.partition, found.offset] += 1
    kept = {key: count for key, count in there.items() if key[2] >= begins.get(key[1], key[2] + 1)}
    return Written(begins, Counter(kept))


def _tail(reader: RecordReader, whole: OffsetRange, span: OffsetRange, model: ModelIdentity) -> list[Source]:
    """The raw records of the last `GROUP` records of a partition that is written to."""
    sources: list[Source] = []
    place = f"topic {whole.partition.topic} partition {whole.partition.number}"
    for batch in reader.read([OffsetRange(whole.partition, max(whole.begin, whole.end - GROUP), whole.end)]):
        for headers, source in zip(batch.headers, sources_of(batch, flagged=False), strict=True):
            by = header_text(headers, MODEL)
            if source is None or source[:2] != span.partition:
                raise ConfigError(f"{place} holds records that are not of {span.partition.topic}: {OTHER}")
            if by != model_text(model).decode():
                raise ConfigError(f"{place} holds what {by} said, not {model.name}/{model.version}: {OTHER}")
            if source.offset >= span.end:
                raise ConfigError(
                    f"{place} holds raw offset {source.offset}, beyond the span {span.begin}-{span.end}: {OTHER}"
                )
            sources.append(source)
    return sources


def _check_beginning(reader: RecordReader, names: TopicSettings, whole: OffsetRange, span: OffsetRange) -> None:
    """That nothing is missing at the beginning of the span: what was written began there, or before."""
    first = next((source_of(batch.headers[0]) for batch in reader.read([whole], 1)), None)
    if first is not None and first.offset <= span.begin:
        return
    begun = first.offset if first is not None else span.end
    letters = {
        source.offset
        for batch in reader.read(reader.ranges(names.dead_letters))
        for source in sources_of(batch, flagged=False)
        if source is not None and source[:2] == span.partition
    }
    for batch in reader.read([OffsetRange(span.partition, span.begin, min(begun, span.end))]):
        missing = sorted(set(batch.offset.tolist()) - letters)
        if missing:
            raise ConfigError(
                f"topic {whole.partition.topic} partition {whole.partition.number} begins with raw offset {begun}, "
                f"but {missing[0]} is missing: {OTHER}"
            )
