"""kafka-python's configuration from ours, and our errors from its."""

import logging
from typing import Any

from kafka import errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from stream_ae.errors import ConfigError, RestartError, StreamAEError, TransientError
from stream_ae.settings import KafkaSettings

WRONG = (
    errors.AuthorizationError,
    errors.SaslAuthenticationFailedError,
    errors.UnknownTopicOrPartitionError,
    errors.InvalidTopicError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.InconsistentGroupProtocolError,
    errors.KafkaConfigurationError,
    errors.IncompatibleBrokerVersion,
)


def translated(error: Exception, doing: str) -> StreamAEError:
    """ConfigError for what waiting cannot mend, RestartError for a place that another has, else TransientError."""
    message = f"{doing}: {type(error).__name__} {error}".rstrip()
    if isinstance(error, errors.FencedInstanceIdError):
        return RestartError(f"{message}; another process has this one's place: start the worker again")
    if isinstance(error, WRONG):
        return ConfigError(f"{message}; check the topic, the group and the permissions of this user")
    return TransientError(f"{message}; try again")


def no_answer(settings: KafkaSettings, error: Exception) -> ConfigError:
    return ConfigError(
        f"no Kafka broker answers at {settings.bootstrap_servers} within {settings.connect_timeout_s:g} s "
        f"({error}): check kafka.bootstrap_servers, kafka.security_protocol and that the broker is up"
    )


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Also turns down the library's own log, where nobody has set it: our errors say the same, once."""
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    password = settings.sasl_password
    return {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "client_id": "stream-ae",
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password is not None else None,
        "ssl_cafile": str(settings.ssl_ca_file) if settings.ssl_ca_file is not None else None,
        "bootstrap_timeout_ms": max(int(settings.connect_timeout_s * 1000), 1),
        # 30 s, the default, is long after an outage of 3 s.
        "reconnect_backoff_max_ms": 1000,
    }


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Common to the group's source and the group-less reader: nothing is ever committed by itself."""
    return client_options(settings) | {
        "enable_auto_commit": False,
        # An offset that retention has deleted becomes the oldest there is; `kafka.start` is applied on assignment.
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 100,
        "metrics_enabled": False,
    }


def group_options(settings: KafkaSettings, instance_id: str | None) -> dict[str, Any]:
    session_timeout_ms = int(settings.session_timeout_s * 1000)
    return {
        "group_id": settings.group_id,
        "group_instance_id": instance_id,
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "session_timeout_ms": session_timeout_ms,
        "heartbeat_interval_ms": max(min(session_timeout_ms // 3, 1000), 100),
        "max_poll_interval_ms": max(int(settings.max_poll_interval_s * 1000), session_timeout_ms),
    }


def producer_options(settings: KafkaSettings) -> dict[str, Any]:
    delivery_timeout_ms = int(settings.delivery_timeout_s * 1000)
    return client_options(settings) | {
        "enable_idempotence": True,
        "acks": "all",
        # 16 KiB, the default, is a request for every 100 records.
        "batch_size": 128 * 1024,
        "delivery_timeout_ms": delivery_timeout_ms,
        # The library wants linger + request time-out within the delivery time-out.
        "request_timeout_ms": max(min(30_000, delivery_timeout_ms - settings.linger_ms), 1),
        "max_block_ms": delivery_timeout_ms,
        "max_request_size": settings.max_message_bytes,
        "linger_ms": settings.linger_ms,
        "compression_type": None if settings.compression == "none" else settings.compression,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }
