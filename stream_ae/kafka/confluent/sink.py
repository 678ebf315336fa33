"""RecordSink on confluent-kafka."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import DeliveryError, StreamAEError
from stream_ae.kafka.confluent.options import producer_options
from stream_ae.kafka.failures import too_large
from stream_ae.records import OutgoingBatch
from stream_ae.settings import KafkaSettings

SLICE_S = 0.1
"""The library's waits cannot be interrupted by a signal: none is longer."""


class ConfluentSink:
    """Idempotent producer. Once a record has failed it stays failed: what came before the record must not be
    committed, so open a new sink and go back to the committed offsets."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._clock = clock
        self._max_message_bytes = settings.max_message_bytes
        self._failure: str | None = None
        self._producer = Producer(self._options(settings) | {"on_delivery": self._on_delivery})

    def produce(self, batch: OutgoingBatch) -> None:
        producer = self._producer
        self._serve(producer.poll, 0)
        self._raise_failure()
        topic = batch.topic
        produce = producer.produce
        rows = zip(
            batch.keys,
            batch.values,
            batch.partition.tolist(),
            # For librdkafka 0 is now.
            batch.timestamp_ms.clip(min=0).tolist(),
            batch.headers,
            strict=True,
        )
        for key, value, partition, timestamp_ms, headers in rows:
            # The library takes headers as a list only.
            listed = headers if type(headers) is list else list(headers) or None
            while True:
                try:
                    produce(topic, value, key, partition, None, None, timestamp_ms, listed)
                    break
                except BufferError:
                    self._wait_for_room()
                except KafkaException as error:
                    self._refuse(error.args[0], topic, len(value or b""))
        self._serve(producer.poll, 0)
        self._raise_failure()

    def flush(self, timeout_s: float) -> None:
        deadline = Deadline.after(self._clock, timeout_s)
        left = self._serve(self._producer.flush, min(SLICE_S, timeout_s))
        while left and self._failure is None and not deadline.passed():
            left = self._serve(self._producer.flush, min(SLICE_S, deadline.left_s()))
        self._raise_failure()
        if left:
            raise DeliveryError(
                f"{left} records were not acknowledged within {timeout_s:g} s; they stay queued until "
                "kafka.delivery_timeout_s: check the brokers"
            )

    def close(self) -> None:
        """Drop what is not acknowledged yet and close; `flush` first."""
        self._producer.purge()
        with suppress(KafkaException):
            self._producer.flush(SLICE_S)

    def _options(self, settings: KafkaSettings) -> dict[str, Any]:
        return producer_options(settings)

    def _serve(self, wait: Callable[[float], int], timeout_s: float) -> int:
        """`poll` or `flush`: the library raises from them, whoever calls, what it does not recover from."""
        try:
            return wait(timeout_s)
        except KafkaException as error:
            raise self._broken(error.args[0]) from error

    def _broken(self, error: KafkaError) -> StreamAEError:
        self._failure = f"the producer has stopped: {error.str()} ({error.name()}); nothing is committed"
        return DeliveryError(self._failure)

    def _wait_for_room(self) -> None:
        """Ends: what fills the queue is delivered, or fails after delivery_timeout_s."""
        self._serve(self._producer.poll, SLICE_S)
        self._raise_failure()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Called for failures; on a time-out with the value too, so the error alone decides."""
        if error is None or self._failure is not None:
            return
        self._failure = self._described(error, message.topic() or "", len(message.value() or b""))

    def _refuse(self, error: KafkaError, topic: str, size_bytes: int) -> NoReturn:
        self._failure = self._failure or self._described(error, topic, size_bytes)
        raise DeliveryError(self._failure)

    def _described(self, error: KafkaError, topic: str, size_bytes: int) -> str:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return too_large(topic, size_bytes, self._max_message_bytes)
        return f"a record for topic {topic} was not delivered: {error.str()} ({error.name()}); nothing is committed"

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeliveryError(self._failure)
