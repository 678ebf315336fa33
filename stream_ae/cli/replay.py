"""`replay`: a file, or the telemetry that ships with the package, as a stream of raw records."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.columns import ArrayOption, ChannelOption, ExcludeOption, StreamOption, TimestampOption, layout_of
from stream_ae.cli.context import progress_bars, settings

if TYPE_CHECKING:
    from stream_ae.ports import RecordSink
    from stream_ae.records import OutgoingBatch
    from stream_ae.tables import Layout, Series


FILE_INTERVAL_S, SAMPLE_INTERVAL_S = 1.0, 0.001


class Sample(StrEnum):
    """The two parts of the sample machines."""

    TRAIN = "train"
    TEST = "test"


def replay(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="CSV, Parquet or npz: a row a sample, a column a channel.", show_default=False)
    ] = None,
    sample: Annotated[
        Sample | None,
        typer.Option(help="Instead of a file: six real servers, the part to learn from or the later one with faults."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Default: topics.raw of the settings.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second; without it, flat out.")] = None,
    stream: Annotated[str | None, typer.Option(help="Stream id, for a file that holds a single stream.")] = None,
    interval_s: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Time between samples that come without timestamps; the last one is now. Default: 1, and 0.001 with "
            "--sample, so that one part can follow the other at once without going back in time.",
            show_default=False,
        ),
    ] = None,
    timestamp_column: TimestampOption = None,
    stream_column: StreamOption = None,
    channel: ChannelOption = None,
    exclude: ExcludeOption = None,
    array: ArrayOption = None,
) -> None:
    """Send a file's samples to a topic as JSON records, streams interleaved in time order, keyed by stream."""
    from stream_ae.clock import SystemClock
    from stream_ae.kafka.admin import check_topics
    from stream_ae.kafka.driver import open_sink
    from stream_ae.localdev.replay import BATCH, batches, laid_out, paced, size_for

    clock = SystemClock()
    layout = layout_of(timestamp_column, stream_column, channel, exclude, array)
    apart_s = interval_s or (FILE_INTERVAL_S if sample is None else SAMPLE_INTERVAL_S)
    series = [laid_out(one, apart_s, clock.wall_ms()) for one in _series(file, sample, layout, stream)]
    effective = settings(context)
    target = topic or effective.topics.raw
    check_topics(effective.kafka, writes=[target])
    outgoing = batches(series, target, BATCH if rate is None else size_for(rate))
    if rate is not None:
        steady = float(rate)
        outgoing = paced(outgoing, lambda: steady, clock, threading.Event())
    sink = open_sink(effective.kafka)
    try:
        sent = _send(sink, outgoing, series)
        sink.flush(effective.kafka.delivery_timeout_s)
    finally:
        sink.close()
    typer.echo(f"sent {sent} records of {len(series)} streams to {target}")


def _series(file: Path | None, sample: Sample | None, layout: "Layout", stream: str | None) -> "list[Series]":
    from stream_ae.errors import ConfigError

    match file, sample:
        case Path(), None:
            return _of_file(file, layout, stream)
        case None, Sample():
            return _of_sample(sample)
        case _:
            raise ConfigError("replay needs either a FILE or --sample train (or test): see stream-ae replay --help")


def _of_sample(part: Sample) -> "list[Series]":
    from stream_ae.localdev import sample_data
    from stream_ae.tables import Series

    return [
        Series(one.name, one.channels, None, one.train if part is Sample.TRAIN else one.test)
        for one in sample_data.load()
    ]


def _of_file(file: Path, layout: "Layout", stream: str | None) -> "list[Series]":
    from stream_ae.errors import ConfigError
    from stream_ae.tables import read

    series = read(file, layout).series()
    if stream is None:
        return series
    if len(series) > 1:
        raise ConfigError(f"{file} holds {len(series)} streams: --stream can name a single one only")
    return [replace(series[0], stream=stream)]


def _send(sink: "RecordSink", outgoing: "Iterator[OutgoingBatch]", series: "list[Series]") -> int:
    sent = 0
    with progress_bars() as progress:
        task = progress.add_task("records", total=sum(len(one.values) for one in series))
        for batch in outgoing:
            sink.produce(batch)
            sent += len(batch)
            progress.update(task, completed=sent)
    return sent
