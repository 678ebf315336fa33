"""The record ports on the client library that `kafka.driver` names."""

from importlib import metadata
from importlib.util import find_spec

from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError
from stream_ae.ports import RecordReader, RecordSink, RecordSource, TransactionalSink, TransactionalSource
from stream_ae.settings import KafkaSettings

CONFLUENT = "confluent"
KAFKA_PYTHON = "kafka-python"
# 2.13.0-2.15.0 return from consume() at the first message (confluent-kafka-python issue 2205).
CONFLUENT_AT_LEAST = (2, 16, 1)


def open_source(settings: KafkaSettings, clock: Clock | None = None, instance_id: str | None = None) -> RecordSource:
    """A member of the consumer group `settings.group_id`; it joins when it is polled after `subscribe`.

    With an `instance_id` it is a static member: who comes back under that name within `session_timeout_s` gets the same
    partitions, and nobody else is disturbed.
    Raises ConfigError if the driver cannot be used or no broker answers within `connect_timeout_s`.
    """
    if chosen_driver(settings) == CONFLUENT:
        from stream_ae.kafka.confluent.source import ConfluentSource

        return ConfluentSource(settings, clock or SystemClock(), instance_id)
    from stream_ae.kafka.python.source import KafkaPythonSource

    return KafkaPythonSource(settings, clock or SystemClock(), instance_id)


def open_sink(settings: KafkaSettings, clock: Clock | None = None) -> RecordSink:
    """An idempotent producer. Raises ConfigError if the driver cannot be used."""
    if chosen_driver(settings) == CONFLUENT:
        from stream_ae.kafka.confluent.sink import ConfluentSink

        return ConfluentSink(settings, clock or SystemClock())
    from stream_ae.kafka.python.sink import KafkaPythonSink

    return KafkaPythonSink(settings)


def open_transactional_source(
    settings: KafkaSettings, clock: Clock | None = None, instance_id: str | None = None
) -> TransactionalSource:
    """As `open_source`, for delivery exactly once. Raises ConfigError if the driver cannot do that."""
    check_transactions(settings)
    from stream_ae.kafka.confluent.source import ConfluentSource

    return ConfluentSource(settings, clock or SystemClock(), instance_id)


def open_transactional_sink(
    settings: KafkaSettings, transactional_id: str, clock: Clock | None = None
) -> TransactionalSink:
    """The one process with this id: any other is put out of service, and what it left open is aborted.

    Raises ConfigError if the driver cannot do that or the id is not permitted, RestartError if the brokers do not
    answer.
    """
    check_transactions(settings)
    from stream_ae.kafka.confluent.transactions import ConfluentTransactionalSink

    return ConfluentTransactionalSink(settings, transactional_id, clock or SystemClock())


def check_transactions(settings: KafkaSettings) -> None:
    """ConfigError where exactly-once is not to be had."""
    if chosen_driver(settings) != CONFLUENT:
        # Its commit_transaction() returns although records were lost (kafka-python 3.0.12, two ways reproduced).
        raise ConfigError(
            "delivery is exactly_once, which needs confluent-kafka: pip install 'stream-ae[fast]' and set kafka.driver "
            "to auto or confluent; or set delivery: at_least_once"
        )


def open_reader(settings: KafkaSettings, clock: Clock | None = None) -> RecordReader:
    """Bounded reads outside any group. Raises ConfigError if the driver cannot be used."""
    if chosen_driver(settings) == CONFLUENT:
        from stream_ae.kafka.confluent.reader import ConfluentReader

        return ConfluentReader(settings, clock or SystemClock())
    from stream_ae.kafka.python.reader import KafkaPythonReader

    return KafkaPythonReader(settings, clock or SystemClock())


def chosen_driver(settings: KafkaSettings) -> str:
    """`confluent` or `kafka-python`; ConfigError if the one asked for is missing, too old or too slow to use."""
    if settings.driver == CONFLUENT or (settings.driver == "auto" and find_spec("confluent_kafka")):
        _check_confluent()
        return CONFLUENT
    _check_kafka_python()
    return KAFKA_PYTHON


def _check_confluent() -> None:
    remedy = "pip install 'stream-ae[fast]', or set kafka.driver: kafka-python"
    if find_spec("confluent_kafka") is None:
        raise ConfigError(f"kafka.driver is confluent, but confluent-kafka is not installed: {remedy}")
    version = metadata.version("confluent-kafka")
    if _numbers(version) < CONFLUENT_AT_LEAST:
        needed = ".".join(map(str, CONFLUENT_AT_LEAST))
        raise ConfigError(f"confluent-kafka {version} cannot batch; {needed} or newer is needed: {remedy}")


def _check_kafka_python() -> None:
    if find_spec("crc32c") is None:
        raise ConfigError(
            "kafka-python without crc32c is 25 times slower and refused: pip install 'kafka-python[crc32c]', "
            "or pip install 'stream-ae[fast]' for confluent-kafka"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 16, 1) of "2.16.1", "2.16.1rc2" or "2.16.1.post0"."""
    digits = ["".join(c for c in part[:3] if c.isdigit()) for part in version.split(".")[:3]]
    return tuple(int(part or 0) for part in digits)
