"""`feedback`: what an operator says of raw records, for the next retraining."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import settings

if TYPE_CHECKING:
    from stream_ae.flow.feedback import LabelledSource
    from stream_ae.records import OutgoingBatch
    from stream_ae.settings import KafkaSettings


class Said(StrEnum):
    """What a record is."""

    NORMAL = "normal"
    ANOMALY = "anomaly"


def feedback(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="As in the header stream-ae-source.")],
    label: Annotated[Said, typer.Argument(help="normal: train on it, flagged or not; anomaly: do not.")],
    end: Annotated[
        int | None, typer.Option("--end", min=1, help="All records up to this offset, which is not included.")
    ] = None,
) -> None:
    """Say what a raw record is; the newest word about it counts in the next retraining and in its gate.

    Needs topics.feedback to be set. For an alert, source is that of its flagged record.
    """
    from stream_ae.errors import ConfigError
    from stream_ae.flow.feedback import Label
    from stream_ae.kafka.admin import check_topics
    from stream_ae.kafka.driver import open_sink

    effective = settings(context)
    topic = effective.topics.feedback
    if topic is None:
        raise ConfigError("topics.feedback is not set: name a topic, and `stream-ae topics create` makes it")
    about = _source(source, end, effective.topics.raw)
    check_topics(effective.kafka, reads=[effective.topics.raw], writes=[topic])
    _check_there(effective.kafka, about)
    sink = open_sink(effective.kafka)
    try:
        sink.produce(_record(topic, about, Label(label.value)))
        sink.flush(effective.kafka.delivery_timeout_s)
    finally:
        sink.close()
    typer.echo(f"{source}{'' if end is None else f' to {end}'}: {label.value}, from the next retraining on")


def _source(text: str, end: int | None, raw: str) -> "LabelledSource":
    """Raises ConfigError if the text names no raw record of this pipeline."""
    from stream_ae.errors import ConfigError
    from stream_ae.flow.feedback import LabelledSource
    from stream_ae.flow.headers import SOURCE, source_of

    found = source_of(((SOURCE, text.encode()),))
    if found is None:
        raise ConfigError(f"{text!r} is no source: write topic/partition/offset, such as {raw}/0/1234")
    if found.topic != raw:
        raise ConfigError(f"{text} is not of the raw topic {raw} (topics.raw): is this the right pipeline?")
    if end is not None and end <= found.offset:
        raise ConfigError(f"--end {end} must lie above offset {found.offset}")
    return LabelledSource(found.topic, found.partition, found.offset, end)


def _check_there(kafka: "KafkaSettings", about: "LabelledSource") -> None:
    """Raises ConfigError if the raw topic has no such record yet: a slip of the pen would label nothing, unnoticed."""
    from stream_ae.errors import ConfigError
    from stream_ae.kafka.driver import open_reader

    reader = open_reader(kafka)
    try:
        ends = {each.partition.number: each.end for each in reader.ranges(about.topic)}
    finally:
        reader.close()
    if about.partition not in ends:
        raise ConfigError(f"topic {about.topic} has no partition {about.partition}: copy the source of the record")
    end = ends[about.partition]
    if about.end > end:
        raise ConfigError(
            f"topic {about.topic}, partition {about.partition} ends at offset {end}: give an offset below it, and an "
            "--end of at most that"
        )


def _record(topic: str, about: "LabelledSource", label: str) -> "OutgoingBatch":
    import numpy as np

    from stream_ae.flow.feedback import Feedback, Label, encode_feedback, feedback_key
    from stream_ae.records import NO_HEADERS, OutgoingBatch

    where, now = np.array([-1], np.int32), np.array([-1], np.int64)
    value = encode_feedback(Feedback(about, Label(label)))
    return OutgoingBatch(topic, where, now, [feedback_key(about)], [value], [NO_HEADERS])
