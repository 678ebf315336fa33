"""The sink for exactly-once, in memory: records that nobody sees before their commit."""

from collections.abc import Mapping
from typing import NamedTuple

from stream_ae.errors import InvariantError, RestartError, TransactionError, TransientError
from stream_ae.records import Headers, Partition, Position
from stream_ae.testing.broker import InMemoryBroker
from stream_ae.testing.kafka import InMemorySink, InMemorySource


class _Record(NamedTuple):
    """The arguments of `InMemoryBroker.append`."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int
    timestamp_ms: int
    headers: Headers


class InMemoryTransactionalSink(InMemorySink):
    """TransactionalSink on an `InMemoryBroker`. Offsets reach the log with the commit, so an aborted record leaves no
    gap there, as it would on a real broker."""

    def __init__(self, broker: InMemoryBroker, transactional_id: str) -> None:
        super().__init__(broker)
        self._name = transactional_id
        self._open = False
        self._records: list[_Record] = []
        self._offsets: list[tuple[InMemorySource, Mapping[Partition, Position]]] = []
        broker.take_name(transactional_id, self)

    def begin(self) -> None:
        self._check_name()
        if self._open:
            raise InvariantError("a transaction is open already")
        self._open = True

    def send_offsets(self, positions: Mapping[Partition, Position], membership: object, timeout_s: float) -> None:
        self._check_name()
        self._raise_failure()
        if not isinstance(membership, InMemorySource):
            raise InvariantError(f"membership is a {type(membership).__name__}, not what the source gave")
        try:
            membership.check_owned(positions)
        except TransientError as error:
            raise TransactionError(str(error)) from error
        self._offsets.append((membership, positions))

    def commit(self, timeout_s: float) -> None:
        self._check_name()
        if self._broker.away:
            raise RestartError(f"the commit was not answered within {timeout_s:g} s: the in-memory broker is away")
        if self._broker.flush_fails() or self._broker.commit_fails():
            self._failure = "the transaction was not committed: the in-memory broker was told to fail"
        self._raise_failure()
        with self._broker.changed:
            for record in self._records:
                self._broker.append(*record)
            for source, positions in self._offsets:
                source.take_committed(positions)
        self._forget()

    def abort(self, timeout_s: float) -> None:
        self._check_name()
        if self._broker.away:
            raise RestartError(f"the abort was not answered within {timeout_s:g} s: the in-memory broker is away")
        self._forget()

    def close(self) -> None:
        self._forget()

    def _write(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, timestamp_ms: int, headers: Headers
    ) -> None:
        if not self._open:
            raise InvariantError("a record is produced outside a transaction: begin() comes first")
        self._records.append(_Record(topic, value, key, partition, timestamp_ms, headers))

    def _forget(self) -> None:
        self._open = False
        self._failure = None
        self._records.clear()
        self._offsets.clear()

    def _check_name(self) -> None:
        if not self._broker.has_name(self._name, self):
            raise RestartError(f"another process has the transactional id {self._name} now")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise TransactionError(self._failure)
