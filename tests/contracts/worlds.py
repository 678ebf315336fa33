"""Implementations of the record ports as the contract tests see them, and helpers that work in each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from kafka import KafkaAdminClient, TopicPartition

from stream_ae.clock import Deadline, SystemClock
from stream_ae.kafka import admin
from stream_ae.kafka.driver import (
    open_reader,
    open_sink,
    open_source,
    open_transactional_sink,
    open_transactional_source,
)
from stream_ae.ports import RecordReader, RecordSink, RecordSource, TransactionalSink, TransactionalSource
from stream_ae.records import NO_HEADERS, Headers, OutgoingBatch, Partition, Position, RecordBatch
from stream_ae.settings import KafkaSettings
from stream_ae.testing import (
    InMemoryBroker,
    InMemoryReader,
    InMemorySink,
    InMemorySource,
    InMemoryTransactionalSink,
)

T = TypeVar("T", bound=RecordSource | RecordSink | RecordReader)

# Generous: a classic group on a cold broker takes 3 s to join, and a member hears of a rebalance at its heartbeat.
PATIENCE_S = 30.0


@dataclass
class Listener:
    """Notes what it is told; starts where `starts` says and runs `when_revoked` when it is told so."""

    starts: Mapping[Partition, int] = field(default_factory=dict)
    when_revoked: Callable[[Sequence[Partition]], None] | None = None
    assigned: dict[Partition, Position | None] = field(default_factory=dict)
    owned: set[Partition] = field(default_factory=set)
    revoked: list[Partition] = field(default_factory=list)
    lost: list[Partition] = field(default_factory=list)

    def on_assigned(self, committed: Mapping[Partition, Position | None]) -> Mapping[Partition, int]:
        self.assigned.update(committed)
        self.owned |= set(committed)
        return {partition: at for partition, at in self.starts.items() if partition in committed}

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        if self.when_revoked is not None:
            self.when_revoked(partitions)
        self.revoked += partitions
        self.owned -= set(partitions)

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        self.lost += partitions
        self.owned -= set(partitions)


class World(Protocol):
    """What a contract test needs of an implementation. What it opens is closed after the test."""

    unique: Callable[[str], str]

    def topic(self, partitions: int = 1) -> str: ...

    def delete_records(self, partition: Partition, before: int) -> None:
        """What retention does, at once."""
        ...

    def source(self, group: str, start: Literal["earliest", "latest"] = "earliest") -> RecordSource: ...

    def sink(self, **settings: Any) -> RecordSink: ...

    def reader(self) -> RecordReader: ...

    def transactional_source(
        self, group: str, start: Literal["earliest", "latest"] = "earliest"
    ) -> TransactionalSource: ...

    def transactional_sink(self, transactional_id: str, **settings: Any) -> TransactionalSink: ...

    def close(self) -> None: ...


class InMemoryWorld:
    def __init__(self, unique: Callable[[str], str]) -> None:
        self.unique = unique
        self.broker = InMemoryBroker()

    def topic(self, partitions: int = 1) -> str:
        name = self.unique("topic")
        self.broker.create_topic(name, partitions)
        return name

    def delete_records(self, partition: Partition, before: int) -> None:
        self.broker.delete_records(partition, before)

    def source(self, group: str, start: Literal["earliest", "latest"] = "earliest") -> RecordSource:
        return InMemorySource(self.broker, group, start)

    def sink(self, **settings: Any) -> RecordSink:
        self.broker.max_message_bytes = settings.get("max_message_bytes", 1_000_000)
        return InMemorySink(self.broker)

    def reader(self) -> RecordReader:
        return InMemoryReader(self.broker)

    def transactional_source(
        self, group: str, start: Literal["earliest", "latest"] = "earliest"
    ) -> TransactionalSource:
        return InMemorySource(self.broker, group, start)

    def transactional_sink(self, transactional_id: str, **settings: Any) -> TransactionalSink:
        self.broker.max_message_bytes = settings.get("max_message_bytes", 1_000_000)
        return InMemoryTransactionalSink(self.broker, transactional_id)

    def close(self) -> None:
        """The broker goes with its last reference."""


class RealWorld:
    def __init__(self, driver: str, servers: str, unique: Callable[[str], str], **settings: Any) -> None:
        self.unique = unique
        self.settings = KafkaSettings.model_validate(
            {"bootstrap_servers": servers, "driver": driver, "session_timeout_s": 6.0, **settings}
        )
        self._opened: list[RecordSource | RecordSink | RecordReader] = []

    def topic(self, partitions: int = 1) -> str:
        name = self.unique("topic")
        admin.create_topics(self.settings, [admin.TopicSpec(name, partitions)])
        return name

    def delete_records(self, partition: Partition, before: int) -> None:
        client = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        client.delete_records({TopicPartition(*partition): before})
        client.close()

    def source(self, group: str, start: Literal["earliest", "latest"] = "earliest") -> RecordSource:
        return self._remembered(open_source(self._with(group_id=group, start=start)))

    def sink(self, **settings: Any) -> RecordSink:
        return self._remembered(open_sink(self._with(**settings)))

    def reader(self) -> RecordReader:
        return self._remembered(open_reader(self.settings))

    def transactional_source(
        self, group: str, start: Literal["earliest", "latest"] = "earliest"
    ) -> TransactionalSource:
        return self._remembered(open_transactional_source(self._with(group_id=group, start=start)))

    def transactional_sink(self, transactional_id: str, **settings: Any) -> TransactionalSink:
        return self._remembered(open_transactional_sink(self._with(**settings), transactional_id))

    def close(self) -> None:
        for opened in reversed(self._opened):
            opened.close()

    def _with(self, **settings: Any) -> KafkaSettings:
        return KafkaSettings.model_validate(self.settings.model_dump() | settings)

    def _remembered(self, opened: T) -> T:
        self._opened.append(opened)
        return opened


def outgoing(
    topic: str,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    partition: int | Sequence[int] = 0,
    timestamp_ms: int | Sequence[int] = -1,
    headers: Sequence[Headers] | None = None,
) -> OutgoingBatch:
    """A batch to produce; by default to partition 0, now, without keys or headers."""
    n = len(values)
    return OutgoingBatch(
        topic,
        partition=np.broadcast_to(np.asarray(partition, np.int32), n),
        timestamp_ms=np.broadcast_to(np.asarray(timestamp_ms, np.int64), n),
        keys=[None] * n if keys is None else keys,
        values=values,
        headers=[NO_HEADERS] * n if headers is None else headers,
    )


def write(world: World, batch: OutgoingBatch) -> None:
    sink = world.sink()
    sink.produce(batch)
    sink.flush(PATIENCE_S)


class Member:
    """A subscribed source that keeps what its polls bring until `take` asks for it."""

    def __init__(self, source: RecordSource, topic: str, listener: Listener) -> None:
        self.source = source
        self.kept: list[RecordBatch] = []
        source.subscribe(topic, listener)

    def poll(self) -> None:
        batch = self.source.poll(100, 0.05)
        if len(batch):
            self.kept.append(batch)

    def take(self, count: int) -> RecordBatch:
        """Exactly `count` records, polled for as long as it takes."""
        poll_until([self], lambda: self.count() >= count)
        kept, self.kept = self.kept, []
        batch = joined(kept)
        assert len(batch) == count
        return batch

    def count(self) -> int:
        return sum(map(len, self.kept))


def poll_until(members: Sequence[Member], done: Callable[[], bool]) -> None:
    """Poll the members in turn until `done`."""
    deadline = Deadline.after(SystemClock(), PATIENCE_S)
    while not done():
        assert not deadline.passed(), f"not done after {PATIENCE_S} s with {[member.count() for member in members]}"
        for member in members:
            member.poll()


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    return RecordBatch(
        batches[0].topic,
        np.concatenate([b.partition for b in batches]),
        np.concatenate([b.offset for b in batches]),
        np.concatenate([b.timestamp_ms for b in batches]),
        [key for b in batches for key in b.keys],
        [value for b in batches for value in b.values],
        [headers for b in batches for headers in b.headers],
    )
