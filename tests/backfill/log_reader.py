"""A reader of logs that tests make up, with gaps between the offsets as compaction and transactions leave them."""

from collections.abc import Iterator, Sequence

from stream_ae.ports import OffsetRange
from stream_ae.records import Partition, RecordBatch
from tests.flow.raw_log import Raw, raw_batch


class LogReader:
    """RecordReader on a list of records; `begins`: by partition, what retention has left."""

    def __init__(self, log: Sequence[Raw], begins: dict[int, int] | None = None) -> None:
        self._logs: dict[int, list[Raw]] = {}
        for raw in log:
            self._logs.setdefault(raw.partition, []).append(raw)
        self._begins = begins or {}
        self.records_read = 0

    def ranges(self, topic: str, start_ms: int | None = None, end_ms: int | None = None) -> list[OffsetRange]:
        found = []
        for number, log in sorted(self._logs.items()):
            held = self._held(number)
            end = log[-1].offset + 1
            first = next((raw.offset for raw in held if start_ms is None or raw.kafka_ms >= start_ms), end)
            last = next((raw.offset for raw in held if end_ms is not None and raw.kafka_ms >= end_ms), end)
            begin = first if start_ms is not None else self._begins.get(number, 0)
            found.append(OffsetRange(Partition(topic, number), begin, max(begin, last)))
        return found

    def read(self, ranges: Sequence[OffsetRange], max_records: int = 10_000) -> Iterator[RecordBatch]:
        for span in ranges:
            wanted = [raw for raw in self._held(span.partition.number) if span.begin <= raw.offset < span.end]
            for first in range(0, len(wanted), max_records):
                self.records_read += len(wanted[first : first + max_records])
                yield raw_batch(wanted[first : first + max_records])

    def close(self) -> None:
        """Nothing to let go of."""

    def _held(self, number: int) -> list[Raw]:
        return [raw for raw in self._logs[number] if raw.offset >= self._begins.get(number, 0)]
