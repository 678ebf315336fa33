"""One partition's span through the flow that workers use: the same windows, the same decisions, the same records."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from stream_ae.flow.horizon import depth_of
from stream_ae.flow.lookback import Lookback
from stream_ae.flow.model import ServedModel
from stream_ae.flow.offsets import Rewind, metadata_of
from stream_ae.flow.pipeline import Outputs, Pipeline, Work
from stream_ae.flow.profiles import Profiles
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Position
from stream_ae.settings import Settings
from stream_ae.worker.inference import Answer, Inferrer

# One batch on the device, the next one decoded behind it.
MAX_IN_FLIGHT = 2
# Times a stream's time to live: so far back is read first, and from there twice as far each time it was not enough.
FIRST_LOOK = 2


@dataclass(frozen=True, slots=True)
class Said:
    """What left, and the offset before which every record of the span has left."""

    reached: int
    outputs: Outputs


@dataclass(frozen=True, slots=True)
class Source:
    """What a span is read from and answered by. `tables`: outputs say it in columns too."""

    reader: RecordReader
    model: ServedModel
    profiles: Profiles | None
    settings: Settings
    software: str
    tables: bool = False


def replayed(source: Source, span: OffsetRange) -> Iterator[Said]:
    """Answers to every record of the span, in its order, as workers with this version would have given them.

    Records before the span rebuild windows and events, and records after it are looked ahead to; neither is answered.
    With look-ahead, the newest samples of a stream are answered with what there is where the log ends or the stream
    has fallen silent for good. Raises TooManyDeadLetters, TransientError, and ModelError if the version does not fit.
    """
    position = Position(span.begin, metadata_of(rewind_before(source, span)))
    pipeline = Pipeline(source.settings, source.software, source.tables)
    pipeline.use(source.model, source.profiles)
    start = pipeline.assign({span.partition: position}, {span.partition: span.end}).get(span.partition, span.begin)
    with ThreadPoolExecutor(1, thread_name_prefix="device") as device, closing(pipeline):
        turns = _Turns(pipeline, device, span)
        whole = OffsetRange(span.partition, start, span.end)
        for records in source.reader.read([whole], pipeline.at_once):
            pipeline.feed(records, 0.0)
            yield from turns.taken(all_of_it=False)
        yield from turns.taken(all_of_it=True)
        if pipeline.held_records:
            yield from _looked_ahead(source, turns, pipeline, span)
        # Long after the last record: whoever still waits for newer ones has fallen idle.
        yield from turns.taken(all_of_it=True, now_s=2 * source.settings.batch.idle_flush_s + 1)


def rewind_before(source: Source, span: OffsetRange) -> Rewind:
    """From where on the log is needed to answer the span.

    As far back as the model's windows reach, which only the records can tell: they are read, without asking the model,
    from a Kafka time on; from an earlier one if that was not early enough, and at most from where it must be. What
    retention has deleted is not there to be read: then windows begin padded, as a worker's do.
    """
    held = {each.partition: each for each in source.reader.ranges(span.partition.topic)}[span.partition]
    ttl_ms = round(source.settings.batch.state_ttl_s * 1000)
    first_ms = next((int(batch.timestamp_ms[0]) for batch in source.reader.read([span], 1)), -1)
    looks, most = FIRST_LOOK, depth_of(source.model.window, source.settings.decide.close_after) + FIRST_LOOK
    while True:
        since_ms = first_ms - looks * ttl_ms
        begin = held.begin
        if since_ms > 0:
            since = {each.partition: each for each in source.reader.ranges(span.partition.topic, since_ms)}
            begin = min(since[span.partition].begin, span.begin)
        with closing(Lookback(source.model, source.settings, span.partition.number)) as lookback:
            for records in source.reader.read([OffsetRange(span.partition, begin, span.begin)], lookback.at_once):
                lookback.take(records)
            rewind = lookback.rewind()
        if rewind is None or begin <= held.begin or looks >= most or lookback.reaches(rewind, since_ms):
            return rewind or Rewind(span.begin)
        looks *= 2


def _looked_ahead(source: Source, turns: "_Turns", pipeline: Pipeline, span: OffsetRange) -> Iterator[Said]:
    """Read on beyond the span until its last records have been answered."""
    end = {each.partition: each.end for each in source.reader.ranges(span.partition.topic)}[span.partition]
    for records in source.reader.read([OffsetRange(span.partition, span.end, end)], pipeline.at_once):
        pipeline.feed(records, 0.0)
        yield from turns.taken(all_of_it=True)
        if not pipeline.held_records:
            return


class _Turns:
    """Batches on their way to the device and back, in order."""

    def __init__(self, pipeline: Pipeline, device: ThreadPoolExecutor, span: OffsetRange) -> None:
        self._pipeline = pipeline
        self._device = device
        self._span = span
        self._inferrer = Inferrer()
        self._in_flight: deque[tuple[Work, Future[Answer] | None]] = deque()

    def taken(self, all_of_it: bool, now_s: float = 0.0) -> Iterator[Said]:
        """Answer the batches that are full; with `all_of_it` also the last one, and all that are in flight."""
        while (work := self._pipeline.take(now_s, device_idle=all_of_it)) is not None:
            asked = self._device.submit(self._inferrer.answer, work.model, work.windows) if len(work.windows) else None
            self._in_flight.append((work, asked))
            if len(self._in_flight) == MAX_IN_FLIGHT:
                yield self._completed()
        while all_of_it and self._in_flight:
            yield self._completed()

    def _completed(self) -> Said:
        work, asked = self._in_flight.popleft()
        answer = asked.result() if asked is not None else None
        if answer is None:
            outputs = self._pipeline.complete(work, None)
        else:
            outputs = self._pipeline.complete(work, answer.inference, answer.failed)
        position = self._pipeline.positions().get(self._span.partition)
        return Said(self._span.begin if position is None else position.offset, outputs)
