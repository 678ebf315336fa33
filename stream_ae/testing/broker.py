"""A Kafka broker that lives in the test: logs, groups, committed offsets, and faults on demand."""

import itertools
import threading
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError
from stream_ae.records import NO_HEADERS, Headers, Partition, Position


class InMemoryRecord(NamedTuple):
    """One record of a log."""

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = NO_HEADERS


class Member(Protocol):
    """Of a consumer group."""

    topic: str


@dataclass(slots=True)
class Group:
    """`wanted`: who shall own a partition; `owners`: who does, until told and done."""

    members: list[Member] = field(default_factory=list)
    wanted: dict[Partition, Member] = field(default_factory=dict)
    owners: dict[Partition, Member] = field(default_factory=dict)
    committed: dict[Partition, Position] = field(default_factory=dict)


class InMemoryBroker:
    """Topics, groups and committed offsets. Thread-safe."""

    def __init__(self, clock: Clock | None = None, max_message_bytes: int = 1_000_000) -> None:
        self._clock = clock or SystemClock()
        self.max_message_bytes = max_message_bytes
        self.away = False
        """While true, no broker answers: polls, commits and flushes raise as the real clients do."""
        self._logs: dict[str, list[list[InMemoryRecord]]] = {}
        self._begins: dict[Partition, int] = {}
        self._groups: dict[str, Group] = {}
        self._refused: set[str] = set()
        self._flushes_to_fail = 0
        self._commits_to_fail = 0
        self._producers: dict[str, object] = {}
        self._round_robin = itertools.count()
        self.changed = threading.Condition(threading.RLock())

    def create_topic(self, name: str, partitions: int = 1) -> None:
        self._logs.setdefault(name, [[] for _ in range(partitions)])

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int = -1,
        timestamp_ms: int = -1,
        headers: Headers = NO_HEADERS,
    ) -> InMemoryRecord:
        """Write one record; partition and timestamp as in `OutgoingBatch`."""
        logs = self.log(topic)
        number = partition if partition >= 0 else self._partition_of(key, len(logs))
        with self.changed:
            now_ms = self._clock.wall_ms() if timestamp_ms < 0 else timestamp_ms
            log = logs[number]
            record = InMemoryRecord(Partition(topic, number), len(log), now_ms, key, value, tuple(headers))
            log.append(record)
            self.changed.notify_all()
        return record

    def records(self, topic: str) -> list[InMemoryRecord]:
        """All records of a topic that are not deleted, by partition, in offset order."""
        return [record for log in self.log(topic) for record in log if record.offset >= self.begin(record.partition)]

    def delete_records(self, partition: Partition, before: int) -> None:
        """What retention does: the partition holds nothing before this offset any more."""
        with self.changed:
            end = len(self.log(partition.topic)[partition.number])
            self._begins[partition] = min(max(before, self.begin(partition)), end)

    def begin(self, partition: Partition) -> int:
        """The oldest offset that is not deleted; the end where nothing is left."""
        return self._begins.get(partition, 0)

    def committed(self, group: str) -> dict[Partition, Position]:
        """What a group has committed."""
        return dict(self.group(group).committed)

    def fail_next_flush(self) -> None:
        """The next flush raises DeliveryError, though its records may well be in the log."""
        self._flushes_to_fail += 1

    def fail_next_commit(self) -> None:
        """The next commit raises TransientError (of a transaction: TransactionError) and commits nothing."""
        self._commits_to_fail += 1

    def refuse(self, topic: str) -> None:
        """From now on records for this topic are not delivered."""
        self._refused.add(topic)

    def accept(self, topic: str) -> None:
        """They are delivered again."""
        self._refused.discard(topic)

    def take_name(self, transactional_id: str, producer: object) -> None:
        """One producer at a time has a transactional id: the newest."""
        self._producers[transactional_id] = producer

    def has_name(self, transactional_id: str, producer: object) -> bool:
        return self._producers.get(transactional_id) is producer

    def log(self, topic: str) -> list[list[InMemoryRecord]]:
        """The partitions of a topic, deleted records and all; ConfigError if it does not exist."""
        try:
            return self._logs[topic]
        except KeyError:
            raise ConfigError(f"topic {topic} does not exist: create_topic() makes it") from None

    def group(self, name: str) -> Group:
        with self.changed:
            return self._groups.setdefault(name, Group())

    def flush_fails(self) -> bool:
        self._flushes_to_fail, fails = max(self._flushes_to_fail - 1, 0), self._flushes_to_fail > 0
        return fails

    def commit_fails(self) -> bool:
        self._commits_to_fail, fails = max(self._commits_to_fail - 1, 0), self._commits_to_fail > 0
        return fails

    def refuses(self, topic: str) -> bool:
        return topic in self._refused

    def rebalance(self, group: Group) -> None:
        """Share the partitions evenly, moving as few as possible; members hear of it when they poll."""
        with self.changed:
            for topic in {member.topic for member in group.members}:
                members = [member for member in group.members if member.topic == topic]
                partitions = [Partition(topic, number) for number in range(len(self.log(topic)))]
                fair, extra = divmod(len(partitions), len(members))
                room = {id(member): fair + (rank < extra) for rank, member in enumerate(members)}
                homeless = []
                for partition in partitions:
                    member = group.wanted.get(partition)
                    if member in members and room[id(member)]:
                        room[id(member)] -= 1
                    else:
                        homeless.append(partition)
                seats = (member for member in members for _ in range(room[id(member)]))
                group.wanted.update(zip(homeless, seats, strict=True))

    def _partition_of(self, key: bytes | None, count: int) -> int:
        return next(self._round_robin) % count if key is None else zlib.crc32(key) % count
