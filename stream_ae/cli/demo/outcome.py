"""What the topics say after a demo run: every number of the report is computed from here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from stream_ae.flow.headers import FLAG, MODEL, SCORE, Source, header_text, source_of
from stream_ae.localdev.report import Answered, FlaggedEvent
from stream_ae.localdev.sample_data import INTERVAL_MS, Machine
from stream_ae.ports import RecordReader
from stream_ae.records import Headers, RecordBatch
from stream_ae.settings import TopicSettings

TOP_CHANNELS = 3


class _Sample(msgspec.Struct):
    stream: str
    timestamp: int
    values: dict[str, float | None]


class _Alert(msgspec.Struct):
    stream: str
    timestamp_ms: int
    state: str
    score: float | None
    threshold: float
    channels: list[dict[str, Any]]
    model: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of the topics.

    streams:  the test part of each machine, record by record.
    events:   the flagged events in it, as an alert consumer sees them.
    flagged:  cleaned records that carry a flag, those of the training part included.
    """

    streams: tuple[Answered, ...]
    events: tuple[FlaggedEvent, ...]
    flagged: int


def read_outcome(reader: RecordReader, topics: TopicSettings, machines: Sequence[Machine], begin_ms: int) -> Outcome:
    """Read raw, cleaned and flagged whole. `begin_ms` is the time of the first test sample."""
    alerts = list(_alerts(reader, topics.flagged))
    thresholds = {alert.model["version"]: alert.threshold for alert in alerts}
    columns = {machine.name: _Columns(machine, begin_ms) for machine in machines}
    wanted = {
        source: sample
        for source, sample, _ in _samples(_whole(reader, topics.raw))
        if sample.stream in columns and sample.timestamp >= begin_ms
    }
    flagged = 0
    for source, sample, headers in _samples(_whole(reader, topics.cleaned)):
        flagged += header_text(headers, FLAG) == "1"
        raw = wanted.get(source)
        if raw is not None:
            columns[sample.stream].put(raw, sample, headers)
    streams = tuple(columns[machine.name].answered(thresholds) for machine in machines)
    return Outcome(streams, tuple(events_of(alerts, streams, begin_ms)), flagged)


def events_of(alerts: Iterable[_Alert], answered: Sequence[Answered], begin_ms: int) -> Iterator[FlaggedEvent]:
    """Alerts joined from `open` to `close`; what is still open at the end ends with its last sample."""
    labels = {one.stream: one for one in answered}
    running: dict[str, list[_Alert]] = {}
    for alert in alerts:
        if alert.timestamp_ms < begin_ms or alert.stream not in labels:
            continue
        if alert.state == "open" and alert.stream in running:
            yield _event(running.pop(alert.stream), labels[alert.stream])
        running.setdefault(alert.stream, []).append(alert)
        if alert.state == "close":
            yield _event(running.pop(alert.stream), labels[alert.stream])
    for stream, alone in running.items():
        yield _event(alone, labels[stream])


def _event(alerts: Sequence[_Alert], stream: Answered) -> FlaggedEvent:
    flagged = [alert for alert in alerts if alert.state != "close"] or list(alerts)
    peak = max(flagged, key=lambda alert: np.inf if alert.score is None else alert.score)
    begin_ms, end_ms = flagged[0].timestamp_ms, flagged[-1].timestamp_ms
    inside = (stream.timestamp_ms >= begin_ms) & (stream.timestamp_ms <= end_ms)
    return FlaggedEvent(
        stream.stream,
        begin_ms,
        end_ms,
        np.inf if peak.score is None else peak.score,
        tuple(str(channel["name"]) for channel in peak.channels[:TOP_CHANNELS]),
        bool(stream.label[inside].any()),
    )


class _Columns:
    """One machine's test part, filled in record by record; the row is known from the sample's time."""

    def __init__(self, machine: Machine, begin_ms: int) -> None:
        rows, channels = machine.test.shape
        self._machine = machine
        self._begin_ms = begin_ms
        self._raw = np.full((rows, channels), np.nan, np.float32)
        self._cleaned = np.full((rows, channels), np.nan, np.float32)
        self._score = np.full(rows, np.nan)
        self._flag = np.zeros(rows, np.bool_)
        self._version = np.zeros(rows, np.int64)

    def put(self, raw: _Sample, cleaned: _Sample, headers: Headers) -> None:
        row = (raw.timestamp - self._begin_ms) // INTERVAL_MS
        self._raw[row] = _values(raw, self._machine.channels)
        self._cleaned[row] = _values(cleaned, self._machine.channels)
        self._score[row] = float(header_text(headers, SCORE) or "nan")
        self._flag[row] = header_text(headers, FLAG) == "1"
        self._version[row] = int((header_text(headers, MODEL) or "/0").rpartition("/")[2])

    def answered(self, thresholds: Mapping[str, float]) -> Answered:
        """The rows that an answer was found for."""
        there = self._version > 0
        version = self._version[there]
        known = {int(number): threshold for number, threshold in thresholds.items()}
        return Answered(
            self._machine.name,
            self._machine.channels,
            (self._begin_ms + INTERVAL_MS * np.arange(len(there), dtype=np.int64))[there],
            self._raw[there],
            self._cleaned[there],
            self._score[there],
            np.array([known.get(number, np.nan) for number in version.tolist()]),
            self._flag[there],
            self._machine.label[there],
            version,
        )


def _values(sample: _Sample, channels: Sequence[str]) -> list[float]:
    return [np.nan if (value := sample.values.get(name)) is None else value for name in channels]


def _samples(batches: Iterable[RecordBatch]) -> Iterator[tuple[Source, _Sample, Headers]]:
    """The readable records with the raw record they are, or that they answer."""
    decoder = msgspec.json.Decoder(_Sample)
    for batch in batches:
        for row, (value, headers) in enumerate(zip(batch.values, batch.headers, strict=True)):
            try:
                sample = decoder.decode(value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # one of the broken records, which the demo threw in itself
            here = Source(batch.topic, int(batch.partition[row]), int(batch.offset[row]))
            yield source_of(headers) or here, sample, headers


def _alerts(reader: RecordReader, topic: str) -> Iterator[_Alert]:
    decoder = msgspec.json.Decoder(_Alert)
    for batch in _whole(reader, topic):
        yield from (decoder.decode(value) for value in batch.values if value)


def _whole(reader: RecordReader, topic: str) -> Iterator[RecordBatch]:
    return reader.read(reader.ranges(topic))
