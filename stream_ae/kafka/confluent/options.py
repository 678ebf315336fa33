"""librdkafka's configuration from ours, and our errors from its."""

import logging
from typing import Any

from confluent_kafka import KafkaError

from stream_ae.errors import ConfigError, RestartError, StreamAEError, TransientError
from stream_ae.settings import KafkaSettings

# Outputs that wait for the brokers, in records and in KiB: when either is full, `produce` waits and so does the source.
PRODUCER_QUEUE_RECORDS = 100_000
PRODUCER_QUEUE_KIB = 64 * 1024

# What is fetched ahead, in all partitions together. 64 MiB is the library's default; half of it is 0.1 s of work at
# the library's own top speed, and 32 images of 1 MB.
PREFETCH_KIB = 32 * 1024
# Of a transaction's time-out: a record must have failed before the brokers abort the transaction under it.
RECORD_SHARE = 0.75

WRONG = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
FENCED = frozenset({KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID})


def translated(error: KafkaError, doing: str) -> StreamAEError:
    """ConfigError for what waiting cannot mend, RestartError for a client that will not go on, else TransientError."""
    message = f"{doing}: {error.str()} ({error.name()})"
    if error.fatal() or error.code() in FENCED:
        return RestartError(f"{message}; another process may have this one's place: start the worker again")
    if error.code() in WRONG:
        return ConfigError(f"{message}; check the topic, the group and the permissions of this user")
    return TransientError(f"{message}; try again")


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "stream-ae",
        "security.protocol": settings.security_protocol,
        "socket.connection.setup.timeout.ms": max(int(settings.connect_timeout_s * 1000), 1000),
        # Not only the first reconnection is wanted soon: 10 s, the default, is long after an outage of 3 s.
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "logger": logging.getLogger("librdkafka"),
    }
    if settings.sasl_mechanism is not None:
        options["sasl.mechanism"] = settings.sasl_mechanism
    if settings.sasl_username is not None:
        options["sasl.username"] = settings.sasl_username
    if settings.sasl_password is not None:
        options["sasl.password"] = settings.sasl_password.get_secret_value()
    if settings.ssl_ca_file is not None:
        options["ssl.ca.location"] = str(settings.ssl_ca_file)
    return options


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Common to the group's source and the group-less reader: nothing is ever committed or stored by itself."""
    return client_options(settings) | {
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        # The automatic offset *store* would commit what was handed out, not what was answered.
        "enable.auto.offset.store": False,
        # An offset that retention has deleted becomes the oldest there is; `kafka.start` is applied on assignment.
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": PREFETCH_KIB,
        # How long a full prefetch queue keeps the next fetch back; the default of 1 s is a stall of 1 s.
        "fetch.queue.backoff.ms": 20,
        # A fetch in flight delays what a seek or resume brings; the broker answers at once when it has records.
        "fetch.wait.max.ms": 100,
    }


def group_options(settings: KafkaSettings, *, kip_848: bool, instance_id: str | None) -> dict[str, Any]:
    session_timeout_ms = int(settings.session_timeout_s * 1000)
    options: dict[str, Any] = {
        # The library refuses a poll interval below the session timeout.
        "max.poll.interval.ms": max(int(settings.max_poll_interval_s * 1000), session_timeout_ms),
    }
    if instance_id is not None:
        options["group.instance.id"] = instance_id
    if kip_848:
        # Session time-out and heartbeats are the broker's to set (group.consumer.session.timeout.ms).
        return options | {"group.protocol": "consumer"}
    return options | {
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_timeout_ms,
        "heartbeat.interval.ms": max(min(session_timeout_ms // 3, 1000), 100),
    }


def producer_options(settings: KafkaSettings) -> dict[str, Any]:
    return client_options(settings) | {
        "enable.idempotence": True,
        "message.timeout.ms": int(settings.delivery_timeout_s * 1000),
        "message.max.bytes": settings.max_message_bytes,
        "linger.ms": settings.linger_ms,
        "compression.codec": settings.compression,
        # A key goes to the partition that the Java client and kafka-python would choose.
        "partitioner": "murmur2_random",
        # Python is called for failures alone: a callback per record would halve the rate.
        "delivery.report.only.error": True,
        "queue.buffering.max.messages": PRODUCER_QUEUE_RECORDS,
        "queue.buffering.max.kbytes": max(PRODUCER_QUEUE_KIB, 2 * settings.max_message_bytes // 1024),
    }


def transaction_options(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    timeout_ms = int(settings.transaction_timeout_s * 1000)
    message_timeout_ms = min(int(settings.delivery_timeout_s * 1000), int(RECORD_SHARE * timeout_ms))
    return producer_options(settings) | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout_ms,
        "message.timeout.ms": message_timeout_ms,
        # The other strategy forgets all brokers when none answers, but not which of them coordinates the group: after
        # a restart `send_offsets_to_transaction` then waits for one that is no more (their issues 5511 and 5456). A
        # cluster that comes back under other addresses is found by the process that is started next.
        "metadata.recovery.strategy": "none",
    }
