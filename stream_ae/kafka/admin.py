"""Topics: create, check at start, delete; and how far a group is behind.

On kafka-python for both drivers: it is always installed and shows what the brokers can do, which librdkafka hides.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import ConfigError
from stream_ae.kafka.python.options import client_options, no_answer, translated
from stream_ae.records import Partition
from stream_ae.settings import KafkaSettings

ASK_AGAIN_S = 0.2
LARGEST_RECORD = "max.message.bytes"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it shall be created; `config` as in Kafka's topic configuration (`retention.ms`, ...)."""

    name: str
    partitions: int = 3
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """What `create_topics` did: the names it made and those that were there."""

    created: tuple[str, ...]
    existed: tuple[str, ...]


def create_topics(settings: KafkaSettings, specs: Iterable[TopicSpec]) -> Created:
    """Create what does not exist and wait until it can be used; topics that exist are left as they are."""
    created, existed = [], []
    with _client(settings, "creating topics") as client:
        for spec in specs:
            wanted = {
                spec.name: {
                    "num_partitions": spec.partitions,
                    "replication_factor": spec.replication,
                    "configs": dict(spec.config),
                }
            }
            try:
                client.create_topics(wanted, wait_for_metadata=True)
                created.append(spec.name)
            except TopicAlreadyExistsError:
                existed.append(spec.name)
    return Created(tuple(created), tuple(existed))


def partition_count(settings: KafkaSettings, name: str) -> int:
    """How many partitions the topic has; 0 if it does not exist. ConfigError if no broker answers."""
    with _client(settings, f"looking up topic {name}") as client:
        return len(client.describe_topics([name])[0]["partitions"])


def delete_topics(settings: KafkaSettings, names: Sequence[str]) -> None:
    """Delete topics and their records; those that do not exist are passed over."""
    with _client(settings, "deleting topics") as client:
        for name in names:
            try:
                client.delete_topics([name])
            except UnknownTopicOrPartitionError:
                continue


def check_topics(settings: KafkaSettings, reads: Sequence[str] = (), writes: Sequence[str] = ()) -> dict[str, int]:
    """Partition counts of the topics; ConfigError within `connect_timeout_s` if one cannot be used as said.

    Names all that is wrong at once: no broker at the address, missing topics, missing READ or WRITE permission
    (where the brokers say what is allowed).
    """
    needed: dict[str, list[str]] = {}
    for operation, names in (("READ", reads), ("WRITE", writes)):
        for name in names:
            needed.setdefault(name, []).append(operation)
    with _client(settings, "looking up topics") as client:
        found = {topic["name"]: topic for topic in client.describe_topics(list(needed))}
        there = [name for name in writes if found.get(name, {}).get("partitions")]
        smaller = _smaller(client, there, settings.max_message_bytes)
    missing = [name for name in needed if not found.get(name, {}).get("partitions")]
    refused = [name for name in missing if _code(found.get(name)) == "TopicAuthorizationFailedError"]
    missing = [name for name in missing if name not in refused]
    problems = []
    if missing:
        problems.append(f"missing topics: {', '.join(missing)} (`stream-ae topics create` makes them)")
    denied = [f"DESCRIBE {name}" for name in refused] + _denied(needed, found)
    if denied:
        problems.append(f"missing permissions: {', '.join(denied)} (grant them to this user)")
    if smaller:
        allowed = ", ".join(f"{name} {size}" for name, size in smaller.items())
        problems.append(
            f"kafka.max_message_bytes is {settings.max_message_bytes}, but topics take less ({allowed}): "
            "raise their max.message.bytes (kafka-configs.sh --alter), or lower the setting"
        )
    if problems:
        raise ConfigError(f"Kafka at {settings.bootstrap_servers}: {'; '.join(problems)}")
    return {name: len(found[name]["partitions"]) for name in needed}


def group_lag(settings: KafkaSettings, topic: str) -> dict[Partition, int]:
    """Records of each partition that the group has not committed; all that there are where it committed nothing."""
    with _client(settings, f"looking up the lag on {topic}") as client:
        found = client.describe_topics([topic])[0]
        if not found["partitions"]:
            raise ConfigError(f"topic {topic} does not exist; `stream-ae topics create` makes it")
        numbers = sorted(p["partition_index"] for p in found["partitions"])
        partitions = [TopicPartition(topic, number) for number in numbers]
        first = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        ends = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        committed = _committed(client, settings, partitions)
    lags = {}
    for partition in partitions:
        reached = committed[partition].offset if partition in committed else -1
        low, high = first[partition].offset, ends[partition].offset
        lags[Partition(topic, partition.partition)] = max(high - max(reached, low), 0)
    return lags


def _committed(
    client: KafkaAdminClient, settings: KafkaSettings, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, Any]:
    """What the group has committed. A broker that was never asked before makes its offsets topic first, and one that
    has just begun to look after the group reads it: it is asked again within `connect_timeout_s`."""
    clock = SystemClock()
    deadline = Deadline.after(clock, settings.connect_timeout_s)
    while True:
        try:
            found: Mapping[TopicPartition, Any] = client.list_group_offsets({settings.group_id: partitions})[
                settings.group_id
            ]
        except GroupIdNotFoundError:
            return {}
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            if deadline.passed():
                raise
            clock.wait(threading.Event(), ASK_AGAIN_S)
        else:
            return found


def has_consumer_protocol(settings: KafkaSettings) -> bool:
    """Whether the brokers speak the KIP-848 group protocol; ConfigError if none answers."""
    with _client(settings, "asking for the group protocol") as client:
        try:
            features = client.describe_features()
        except IncompatibleBrokerVersion:
            return False
    # The API alone says nothing: brokers 3.7 to 3.9 list it and refuse it.
    return bool(features.get("group.version", {}).get("finalized", (0, 0))[1] >= 1)


@contextmanager
def _client(settings: KafkaSettings, doing: str) -> Iterator[KafkaAdminClient]:
    try:
        client = KafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    except (KafkaError, OSError, ValueError) as error:
        raise no_answer(settings, error) from error
    try:
        yield client
    except KafkaError as error:
        raise translated(error, f"{doing} at {settings.bootstrap_servers}") from error
    finally:
        client.close()


def _smaller(client: KafkaAdminClient, names: Sequence[str], wanted: int) -> dict[str, int]:
    """Topics whose largest record is smaller than wanted, in bytes; none where that may not be asked."""
    if not names:
        return {}
    # A dictionary would be taken for one of values; None asks for the effective one, the brokers' default too.
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, {LARGEST_RECORD: None}) for name in names]
    try:
        found = client.describe_configs(asked, config_filter="all")["topic"]
    except TopicAuthorizationFailedError:
        return {}
    sizes = {name: int(found[name][LARGEST_RECORD]["value"]) for name in names if LARGEST_RECORD in found.get(name, {})}
    return {name: size for name, size in sizes.items() if size < wanted}


def _denied(needed: Mapping[str, list[str]], found: Mapping[str, Mapping[str, object]]) -> list[str]:
    denied = []
    for name, operations in needed.items():
        allowed = found.get(name, {}).get("authorized_operations")
        # Brokers without an authoriser answer with nothing.
        if isinstance(allowed, list) and allowed:
            denied += [f"{operation} {name}" for operation in operations if operation not in allowed]
    return denied


def _code(topic: Mapping[str, object] | None) -> str:
    return for_code(topic["error_code"]).__name__ if topic is not None else ""
