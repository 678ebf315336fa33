"""`tail`: the newest records of an output topic, for people."""

import threading
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import console, settings

if TYPE_CHECKING:
    from rich.text import Text

    from stream_ae.ports import OffsetRange, RecordReader
    from stream_ae.records import RecordBatch

LOOK_EVERY_S = 0.3
FOLLOWED_AT_ONCE = 1000


class Which(StrEnum):
    """The topics of a pipeline, by role."""

    RAW = "raw"
    CLEANED = "cleaned"
    FLAGGED = "flagged"
    DEAD_LETTERS = "dead-letters"


def tail(
    context: typer.Context,
    which: Annotated[Which, typer.Argument(help="Whose name is in the settings: topics.*")],
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the newest records.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what arrives, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a record: value, headers, place.")] = False,
) -> None:
    """Print the newest records of a topic, one line each, oldest first; takes part in no consumer group."""
    from stream_ae.cli.pretty import as_json_line, as_text
    from stream_ae.kafka.admin import check_topics
    from stream_ae.kafka.driver import open_reader

    effective = settings(context)
    topic = getattr(effective.topics, which.name.lower())
    check_topics(effective.kafka, reads=[topic])
    out = console()
    reader = open_reader(effective.kafka)
    try:
        for batch, row in newest(reader, topic, count, follow):
            line: Text | str = as_json_line(batch, row) if as_json else as_text(which.value, batch, row)
            out.print(line, soft_wrap=True, markup=False)
    finally:
        reader.close()


def newest(reader: "RecordReader", topic: str, count: int, follow: bool) -> "Iterator[tuple[RecordBatch, int]]":
    """The newest `count` records in the order of their Kafka times, then, if asked, every new one for ever."""
    from stream_ae.clock import SystemClock

    known = reader.ranges(topic)
    yield from _last(reader, [_newest_part(each, count) for each in known], count)
    clock, never = SystemClock(), threading.Event()
    while follow:
        seen = {each.partition: each.end for each in known}
        known = reader.ranges(topic)
        fresh = [_after(each, seen.get(each.partition, each.begin)) for each in known]
        if all(each.begin == each.end for each in fresh):
            clock.wait(never, LOOK_EVERY_S)
            continue
        for batch in reader.read(fresh, FOLLOWED_AT_ONCE):
            yield from ((batch, row) for row in range(len(batch)))


def _last(reader: "RecordReader", ranges: "Sequence[OffsetRange]", count: int) -> "Iterator[tuple[RecordBatch, int]]":
    rows = [(batch, row) for batch in reader.read(ranges) for row in range(len(batch))]
    rows.sort(key=lambda each: int(each[0].timestamp_ms[each[1]]))
    yield from rows[max(len(rows) - count, 0) :]


def _newest_part(whole: "OffsetRange", count: int) -> "OffsetRange":
    return _after(whole, max(whole.end - count, whole.begin))


def _after(whole: "OffsetRange", begin: int) -> "OffsetRange":
    from stream_ae.ports import OffsetRange

    return OffsetRange(whole.partition, min(max(begin, whole.begin), whole.end), whole.end)
