"""RecordSource on kafka-python."""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError, InvariantError, TransientError
from stream_ae.kafka.assignment import Assignment
from stream_ae.kafka.failures import brokers_away
from stream_ae.kafka.python.bridge import Bridge, BridgedListener, Handlers
from stream_ae.kafka.python.joining import LONG_ENOUGH_TO_SEE_MS, repeat_finished_join
from stream_ae.kafka.python.messages import record_batch
from stream_ae.kafka.python.options import consumer_options, group_options, no_answer, translated
from stream_ae.ports import AssignmentListener
from stream_ae.records import Partition, Position, RecordBatch, empty_record_batch
from stream_ae.settings import KafkaSettings

# Connections come and go in a healthy client; without any for this long the brokers are asked.
UNCONNECTED_S = 1.0
# Metadata of a topic just created may be behind for a moment.
UNKNOWN_TOPIC_S = 5.0


class KafkaPythonSource:
    """A member of a consumer group, on the classic protocol with cooperative rebalancing. `Bridge` brings the
    listener to the polling thread, so `on_revoked` can still commit."""

    def __init__(self, settings: KafkaSettings, clock: Clock, instance_id: str | None = None) -> None:
        if settings.group_protocol == "consumer":
            raise ConfigError(
                "kafka.group_protocol is consumer (KIP-848), which kafka-python does not speak: set it to auto or "
                "classic, or pip install 'stream-ae[fast]' for confluent-kafka"
            )
        self._settings = settings
        self._clock = clock
        self._topic = ""
        self._assignment: Assignment | None = None
        self._held: list[Any] = []
        self._closed = False
        self._away_since_s: float | None = None
        self._unknown_since_s: float | None = None
        try:
            self._consumer = KafkaConsumer(**consumer_options(settings), **group_options(settings, instance_id))
        except KafkaTimeoutError as error:
            raise no_answer(settings, error) from error
        except (KafkaError, ValueError) as error:
            raise translated(error, f"connecting to {settings.bootstrap_servers}") from error
        self._bridge = Bridge()

    def subscribe(self, topic: str, listener: AssignmentListener) -> None:
        self._topic = topic
        self._assignment = Assignment(listener)
        self._join()

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        assignment = self._subscribed()
        if assignment.must_rejoin:
            self._rejoin(assignment)
        records, self._held = self._held, []
        if not records:
            records = self._fetched(max_records, timeout_s)
        try:
            assignment.raise_pending()
        except Exception:
            # Their offsets are behind us for the library: dropped here they would be missing for good.
            self._held = records
            raise
        if not records:
            self._look_around(timeout_s)
            return empty_record_batch(self._topic)
        self._away_since_s = self._unknown_since_s = None
        numbers = {partition.number for partition in assignment.owned}
        return record_batch(self._topic, [record for record in records if record.partition in numbers])

    def commit(self, positions: Mapping[Partition, Position]) -> None:
        self._subscribed().check_owned(positions)
        offsets = {TopicPartition(*p): OffsetAndMetadata(at.offset, at.metadata, -1) for p, at in positions.items()}
        try:
            self._consumer.commit(offsets, timeout_ms=int(1000 * self._settings.session_timeout_s))
        except KafkaError as error:
            raise translated(
                error, f"offsets of {self._topic} were not committed for {self._settings.group_id}"
            ) from error

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._consumer.pause(*self._owned(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._consumer.resume(*self._owned(partitions))

    def lag(self) -> Mapping[Partition, int]:
        return {partition: self._behind(partition) for partition in self._subscribed().owned}

    def begins(self, partitions: Sequence[Partition], timeout_s: float) -> Mapping[Partition, int]:
        wanted = [TopicPartition(*partition) for partition in partitions]
        try:
            found = self._consumer.beginning_offsets(wanted, timeout_ms=max(int(1000 * timeout_s), 1)) if wanted else {}
        except KafkaError as error:
            raise TransientError(f"the oldest offsets of {self._topic} cannot be had: {error}") from error
        return {Partition(*partition): int(offset) for partition, offset in found.items()}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._bridge.run(lambda: self._consumer.close(autocommit=False, timeout_ms=self._timeout_ms()))
        except KafkaError as error:
            raise translated(error, f"leaving the group {self._settings.group_id}") from error
        finally:
            self._bridge.close()
        if self._assignment is not None:
            self._assignment.raise_pending()

    def _join(self) -> None:
        # A leader that assigns before it knows the topic assigns nothing, and may never notice (kafka-python 3.0.12).
        try:
            numbers = self._consumer.partitions_for_topic(self._topic)
        except KafkaError as error:
            raise translated(error, f"looking up {self._topic}") from error
        if not numbers:
            raise ConfigError(
                f"topic {self._topic} does not exist or may not be seen; `stream-ae topics create` makes it"
            )
        handlers = Handlers(self._on_assigned, self._on_revoked, self._on_lost)
        # The loop that resolves what a coroutine of ours waits for has no public name (kafka-python 3.0).
        self._consumer.subscribe([self._topic], listener=BridgedListener(self._bridge, self._consumer._net, handlers))

    def _rejoin(self, assignment: Assignment) -> None:
        """Leave and join anew: the owner was never told of partitions that the group thinks are ours."""
        assignment.must_rejoin = False
        assignment.revoke(sorted(assignment.owned))
        self._bridge.run(self._consumer.unsubscribe)
        self._join()

    def _fetched(self, max_records: int, timeout_s: float) -> list[Any]:
        timeout_ms = int(timeout_s * 1000)
        if repeat_finished_join(self._consumer):
            timeout_ms = max(timeout_ms, LONG_ENOUGH_TO_SEE_MS)
        try:
            found = self._bridge.run(lambda: self._consumer.poll(timeout_ms, max_records))
        except (KafkaTimeoutError, KafkaConnectionError) as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        except KafkaError as error:
            raise translated(error, f"reading {self._topic}") from error
        return [record for records in found.values() for record in records]

    def _on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        ours = [Partition(*partition) for partition in partitions]
        starts = self._subscribed().assign(ours, lambda: self._committed(ours))
        for partition in partitions:
            start = starts.get(Partition(*partition))
            if start is not None:
                self._consumer.seek(partition, start)
            elif self._settings.start == "latest":
                self._consumer.seek_to_end(partition)

    def _on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._subscribed().revoke([Partition(*partition) for partition in partitions])

    def _on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._subscribed().lose([Partition(*partition) for partition in partitions])

    def _committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position | None]:
        positions: dict[Partition, Position | None] = {}
        for partition in partitions:
            try:
                found = self._consumer.committed(
                    TopicPartition(*partition), metadata=True, timeout_ms=2 * self._timeout_ms()
                )
            except KafkaError as error:
                raise TransientError(f"committed offsets of {self._topic} cannot be read: {error}") from error
            positions[partition] = Position(found.offset, found.metadata or "") if found is not None else None
        return positions

    def _look_around(self, timeout_s: float) -> None:
        """An empty poll may mean that there is nobody to ask, or that the topic is gone."""
        now_s = self._clock.monotonic_s()
        if self._consumer._manager.least_used_connections():
            self._away_since_s = None
        elif self._away_since_s is None:
            self._away_since_s = now_s
        elif now_s - self._away_since_s >= UNCONNECTED_S:
            self._probe(max(timeout_s, 0.1))
        if self._consumer._cluster.partitions_for_topic(self._topic) is not None:
            self._unknown_since_s = None
        elif self._unknown_since_s is None:
            self._unknown_since_s = now_s
        elif now_s - self._unknown_since_s >= UNKNOWN_TOPIC_S:
            raise ConfigError(
                f"reading {self._topic}: the topic does not exist any more, or may not be seen; create it"
            )

    def _probe(self, timeout_s: float) -> None:
        try:
            self._consumer.bootstrap(int(timeout_s * 1000), refresh=True)
        except KafkaError as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        self._away_since_s = None

    def _behind(self, partition: Partition) -> int:
        # consumer.position() would ask the brokers where it does not know.
        state = self._consumer._subscription.assignment.get(TopicPartition(*partition))
        if state is None or state.position is None or state.highwater is None:
            return 0
        return max(int(state.highwater) - int(state.position.offset), 0)

    def _owned(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        owned = self._subscribed().owned
        return [TopicPartition(*partition) for partition in partitions if partition in owned]

    def _timeout_ms(self) -> int:
        return max(int(self._settings.connect_timeout_s * 1000), 1)

    def _subscribed(self) -> Assignment:
        if self._assignment is None:
            raise InvariantError("the source is used before subscribe()")
        return self._assignment
