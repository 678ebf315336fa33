"""RecordReader on kafka-python."""

from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import ConfigError, TransientError
from stream_ae.kafka.failures import brokers_away, silent
from stream_ae.kafka.python.messages import record_batch
from stream_ae.kafka.python.options import consumer_options, no_answer, translated
from stream_ae.ports import OffsetRange
from stream_ae.records import Partition, RecordBatch
from stream_ae.settings import KafkaSettings

SLICE_MS = 100


class KafkaPythonReader:
    """Assigns itself what it reads, joins no group, commits nothing."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        try:
            self._consumer = KafkaConsumer(**consumer_options(settings), group_id=None)
        except KafkaTimeoutError as error:
            raise no_answer(settings, error) from error
        except (KafkaError, ValueError) as error:
            raise translated(error, f"connecting to {settings.bootstrap_servers}") from error

    def ranges(self, topic: str, start_ms: int | None = None, end_ms: int | None = None) -> list[OffsetRange]:
        timeout_ms = max(int(self._settings.connect_timeout_s * 1000), 1)
        partitions = self._partitions(topic, timeout_ms)
        try:
            lows = self._consumer.beginning_offsets(partitions, timeout_ms)
            highs = self._consumer.end_offsets(partitions, timeout_ms)
            begins = highs | self._offsets_at(partitions, start_ms, timeout_ms) if start_ms is not None else lows
            ends = highs | self._offsets_at(partitions, end_ms, timeout_ms) if end_ms is not None else highs
        except KafkaTimeoutError as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        except KafkaError as error:
            raise translated(error, f"offsets of {topic}") from error
        return [OffsetRange(Partition(*p), begins[p], max(begins[p], ends[p])) for p in partitions]

    def read(self, ranges: Sequence[OffsetRange], max_records: int = 10_000) -> Iterator[RecordBatch]:
        """As the port says. Silence for twice `connect_timeout_s` within one call counts as a broker that does not
        answer; time that the caller spends on a batch does not."""
        for topic in sorted({r.partition.topic for r in ranges}):
            yield from self._read(topic, [r for r in ranges if r.partition.topic == topic], max_records)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def _read(self, topic: str, ranges: Sequence[OffsetRange], max_records: int) -> Iterator[RecordBatch]:
        ends = {TopicPartition(*r.partition): r.end for r in ranges if r.begin < r.end}
        if not ends:
            return
        self._consumer.assign(list(ends))
        for r in ranges:
            if r.begin < r.end:
                self._consumer.seek(TopicPartition(*r.partition), r.begin)
        try:
            while ends:
                records = [
                    r for r in self._next(ends, max_records) if r.offset < ends[TopicPartition(topic, r.partition)]
                ]
                done = [p for p, end in ends.items() if self._position(p) >= end]
                self._consumer.pause(*done)
                for partition in done:
                    del ends[partition]
                if records:
                    yield record_batch(topic, records)
        finally:
            self._consumer.unsubscribe()

    def _next(self, ends: dict[TopicPartition, int], max_records: int) -> list[Any]:
        """Records of the partitions in `ends`; none if one of them is at its end without any."""
        deadline = Deadline.after(self._clock, 2 * self._settings.connect_timeout_s)
        before = {partition: self._position(partition) for partition in ends}
        while not deadline.passed():
            try:
                found = self._consumer.poll(SLICE_MS, max_records)
            except KafkaError as error:
                raise translated(error, "reading") from error
            records = [record for partition in ends for record in found.get(partition, ())]
            if records or any(self._position(partition) > before[partition] for partition in ends):
                return records
        raise TransientError(silent(self._settings.bootstrap_servers, 2 * self._settings.connect_timeout_s))

    def _position(self, partition: TopicPartition) -> int:
        """Past what compaction and transactions left out; -1 while the brokers look one up."""
        position = self._consumer.position(partition, timeout_ms=SLICE_MS)
        return -1 if position is None else int(position)

    def _partitions(self, topic: str, timeout_ms: int) -> list[TopicPartition]:
        try:
            self._consumer.bootstrap(timeout_ms, refresh=True)
            numbers = self._consumer.partitions_for_topic(topic)
        except KafkaError as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        if not numbers:
            raise ConfigError(
                f"topic {topic} cannot be read (it does not exist, or may not be seen): `stream-ae topics create` "
                "makes it, or check the permissions"
            )
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    def _offsets_at(self, partitions: Sequence[TopicPartition], time_ms: int, timeout_ms: int) -> dict[Any, int]:
        """Only those that hold a record at or after the time."""
        found = self._consumer.offsets_for_times(dict.fromkeys(partitions, max(time_ms, 0)), timeout_ms)
        return {partition: at.offset for partition, at in found.items() if at is not None}
