"""RecordReader on confluent-kafka."""

from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import ConfigError, TransientError
from stream_ae.kafka.confluent.messages import record_batch
from stream_ae.kafka.confluent.options import consumer_options, translated
from stream_ae.kafka.confluent.source import SLICE_S
from stream_ae.kafka.failures import brokers_away, silent
from stream_ae.ports import OffsetRange
from stream_ae.records import Partition, RecordBatch
from stream_ae.settings import KafkaSettings


class ConfluentReader:
    """Assigns itself what it reads, joins no group, commits nothing."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        # End-of-partition events tell that only transaction markers or compacted offsets are left of a range.
        self._consumer = Consumer(consumer_options(settings) | {"enable.partition.eof": True})

    def ranges(self, topic: str, start_ms: int | None = None, end_ms: int | None = None) -> list[OffsetRange]:
        partitions = self._partitions(topic)
        bounds = {partition: self._bounds(partition) for partition in partitions}
        begins = self._offsets_at(partitions, start_ms) if start_ms is not None else {}
        ends = self._offsets_at(partitions, end_ms) if end_ms is not None else {}
        ranges = []
        for partition, (low, high) in bounds.items():
            # No record at or after a time reads as -1, the end.
            begin = begins.get(partition, low)
            end = ends.get(partition, high)
            begin = high if begin < 0 else max(begin, low)
            end = high if end < 0 else min(end, high)
            ranges.append(OffsetRange(partition, begin, max(begin, end)))
        return ranges

    def read(self, ranges: Sequence[OffsetRange], max_records: int = 10_000) -> Iterator[RecordBatch]:
        """As the port says. Silence for twice `connect_timeout_s` within one call counts as a broker that does not
        answer; time that the caller spends on a batch does not."""
        for topic in sorted({r.partition.topic for r in ranges}):
            yield from self._read(topic, [r for r in ranges if r.partition.topic == topic], max_records)

    def close(self) -> None:
        self._consumer.close()

    def _read(self, topic: str, ranges: Sequence[OffsetRange], max_records: int) -> Iterator[RecordBatch]:
        ends = {r.partition.number: r.end for r in ranges if r.begin < r.end}
        self._consumer.assign([TopicPartition(*r.partition, r.begin) for r in ranges if r.begin < r.end])
        try:
            while ends:
                records, done = self._taken(self._next(max_records), ends)
                if done:
                    self._consumer.incremental_unassign([TopicPartition(topic, number) for number in done])
                if records:
                    yield record_batch(topic, records)
        finally:
            self._consumer.unassign()

    def _next(self, max_records: int) -> list[Message]:
        deadline = Deadline.after(self._clock, 2 * self._settings.connect_timeout_s)
        while not deadline.passed():
            messages = self._consumer.consume(max_records, SLICE_S)
            if messages:
                return messages
        raise TransientError(silent(self._settings.bootstrap_servers, 2 * self._settings.connect_timeout_s))

    def _taken(self, messages: list[Message], ends: dict[int, int]) -> tuple[list[Message], list[int]]:
        """The records that lie in their ranges, and the partitions that are read to their end (gone from `ends`)."""
        records, done = [], []
        for message in messages:
            number, error = message.partition() or 0, message.error()
            end = ends.get(number)
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise translated(error, f"reading {message.topic()} partition {number}")
            if end is None:
                continue
            offset = message.offset() or 0
            if error is None and offset < end:
                records.append(message)
            if error is not None or offset + 1 >= end:
                del ends[number]
                done.append(number)
        return records, done

    def _partitions(self, topic: str) -> list[Partition]:
        try:
            found = self._consumer.list_topics(topic, timeout=self._settings.connect_timeout_s).topics[topic]
        except KafkaException as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        if found.error is not None or not found.partitions:
            reason = "it has no partitions" if found.error is None else found.error.str()
            raise ConfigError(
                f"topic {topic} cannot be read ({reason}): `stream-ae topics create` makes it, or check the permissions"
            )
        return [Partition(topic, number) for number in sorted(found.partitions)]

    def _bounds(self, partition: Partition) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(*partition), timeout=self._settings.connect_timeout_s
            )
        except KafkaException as error:
            raise translated(error.args[0], f"offsets of {partition.topic} partition {partition.number}") from error
        return low, high

    def _offsets_at(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        wanted = [TopicPartition(*partition, max(time_ms, 0)) for partition in partitions]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=self._settings.connect_timeout_s)
        except KafkaException as error:
            raise translated(error.args[0], f"offsets of {partitions[0].topic} by time") from error
        return {Partition(f.topic, f.partition): f.offset for f in found}
