"""TransactionalSink on confluent-kafka."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import ConfigError, RestartError, StreamAEError, TransactionError, TransientError
from stream_ae.kafka.confluent.bounded import BoundedCalls
from stream_ae.kafka.confluent.options import WRONG, transaction_options
from stream_ae.kafka.confluent.sink import SLICE_S, ConfluentSink
from stream_ae.records import Partition, Position
from stream_ae.settings import KafkaSettings
from stream_ae.telemetry import Log

# An abort on the way out: brokers that are away must not keep the process, and abort by themselves in the end.
LAST_ABORT_S = 5.0
# librdkafka 2.16 does not always keep the limit of send_offsets_to_transaction (their issue 5456). A call that does is
# back a little after it.
GRACE_S = 1.0

log = Log("kafka")


class ConfluentTransactionalSink(ConfluentSink):
    """Opening it fences every other process with the same transactional id and aborts what that one left open.

    A record that fails, fails its transaction; whether that is for good (another process has the id) is what
    `abort` tells.
    """

    def __init__(self, settings: KafkaSettings, transactional_id: str, clock: Clock) -> None:
        self._transactional_id = transactional_id
        self._in_transaction = False
        self._bounded = BoundedCalls(clock)
        super().__init__(settings, clock)
        self._repeated(self._producer.init_transactions, "opening", settings.delivery_timeout_s, RestartError)

    def begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._judged(error.args[0], "a transaction cannot be begun") from error
        self._in_transaction = True

    def send_offsets(self, positions: Mapping[Partition, Position], membership: object, timeout_s: float) -> None:
        self._raise_failure()
        offsets = [TopicPartition(*partition, p.offset, p.metadata) for partition, p in positions.items()]

        def send(slice_s: float) -> None:
            self._producer.send_offsets_to_transaction(offsets, membership, slice_s)

        self._repeated(send, "sending offsets with", timeout_s, TransactionError)

    def commit(self, timeout_s: float) -> None:
        self._raise_failure()
        # Whether an unanswered commit was taken only its coordinator knows; it tells whoever opens the id next.
        self._repeated(self._producer.commit_transaction, "committing", timeout_s, RestartError)
        self._in_transaction = False

    def abort(self, timeout_s: float) -> None:
        self._repeated(self._producer.abort_transaction, "aborting", timeout_s, RestartError)
        self._in_transaction = False
        # Also what the abort itself has purged.
        self._failure = None

    def close(self) -> None:
        if self._in_transaction:
            self._leave_transaction()
        self._bounded.close()
        super().close()

    def _options(self, settings: KafkaSettings) -> dict[str, Any]:
        return transaction_options(settings, self._transactional_id)

    def _leave_transaction(self) -> None:
        try:
            if self._bounded.busy:
                raise TransientError("the call before has not returned")
            self.abort(LAST_ABORT_S)
        except StreamAEError as error:
            log.warning("transaction left open", transactional_id=self._transactional_id, reason=str(error))

    def _repeated(
        self, call: Callable[[float], None], doing: str, timeout_s: float, given_up: type[StreamAEError]
    ) -> None:
        """Call until it succeeds; `given_up` if it only ever says to call again within the time.

        RestartError if it does not come back: the library takes no other call for this transaction then.
        """
        deadline, never = Deadline.after(self._clock, timeout_s), threading.Event()
        while True:
            limit_s = max(deadline.left_s(), SLICE_S)
            try:
                return self._bounded.run(partial(call, limit_s), limit_s + GRACE_S, f"{doing} a transaction")
            except TransientError as error:
                raise RestartError(
                    f"{error} (transactional id {self._transactional_id}): start the worker again"
                ) from error
            except KafkaException as error:
                problem = error.args[0]
                if not problem.retriable() or problem.txn_requires_abort():
                    raise self._judged(problem, f"{doing} a transaction failed") from error
                if deadline.passed():
                    raise given_up(self._sentence(problem, f"{doing} a transaction took {timeout_s:g} s")) from error
                # Not every error that says to call again has waited before saying so.
                self._clock.wait(never, SLICE_S)

    def _judged(self, error: KafkaError, what: str) -> StreamAEError:
        sentence = self._sentence(error, what)
        if error.txn_requires_abort():
            return TransactionError(sentence)
        if error.code() in WRONG:
            return ConfigError(f"{sentence}; check the permissions of this user for its group and transactional id")
        return RestartError(f"{sentence}; nothing of it is committed twice: start the worker again")

    def _sentence(self, error: KafkaError, what: str) -> str:
        return f"{what} (transactional id {self._transactional_id}): {error.str()} ({error.name()})"

    def _refuse(self, error: KafkaError, topic: str, size_bytes: int) -> NoReturn:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            # It would be as large the next time.
            super()._refuse(error, topic, size_bytes)
        self._failure = self._failure or self._described(error, topic, size_bytes)
        raise TransactionError(self._failure)

    def _broken(self, error: KafkaError) -> StreamAEError:
        return self._judged(error, "the producer of a transaction has stopped")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise TransactionError(self._failure)
