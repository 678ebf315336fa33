"""From polled records to windows, and from a model's answers to records that leave: pure, time is handed in.

```
feed ─► batch, decode ─► take ─► (the caller asks the model) ─► complete ─► cleaned, flagged, dead letters
                                                                     └────► positions
```
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from stream_ae.errors import InvariantError, ModelError
from stream_ae.flow.admission import Rules
from stream_ae.flow.batch import Batcher, Closed
from stream_ae.flow.chunk import Chunk
from stream_ae.flow.codec import Codec
from stream_ae.flow.codecs import codec_of
from stream_ae.flow.columns import Decoded, select_decoded, select_records
from stream_ae.flow.dead_letter_limits import DeadLetterLimits
from stream_ae.flow.emission import Emission, Outputs
from stream_ae.flow.memory import Memory, joined
from stream_ae.flow.model import ServedModel, difference, fitting
from stream_ae.flow.offsets import FOREVER, Progress
from stream_ae.flow.outbox import Outbox
from stream_ae.flow.profiles import Profiles, Served
from stream_ae.flow.value_limits import ValueLimits
from stream_ae.flow.window import Ready
from stream_ae.records import Float32, Inference, Int64, Partition, Position, RecordBatch
from stream_ae.settings import Settings

__all__ = ["Outputs", "Pipeline", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """One batch for the model. Works are completed in the order in which they were taken.

    served:     what this batch was cut for and must be answered by; `profile` (B,) the rows of it.
    given:      see `Served.given`.
    windows:    (B, C, T) as the model knows them; with B = 0 (only broken records or tombstones) it is not asked.
    oldest_ms:  Kafka time of the oldest record that will leave an output, -1 = none.
    rewound:    windows of samples that left before and were read again to rebuild state (with look-ahead not all).
    """

    served: Served
    given: Float32 | None
    windows: Float32
    oldest_ms: int
    tokens: Int64
    profile: Int64
    chunk: Chunk | None
    rewound: Int64

    @property
    def model(self) -> ServedModel:
        return self.served.model


@dataclass(frozen=True, slots=True)
class _Decoded:
    batch: Closed
    decoded: Decoded


@dataclass(slots=True)
class _Serving:
    """What exists from the first model on; its channels stay, `served` is what is in use."""

    served: Served
    codec: Codec
    memory: Memory
    outbox: Outbox


class Pipeline:
    """The flow of one consumer's partitions of the raw topic. Used from one thread.

    The order of calls: `use` a model, `assign` partitions, then `feed`, `take` and `complete` in any rhythm.
    """

    def __init__(self, settings: Settings, software: str, tables: bool = False) -> None:
        """`tables`: outputs say of what leaves in columns too."""
        self._settings = settings
        self._software = software
        self._tables = tables
        self._batcher = Batcher(settings.batch)
        self._decoded: deque[_Decoded] = deque()
        self._in_flight: deque[Work] = deque()
        self._partitions: dict[int, Progress] = {}
        self._serving: _Serving | None = None
        self._asked: tuple[ServedModel, Profiles | None] | None = None
        self._next: Served | None = None

    # -- models and partitions -------------------------------------------------------------------------------------

    def use(self, model: ServedModel, profiles: Profiles | None = None) -> None:
        """Serve this version from the next batch on; calling it again with the same costs nothing.

        Profiles that were learnt with another model are left aside.
        Raises ModelError for other channels or frames than those in use.
        """
        if self._asked is not None and self._asked[0] is model and self._asked[1] is profiles:
            return
        asked = Served(model, profiles)
        if self._serving is None:
            self._serving = self._start(asked)
        else:
            wrong = difference(model, self._serving.served.model)
            if wrong is not None:
                named = f"{model.identity.name}/{model.identity.version}"
                raise ModelError(f"model {named} {wrong}: give a model for another stream a pipeline name of its own")
        self._asked = (model, profiles)
        self._next = asked

    def assign(
        self, committed: Mapping[Partition, Position | None], until: Mapping[Partition, int] | None = None
    ) -> dict[Partition, int]:
        """Take these partitions over; where to start reading, for those that must rebuild state first.

        until: by partition, the first offset that is not to be answered: from there on records only look ahead.
        """
        starts = {}
        for partition, position in committed.items():
            if partition.topic != self._settings.topics.raw:
                raise InvariantError(f"assigned {partition.topic}/{partition.number}, which is not the raw topic")
            progress = Progress.assigned(position)
            progress.live_to = (until or {}).get(partition, FOREVER)
            self._partitions[partition.number] = progress
            if progress.start is not None:
                starts[partition] = progress.start
        return starts

    def revoke(self, partitions: Collection[Partition]) -> None:
        """Forget everything about these partitions: what waits or is in flight of them leaves no output any more."""
        numbers = {partition.number for partition in partitions} & set(self._partitions)
        if not numbers:
            return
        for number in numbers:
            del self._partitions[number]
        self._batcher.drop(numbers)
        self._decoded = deque(part for part in (_without(part, numbers) for part in self._decoded) if part is not None)
        for work in self._in_flight:
            if work.chunk is not None:
                work.chunk.drop(numbers)
        if self._serving is not None:
            self._serving.outbox.drop(numbers)
            self._serving.memory.forget(numbers)

    # -- records in ------------------------------------------------------------------------------------------------

    def feed(self, records: RecordBatch, now_s: float) -> None:
        """Buffer polled records, and decode the batches that they filled."""
        known = np.isin(records.partition, list(self._partitions))
        if not known.all():  # polled just before the partition went to another worker, which answers them
            records = select_records(records, np.flatnonzero(known))
        if len(records):
            self._decoded.extend(self._decode(batch) for batch in self._batcher.add(records, now_s))

    def take(self, now_s: float, device_idle: bool) -> Work | None:
        """The next batch for the model, if one is due."""
        serving = self._ready()
        owed = self._change_model(serving)
        if owed is not None:
            return self._work(serving, None, owed)
        part = self._next_part(now_s, device_idle)
        ready, chunk = [], None
        if part is not None:
            chunk, complete = serving.memory.take_in(part.batch.records, part.decoded, self._partitions, now_s)
            chunk.size_bytes = part.batch.size_bytes
            ready += [complete, serving.memory.sweep(self._partitions)]
        ready.append(serving.memory.flush(serving.memory.idle(now_s, self._settings.batch.idle_flush_s)))
        windows = joined(ready)
        return self._work(serving, chunk, windows) if chunk is not None or len(windows) else None

    # -- records out -----------------------------------------------------------------------------------------------

    def complete(self, work: Work, inference: Inference | None, failed: Mapping[int, str] | None = None) -> Outputs:
        """What leaves now that the model has answered `work` (None for a work without windows).

        failed: windows that the model cannot answer, and why: their records become dead letters. Their rows of the
        inference are not read.
        Raises TooManyDeadLetters; then nothing of this batch may leave, and the worker stops.
        """
        if not self._in_flight or self._in_flight[0] is not work:
            raise InvariantError("works must be completed once, in the order in which they were taken")
        answers = len(inference) if inference is not None else 0
        if answers != len(work.windows):
            raise InvariantError(f"{answers} answers for {len(work.windows)} windows")
        self._in_flight.popleft()
        serving = self._ready()
        if work.chunk is not None:
            serving.outbox.add(work.chunk)
        if inference is not None and answers:
            said = work.served.restored(inference, work.profile, work.given)
            serving.outbox.answer(work.tokens, said, (work.served, work.profile), failed or {}, serving.memory.capacity)
        outputs, reached = serving.outbox.leave({number: p.tally for number, p in self._partitions.items()})
        for number, there in reached.items():
            self._partitions[number].answered = there.offset
            self._partitions[number].tally = there.tally
        return outputs

    def positions(self) -> dict[Partition, Position]:
        """What may be committed once the outputs so far are acknowledged, for partitions that have moved on."""
        topic = self._settings.topics.raw
        return {
            Partition(topic, number): progress.position()
            for number, progress in self._partitions.items()
            if progress.answered > progress.committed
        }

    def reached(self) -> dict[Partition, int]:
        """The next offset to take up of each partition; without those where that is for the brokers to say."""
        topic, anywhere = self._settings.topics.raw, self._settings.kafka.start == "latest"
        return {
            Partition(topic, number): progress.read_to
            for number, progress in self._partitions.items()
            if progress.begun or not anywhere
        }

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """The group has taken these."""
        for partition, position in positions.items():
            if partition.number in self._partitions:
                self._partitions[partition.number].mark_committed(position.offset)

    # -- how much is held ------------------------------------------------------------------------------------------

    @property
    def buffered_records(self) -> int:
        """Records fed and not yet taken."""
        return self._batcher.records + sum(len(part.batch.records) for part in self._decoded)

    @property
    def at_once(self) -> int:
        """Records that make a batch: as many as are set, or fewer where a sample is a large frame."""
        return self._batcher.most

    @property
    def buffered_bytes(self) -> int:
        """Their keys and values."""
        return self._batcher.size_bytes + sum(part.batch.size_bytes for part in self._decoded)

    @property
    def held_records(self) -> int:
        """Records that have been through the model at least in part and wait for look-ahead."""
        return self._serving.outbox.records if self._serving is not None else 0

    @property
    def held(self) -> tuple[int, int]:
        """Records and bytes that look-ahead keeps in memory: those that wait, and what came in one batch with them."""
        return self._serving.outbox.held if self._serving is not None else (0, 0)

    @property
    def in_flight(self) -> int:
        """Works taken and not yet completed."""
        return len(self._in_flight)

    @property
    def stream_count(self) -> int:
        return self._serving.memory.streams if self._serving is not None else 0

    def close(self) -> None:
        """Let go of threads; nothing may be fed any more."""
        if self._serving is not None:
            self._serving.codec.close()

    # -- within ----------------------------------------------------------------------------------------------------

    def _start(self, served: Served) -> _Serving:
        settings, model = self._settings, served.model
        self._batcher.most = fitting(model, settings.batch)
        codec = codec_of(model, settings)
        emission = Emission(settings.topics, codec, self._software, self._tables)
        close_after = settings.decide.close_after
        value_limits = ValueLimits(settings.decide.limits, model.channels, codec.width // len(model.channels))
        outbox = Outbox(emission, DeadLetterLimits(settings.dead_letters), value_limits, close_after)
        memory = Memory(served, Rules.of(settings), close_after)
        return _Serving(served, codec, memory, outbox)

    def _ready(self) -> _Serving:
        if self._serving is None:
            raise InvariantError("the pipeline has no model: call use() first")
        return self._serving

    def _change_model(self, serving: _Serving) -> Ready | None:
        """Put what was asked for into use; before another look-ahead, what the old one still owes must be answered."""
        served = self._next
        if served is None or served is serving.served:
            return None
        pending = serving.memory.pending()
        if served.model.lookahead != serving.served.model.lookahead and len(pending):
            return serving.memory.flush(pending)
        serving.memory.adapt(served)
        serving.served = served
        return None

    def _decode(self, batch: Closed) -> _Decoded:
        return _Decoded(batch, self._ready().codec.decode(batch.records))

    def _next_part(self, now_s: float, device_idle: bool) -> _Decoded | None:
        if self._decoded:
            return self._decoded.popleft()
        batch = self._batcher.close(now_s, device_idle)
        return self._decode(batch) if batch is not None else None

    def _work(self, serving: _Serving, chunk: Chunk | None, ready: Ready) -> Work:
        profile = serving.memory.profiles(ready.slots)
        given = serving.served.given(ready.windows, profile)
        windows = serving.served.to_model(ready.windows, profile)
        oldest_ms = -1
        if chunk is not None and chunk.waiting.any():
            oldest_ms = int(chunk.records.timestamp_ms[chunk.waiting].min())
        rewound = _rewound(chunk, ready.tokens)
        work = Work(serving.served, given, windows, oldest_ms, ready.tokens, profile, chunk, rewound)
        self._in_flight.append(work)
        return work


def _rewound(chunk: Chunk | None, tokens: Int64) -> Int64:
    """Places of the tokens whose samples are of records of the chunk that do not leave again."""
    if chunk is None or chunk.waiting.all():
        return np.empty(0, np.int64)
    sample = tokens - chunk.first_token
    own = np.flatnonzero(sample >= 0)
    return own[~chunk.waiting[chunk.decoded.samples.row[sample[own]]]]


def _without(part: _Decoded, partitions: Collection[int]) -> _Decoded | None:
    """The same less these partitions; None if nothing is left. Keeps the size: it only bounds the buffer."""
    records = part.batch.records
    rows = np.flatnonzero(~np.isin(records.partition, list(partitions)))
    if not len(rows):
        return None
    return _Decoded(Closed(select_records(records, rows), part.batch.size_bytes), select_decoded(part.decoded, rows))
