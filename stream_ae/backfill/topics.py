"""Into topics of a suffix: the records that workers would have written."""

from collections import Counter
from collections.abc import Sequence
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


class Topics(Protocol):
    """What is asked of the brokers about topics (`kafka.admin`)."""

    def partition_count(self, name: str) -> int: ...

    def create(self, specs: Sequence[TopicSpec]) -> Created: ...


def renamed(topics: TopicSettings, suffix: str) -> TopicSettings:
    """The same raw topic; outputs with `-suffix`. Raises ConfigError if that makes no name of a topic."""
    named = {kind: f"{name}-{suffix}" for kind, name in topics.model_dump().items() if kind != "raw" and name}
    try:
        return TopicSettings.model_validate(topics.model_dump() | named)
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


class TopicTarget:
    """Writes what one partition's span leaves, in the order that `written` relies on."""

    def __init__(self, sink: RecordSink, names: TopicSettings, written: Written, number: int, timeout_s: float) -> None:
        self._sink = sink
        self._names = names
        self._timeout_s = timeout_s
        self._there: Counter[tuple[str, int]] = Counter(
            {(topic, offset): count for (topic, where, offset), count in written.there.items() if where == number}
        )
        self._newest_there = max((offset for _, offset in self._there), default=-1)
        self._reached = 0
        self._held: list[OutgoingBatch] = []
        self._held_records = 0

    def take(self, reached: int, outputs: Outputs) -> None:
        """DeliveryError: an earlier record was not acknowledged; the next run finds out which."""
        if self._reached > self._newest_there:
            self._there.clear()
        self._reached = reached
        for batch in (outputs.flagged, outputs.dead_letters):
            self._produce(self._missing(batch))
        cleaned, latent = self._missing(outputs.cleaned), outputs.latent
        held = [cleaned, *([self._missing(latent)] if latent is not None else [])]
        if max(map(len, held)) + self._held_records > GROUP:
            self._release()
        for begin in range(0, max(map(len, held)), GROUP):
            if begin:
                self._release()
            self._held += [_rows(batch, np.arange(len(batch))[begin : begin + GROUP]) for batch in held]
            self._held_records += min(max(map(len, held)) - begin, GROUP)

    def finish(self) -> None:
        """Everything is acknowledged."""
        self._release()
        self._sink.flush(self._timeout_s)

    def _release(self) -> None:
        """What goes before has arrived: cleaned records of the next group may."""
        self._sink.flush(self._timeout_s)
        for batch in self._held:
            self._produce(batch)
        self._held, self._held_records = [], 0

    def _produce(self, batch: OutgoingBatch) -> None:
        if len(batch):
            self._sink.produce(batch)

    def _missing(self, batch: OutgoingBatch) -> OutgoingBatch:
        """Without those that are there already: of several from one raw record the first ones."""
        if not self._there:
            return batch
        rows = []
        for row, source in enumerate(sources_of(batch, flagged=batch.topic == self._names.flagged)):
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
