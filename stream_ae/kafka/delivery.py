"""The order in which outputs are acknowledged and inputs committed."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import TransactionError
from stream_ae.ports import RecordSink, RecordSource, TransactionalSink, TransactionalSource
from stream_ae.records import OutgoingBatch, Partition, Position


class Delivery(Protocol):
    """All that a worker knows of delivery."""

    def produce(self, batch: OutgoingBatch) -> None:
        """Queue outputs. DeliveryError: an earlier one failed, nothing will be committed any more."""
        ...

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float = math.inf) -> None:
        """Commit these inputs once all outputs so far are acknowledged. DeliveryError or TransientError: none is."""
        ...

    def lost(self) -> None:
        """Partitions were lost: TransactionError if outputs about them would be committed with the next inputs."""
        ...

    def start_over(self) -> None:
        """After a TransactionError: nothing produced since the last commit counts, and the source goes back to it.

        Raises TransientError if that cannot be done yet; call it again.
        """
        ...

    def close(self) -> None:
        """Drop what is not committed."""
        ...


class AtLeastOnce:
    """Commits an input only after the brokers have acknowledged every output produced before.

    A crash between the two repeats outputs, never loses one.
    """

    def __init__(self, source: RecordSource, sink: RecordSink, flush_timeout_s: float) -> None:
        self._source = source
        self._sink = sink
        self._flush_timeout_s = flush_timeout_s

    def produce(self, batch: OutgoingBatch) -> None:
        self._sink.produce(batch)

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float = math.inf) -> None:
        self._sink.flush(min(self._flush_timeout_s, timeout_s))
        if positions:
            self._source.commit(positions)

    def lost(self) -> None:
        """Outputs about lost partitions are repeated by their new owner."""

    def start_over(self) -> None:
        """Never asked for: there is no transaction."""

    def close(self) -> None:
        self._sink.close()


class ExactlyOnce:
    """Outputs and the offsets of their inputs in one transaction: a reader of committed records sees each output once.

    A transaction begins with its first output, never before: an idle one would time out. One that cannot be committed
    stays so until `start_over`, whatever is called in between: its inputs were answered by outputs that do not count.
    """

    def __init__(self, source: TransactionalSource, sink: TransactionalSink, timeout_s: float, clock: Clock) -> None:
        self._source = source
        self._sink = sink
        self._timeout_s = timeout_s
        self._clock = clock
        self._open = False
        self._void = False

    def produce(self, batch: OutgoingBatch) -> None:
        with self._spoilt_by_errors():
            self._begin()
            self._sink.produce(batch)

    def commit(self, positions: Mapping[Partition, Position], timeout_s: float = math.inf) -> None:
        if not positions and not self._open:
            return
        deadline = Deadline.after(self._clock, min(self._timeout_s, timeout_s))
        with self._spoilt_by_errors():
            self._begin()
            self._sink.send_offsets(positions, self._source.membership(), deadline.left_s())
            self._sink.commit(deadline.left_s())
        self._open = False

    def lost(self) -> None:
        if self._open:
            self._void = True
            raise TransactionError("partitions were lost while outputs about them waited for their commit")

    def start_over(self) -> None:
        if self._open:
            self._sink.abort(self._timeout_s)
            self._open = False
        self._source.go_back()
        self._void = False

    def close(self) -> None:
        self._sink.close()

    def _begin(self) -> None:
        if not self._open:
            self._sink.begin()
            self._open = True

    @contextmanager
    def _spoilt_by_errors(self) -> Iterator[None]:
        if self._void:
            raise TransactionError("an earlier output or commit of this transaction failed: start over")
        try:
            yield
        except TransactionError:
            self._void = True
            raise
