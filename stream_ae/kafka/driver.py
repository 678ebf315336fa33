"""The record ports on the client library that `kafka.driver` names."""

from importlib import metadata
from importlib.util import find_spec

from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError
from stream_ae.ports import RecordReader, RecordSink, RecordSource
from stream_ae.settings import KafkaSettings

CONFLUENT = "confluent"
KAFKA_PYTHON = "kafka-python"
# 2.13.0-2.15.0 return from consume() at the first message (confluent-kafka-python issue 2205).
CONFLUENT_AT_LEAST = (2, 16, 1)


def open_source(settings: KafkaSettings, clock: Clock | None = None) -> RecordSource:
    """A member of the consumer group `settings.group_id`; it joins when it is polled after `subscribe`.

    Raises ConfigError if the driver cannot be used or no broker answers within `connect_timeout_s`.
    """
    if chosen_driver(settings) == CONFLUENT:
        from stream_ae.kafka.confluent.source import ConfluentSource

        return ConfluentSource(settings, clock or SystemClock())
    from stream_ae.kafka.python.source import KafkaPythonSource

    return KafkaPythonSource(settings, clock or SystemClock())


def open_sink(settings: KafkaSettings, clock: Clock | None = None) -> RecordSink:
    """An idempotent producer. Raises ConfigError if the driver cannot be used."""
    if chosen_driver(settings) == CONFLUENT:
        from stream_ae.kafka.confluent.sink import ConfluentSink

        return ConfluentSink(settings, clock or SystemClock())
    from stream_ae.kafka.python.sink import KafkaPythonSink

    return KafkaPythonSink(settings)


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
