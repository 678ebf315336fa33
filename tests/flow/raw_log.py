"""A model small enough to check by head, logs of records for it, and a bench that drives a pipeline through them."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from stream_ae.flow.headers import FLAG, MODEL, REASON, SCORE, source_of
from stream_ae.flow.pipeline import Outputs, Pipeline, Work
from stream_ae.records import Float32, Inference, ModelIdentity, Partition, Position, RecordBatch
from stream_ae.settings import Settings
from tests.no_bins import NoBins

CHANNELS = ("a", "b")


@dataclass(frozen=True, eq=False)
class MeanModel(NoBins):
    """Says that the mean of the window was meant; the score is how far the target's first channel is from it.

    shift:  added to what it says of the first channel, so that an answer tells which version it is of.
    """

    window: int = 4
    lookahead: int = 0
    threshold: float = 2.0
    start_threshold: float = 0.0
    version: str = "1"
    shift: float = 0.0
    channels: tuple[str, ...] = CHANNELS
    frame: tuple[int, int, int] | None = None

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("mean", self.version, f"digest-{self.version}")

    def infer(self, windows: Float32) -> Inference:
        count = np.maximum(np.sum(~np.isnan(windows), axis=2), 1)
        mean = np.nansum(windows, axis=2, dtype=np.float64) / count
        target = windows[:, 0, -1 - self.lookahead]
        score = np.abs(np.where(np.isnan(target), mean[:, 0], target) - mean[:, 0])
        share = np.full((len(windows), len(self.channels)), 1 / len(self.channels), np.float32)
        x_hat = mean + np.array([self.shift, *[0.0] * (len(self.channels) - 1)])
        return Inference(x_hat.astype(np.float32), score, 1 / (1 + score), share)


@dataclass(frozen=True)
class Raw:
    """One raw record. `values` None is a tombstone; several rows are a block, NaN is missing; `broken` is not JSON."""

    offset: int
    partition: int = 0
    stream: str = "s"
    kafka_ms: int = 0
    times: tuple[int, ...] = (0,)
    values: tuple[float, ...] | None = (0.0,)
    broken: bool = False

    def bytes(self) -> bytes | None:
        if self.values is None:
            return None
        if self.broken:
            return b'{"stream": "' + self.stream.encode() + b'", "timestamp": '
        rows = [{"a": value, "b": 1.0} for value in self.values]
        if len(rows) == 1:
            return orjson.dumps({"stream": self.stream, "timestamp": self.times[0], "values": rows[0]})
        block = [[value, 1.0] for value in self.values]
        return orjson.dumps({"stream": self.stream, "timestamp": list(self.times), "values": block})


def raw_batch(records: Sequence[Raw]) -> RecordBatch:
    return RecordBatch(
        "raw",
        np.array([record.partition for record in records], np.int32),
        np.array([record.offset for record in records], np.int64),
        np.array([record.kafka_ms for record in records], np.int64),
        [None] * len(records),
        [record.bytes() for record in records],
        [()] * len(records),
    )


@dataclass(frozen=True)
class Trace:
    """What one raw record left: its cleaned value bytes, score, flag and version, or the reason of its dead letter."""

    cleaned: bytes | None = None
    score: str = ""
    flag: str = ""
    reason: str = ""
    model: str = ""


@dataclass(frozen=True)
class Event:
    """One flagged record, by its source and state; a block may have several."""

    partition: int
    offset: int
    timestamp_ms: int
    state: str


@dataclass
class Left:
    """Everything that a pipeline gave out, in order."""

    traces: list[tuple[Partition, int, Trace]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def add(self, outputs: Outputs) -> None:
        for batch in (outputs.cleaned, outputs.dead_letters):
            for value, headers in zip(batch.values, batch.headers, strict=True):
                source = source_of(headers)
                assert source is not None
                texts = {name: text.decode() for name, text in headers}
                trace = Trace(
                    value if REASON not in texts else None,
                    texts.get(SCORE, ""),
                    texts.get(FLAG, ""),
                    texts.get(REASON, ""),
                    texts.get(MODEL, ""),
                )
                self.traces.append((Partition(source.topic, source.partition), source.offset, trace))
        for value in outputs.flagged.values:
            event = orjson.loads(value or b"")
            where = event["source"]
            self.events.append(Event(where["partition"], where["offset"], event["timestamp_ms"], event["state"]))

    def of(self, partition: int, since: int = 0) -> dict[int, Trace]:
        """Traces by offset, ascending; every record leaves one, and cleaned ones left in that order."""
        found = [(offset, trace) for where, offset, trace in self.traces if where.number == partition]
        found = [(offset, trace) for offset, trace in found if offset >= since]
        cleaned = [offset for offset, trace in found if not trace.reason]
        assert cleaned == sorted(set(cleaned)), "cleaned records doubled or out of order"
        assert len({offset for offset, _ in found}) == len(found), "a record left two traces"
        return dict(sorted(found, key=lambda one: one[0]))

    def events_of(self, partition: int, since: int = 0) -> list[Event]:
        return [event for event in self.events if event.partition == partition and event.offset >= since]


class Bench:
    """Drives one pipeline as a worker does: feeds, takes up to two works, completes them in order, commits."""

    def __init__(self, settings: Settings, model: MeanModel, committed: Mapping[Partition, Position | None]) -> None:
        self.pipeline = Pipeline(settings, "stream-ae/test")
        self.pipeline.use(model)
        self.starts = self.pipeline.assign(committed)
        self.committed: dict[Partition, Position | None] = dict(committed)
        self.left = Left()
        self.works: deque[Work] = deque()
        self.counts: list[Outputs] = []

    def feed(self, records: Sequence[Raw], now_s: float = 0.0) -> None:
        self.pipeline.feed(raw_batch(records), now_s)

    def take(self, now_s: float = 0.0, device_idle: bool = True) -> bool:
        work = self.pipeline.take(now_s, device_idle)
        if work is not None:
            self.works.append(work)
        return work is not None

    def complete(self) -> Outputs:
        work = self.works.popleft()
        assert isinstance(work.model, MeanModel)
        outputs = self.pipeline.complete(work, work.model.infer(work.windows) if len(work.windows) else None)
        self.left.add(outputs)
        self.counts.append(outputs)
        return outputs

    def run(self, now_s: float = 0.0) -> None:
        """Until nothing is due any more."""
        while self.take(now_s) or self.works:
            if len(self.works) == 2 or not self.take(now_s):
                self.complete()

    def commit(self) -> None:
        positions = self.pipeline.positions()
        self.pipeline.committed(positions)
        self.committed |= positions
