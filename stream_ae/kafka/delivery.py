"""The order in which outputs are acknowledged and inputs committed."""

from collections.abc import Mapping

from stream_ae.ports import RecordSink, RecordSource
from stream_ae.records import OutgoingBatch, Partition, Position


class AtLeastOnce:
    """Commits an input only after the brokers have acknowledged every output produced before.

    A crash between the two repeats outputs, never loses one. `produce` and `commit` is all that a worker knows of
    delivery, so a transactional class with the same two methods can stand in its place.
    """

    def __init__(self, source: RecordSource, sink: RecordSink, flush_timeout_s: float) -> None:
        self._source = source
        self._sink = sink
        self._flush_timeout_s = flush_timeout_s

    def produce(self, batch: OutgoingBatch) -> None:
        """Queue outputs. DeliveryError: an earlier one failed, nothing will be committed any more."""
        self._sink.produce(batch)

    def commit(self, positions: Mapping[Partition, Position]) -> None:
        """Flush, then commit. DeliveryError or TransientError: nothing of it is committed."""
        self._sink.flush(self._flush_timeout_s)
        if positions:
            self._source.commit(positions)
