"""RecordSink on kafka-python."""

from collections.abc import Sequence
from functools import partial

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.serializer import Serializer

from stream_ae.errors import DeliveryError
from stream_ae.kafka.failures import too_large
from stream_ae.kafka.python.options import no_answer, producer_options, translated
from stream_ae.records import OutgoingBatch
from stream_ae.settings import KafkaSettings

# The library queues without bound: once this much waits for acknowledgement, it is flushed first.
QUEUED_BYTES = 64 * 1024 * 1024
CLOSE_S = 0.1


class _Null:
    """Stands for a value of None: kafka-python refuses a record with neither key nor value, which Kafka allows."""


NULL = _Null()


class _Values(Serializer):  # type: ignore[misc]
    """Bytes as they are, `NULL` as None."""

    def serialize(self, _topic: str, _headers: object, value: object) -> object:
        return None if value is NULL else value


class KafkaPythonSink:
    """Idempotent producer. Once a record has failed it stays failed: what came before the record must not be
    committed, so open a new sink and go back to the committed offsets."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._failure: str | None = None
        self._queued_bytes = 0
        try:
            self._producer = KafkaProducer(**producer_options(settings), value_serializer=_Values())
        except KafkaTimeoutError as error:
            raise no_answer(settings, error) from error
        except (KafkaError, ValueError) as error:
            raise translated(error, f"connecting to {settings.bootstrap_servers}") from error

    def produce(self, batch: OutgoingBatch) -> None:
        self._raise_failure()
        topic, send, failed = batch.topic, self._producer.send, partial(self._failed, batch.topic)
        self._make_room(batch.values)
        rows = zip(
            batch.keys,
            batch.values,
            batch.partition.tolist(),
            batch.timestamp_ms.tolist(),
            batch.headers,
            strict=True,
        )
        for key, value, partition, timestamp_ms, headers in rows:
            try:
                future = send(
                    topic,
                    NULL if value is None else value,
                    key,
                    headers if type(headers) is list else list(headers),
                    partition if partition >= 0 else None,
                    timestamp_ms if timestamp_ms >= 0 else None,
                )
            except (KafkaError, AssertionError) as error:
                self._refuse(error, topic, len(value or b""))
            future.add_errback(failed)
        self._raise_failure()

    def flush(self, timeout_s: float) -> None:
        try:
            self._producer.flush(timeout_s)
        except KafkaTimeoutError as error:
            self._raise_failure()
            raise DeliveryError(
                f"records were not acknowledged within {timeout_s:g} s; they stay queued until "
                "kafka.delivery_timeout_s: check the brokers"
            ) from error
        self._raise_failure()
        self._queued_bytes = 0

    def close(self) -> None:
        """Drop what is not acknowledged yet and close; `flush` first."""
        try:
            self._producer.close(CLOSE_S)
        except KafkaTimeoutError:
            # close() gives up before it ends its thread when records are left (kafka-python 3.0).
            self._producer._sender.force_close()
            self._producer.close(CLOSE_S)

    def _make_room(self, values: Sequence[bytes | None]) -> None:
        size_bytes = sum(map(len, filter(None, values)))
        if self._queued_bytes and self._queued_bytes + size_bytes > QUEUED_BYTES:
            self.flush(self._settings.delivery_timeout_s)
        self._queued_bytes += size_bytes

    def _failed(self, topic: str, error: Exception) -> None:
        """Called on the library's thread."""
        if self._failure is None:
            self._failure = self._described(topic, error)

    def _refuse(self, error: Exception, topic: str, size_bytes: int) -> None:
        if isinstance(error, MessageSizeTooLargeError):
            self._failure = too_large(topic, size_bytes, self._settings.max_message_bytes)
        else:
            self._failed(topic, error)
        self._raise_failure()

    def _described(self, topic: str, error: Exception) -> str:
        if isinstance(error, MessageSizeTooLargeError):
            return (
                f"a record is larger than topic {topic} allows: raise its max.message.bytes "
                f"(kafka.max_message_bytes is {self._settings.max_message_bytes})"
            )
        return f"a record for topic {topic} was not delivered: {type(error).__name__} {error}; nothing is committed"

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeliveryError(self._failure)
