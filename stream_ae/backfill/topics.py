"""Into topics of a suffix: the records that workers would have written."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import ValidationError

from stream_ae.backfill.written import GROUP, Written, sources_of
from stream_ae.errors import ConfigError
from stream_ae.flow.emission import Outputs
from stream_ae.kafka.admin import Created, TopicSpec
from stream_ae.ports import RecordSink
from stream_ae.records import Int64, OutgoingBatch
from stream_ae.settings import TopicSettings

# Records keep the time of their raw record: with a limit the brokers would delete an old span while it is written.
FOR_EVER = {"retention.ms": "-1"}
# Cleaned frames are large: a group of them ends before there are `GROUP`.
HELD_BYTES = 32 * 1024 * 1024


class Topics(Protocol):
    """What is asked of the brokers about topics (`kafka.admin`)."""

    def partition_count(self, name: str) -> int: ...

    def create(self, specs: Sequence[TopicSpec]) -> Created: ...


def renamed(topics: TopicSettings, suffix: str) -> TopicSettings:
    """The same raw topic; outputs with `-suffix`, no feedback. Raises ConfigError if that makes no name of a topic."""
    named = {kind: f"{name}-{suffix}" for kind, name in topics.model_dump().items() if kind != "raw" and name}
    try:
        return TopicSettings.model_validate(topics.model_dump() | named | {"feedback": None})
    except ValidationError:
        raise ConfigError(
            f"{suffix!r} is no suffix for topics: letters, digits, '.', '_' and '-', and names of 249 in all"
        ) from None


def prepare(topics: Topics, names: TopicSettings, replication: int) -> Created:
    """Create what is not there. ConfigError where cleaned or latent has not as many partitions as raw."""
    raw = topics.partition_count(names.raw)
    if not raw:
        raise ConfigError(f"topic {names.raw} does not exist: topics.raw names what is to be answered again")
    for name in filter(None, (names.cleaned, names.latent)):
        count = topics.partition_count(name)
        if count not in (0, raw):
            raise ConfigError(
                f"topic {name} has {count} partitions, {names.raw} has {raw}, and a record keeps the partition of its "
                "raw record: choose another suffix, or delete the topic"
            )
    wanted = [name for name in names.names() if name != names.raw]
    return topics.create([TopicSpec(name, raw, replication, FOR_EVER) for name in wanted])


@dataclass(frozen=True, slots=True)
class Writing:
    """How records are written. fence: raises where somebody else writes meanwhile; asked before every group."""

    sink: RecordSink
    names: TopicSettings
    timeout_s: float
    fence: Callable[[], None]


class TopicTarget:
    """Writes what one partition's span leaves, in the order that `written` relies on."""

    def __init__(self, writing: Writing, written: Written, number: int) -> None:
        self._writing = writing
        self._there: Counter[tuple[str, int]] = Counter(
            {(topic, offset): count for (topic, where, offset), count in written.there.items() if where == number}
        )
        self._newest_there = max((offset for _, offset in self._there), default=-1)
        self._reached = 0
        # Of the group: what is acknowledged first, and what leaves then.
        self._first: list[OutgoingBatch] = []
        self._then: list[OutgoingBatch] = []
        self._held = self._held_bytes = 0

    def take(self, reached: int, outputs: Outputs) -> None:
        """DeliveryError: an earlier record was not acknowledged; the next run finds out which."""
        if self._reached > self._newest_there:
            self._there.clear()
        self._reached = reached
        latent = [self._missing(outputs.latent)] if outputs.latent is not None else []
        alike = [self._missing(outputs.cleaned), *latent]
        most = max(map(len, alike))
        if self._held + most > GROUP or self._held_bytes > HELD_BYTES:
            self._release()
        self._first += [self._missing(batch) for batch in (outputs.flagged, outputs.dead_letters)]
        for begin in range(0, most, GROUP):
            if begin:
                self._release()
            self._then += [_rows(batch, np.arange(len(batch))[begin : begin + GROUP]) for batch in alike]
            self._held += min(most - begin, GROUP)
        self._held_bytes += sum(len(value or b"") for batch in alike for value in batch.values)

    def finish(self) -> None:
        """Everything is acknowledged."""
        self._release()
        self._writing.sink.flush(self._writing.timeout_s)

    def _release(self) -> None:
        """What leaves first has arrived, and the group before: then the cleaned records may leave."""
        self._writing.fence()
        self._produce(self._first)
        self._writing.sink.flush(self._writing.timeout_s)
        self._produce(self._then)
        self._first, self._then, self._held, self._held_bytes = [], [], 0, 0

    def _produce(self, batches: Sequence[OutgoingBatch]) -> None:
        for batch in batches:
            if len(batch):
                self._writing.sink.produce(batch)

    def _missing(self, batch: OutgoingBatch) -> OutgoingBatch:
        """Without those that are there already: of several from one raw record the first ones."""
        if not self._there:
            return batch
        rows = []
        for row, source in enumerate(sources_of(batch, flagged=batch.topic == self._writing.names.flagged)):
            key = (batch.topic, source.offset) if source is not None else None
            if key is not None and self._there[key] > 0:
                self._there[key] -= 1
            else:
                rows.append(row)
        return _rows(batch, np.array(rows, np.int64))


def _rows(batch: OutgoingBatch, rows: Int64) -> OutgoingBatch:
    if len(rows) == len(batch):
        return batch
    picked = rows.tolist()
    return OutgoingBatch(
        batch.topic,
        batch.partition[rows],
        batch.timestamp_ms[rows],
        [batch.keys[row] for row in picked],
        [batch.values[row] for row in picked],
        [batch.headers[row] for row in picked],
    )
