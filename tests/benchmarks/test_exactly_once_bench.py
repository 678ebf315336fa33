"""What exactly-once costs: the same worker on the same backlog, with and without transactions, commits every 100 ms."""

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import SecretStr

from stream_ae.kafka.admin import TopicSpec, create_topics, delete_topics
from stream_ae.ports import Desired
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings, MlflowSettings, RedisSettings
from stream_ae.status import Health
from tests.benchmarks.test_worker_bench import CLOCK, fill, payloads, version_folder, worker_process
from tests.page import PAGE, write_section

__all__ = ["version_folder"]

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

RECORDS = 300_000
ROUNDS = 5
TOPICS = ("raw", "cleaned", "flagged", "dead_letters")
DELIVERIES = ("at_least_once", "exactly_once")
LOOK_EVERY_S = 0.01
WITHIN_S = 300.0


def test_exactly_once_against_at_least_once(
    kafka_servers: str, redis_url: str, mlflow_uri: str, version_folder: Path, tmp_path: Path
) -> None:
    records = list(payloads(RECORDS))
    rates: dict[str, list[float]] = {delivery: [] for delivery in DELIVERIES}
    for number in range(ROUNDS):
        # In turn, each as often first, so that a busy machine treats both alike.
        for delivery in DELIVERIES if number % 2 else reversed(DELIVERIES):
            name = f"bench-{delivery}-{CLOCK.wall_ms()}"
            environment = {
                "STREAM_AE_DELIVERY": delivery,
                "STREAM_AE_PIPELINE": name,
                "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": kafka_servers,
                "STREAM_AE_KAFKA__GROUP_ID": name,
                "STREAM_AE_REDIS__URL": redis_url,
                "STREAM_AE_MLFLOW__TRACKING_URI": mlflow_uri,
                "STREAM_AE_WORKER__CACHE_DIR": str(tmp_path),
                "STREAM_AE_WORKER__COMMIT_INTERVAL_S": "0.1",
                **{f"STREAM_AE_TOPICS__{topic.upper()}": f"{name}-{topic}" for topic in TOPICS},
            }
            rates[delivery].append(committed_rate(environment, records, version_folder, tmp_path / "log"))
    lines = told(rates)
    print("\n" + "\n".join(lines))
    write_section(PAGE, "exactly once", "make bench", lines)


def told(rates: Mapping[str, Sequence[float]]) -> list[str]:
    """The section of docs/RELIABILITY.md."""
    least, once = (rates[delivery] for delivery in DELIVERIES)
    ratios = [b / a for a, b in zip(least, once, strict=True)]
    return [
        "## What exactly-once costs",
        "",
        f"One worker process on one core, a backlog of {RECORDS:,} records of 8 named values, committed every 100 ms; "
        f"records/s from the first commit to the last, {ROUNDS} rounds of both in turn on the same machine.",
        "",
        "| | median | rounds |",
        "|---|---:|---|",
        *(
            f"| {name} | {statistics.median(of):,.0f} | {', '.join(f'{r:,.0f}' for r in of)} |"
            for name, of in rates.items()
        ),
        f"| ratio | {statistics.median(ratios):.2f} | {', '.join(f'{ratio:.2f}' for ratio in ratios)} |",
    ]


def committed_rate(
    environment: Mapping[str, str], records: Sequence[tuple[bytes, bytes]], folder: Path, log: Path
) -> float:
    """Records a second from the first commit to the last one, of a worker that finds a backlog when its model comes."""
    kafka = KafkaSettings(
        bootstrap_servers=environment["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"],
        group_id=environment["STREAM_AE_KAFKA__GROUP_ID"],
    )
    topics, pipeline = (
        [environment[f"STREAM_AE_TOPICS__{t.upper()}"] for t in TOPICS],
        environment["STREAM_AE_PIPELINE"],
    )
    create_topics(kafka, [TopicSpec(topic, 1) for topic in topics])
    fill(kafka, topics[0], records)
    store = MlflowStore(MlflowSettings(tracking_uri=environment["STREAM_AE_MLFLOW__TRACKING_URI"]), pipeline)
    signal = RedisSignal(RedisSettings(url=SecretStr(environment["STREAM_AE_REDIS__URL"])), pipeline, CLOCK)
    # A client that stays: one for each look would take a core of its own.
    group = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": kafka.group_id})
    try:
        with worker_process(environment, log):
            while not any(worker.health == Health.WAITING for worker in signal.workers()):
                threading.Event().wait(0.05)
            signal.announce(Desired(store.register(folder, {}, {}).identity, CLOCK.wall_ms()))
            first, began_s = await_committed(group, topics[0], 1)
            last, ended_s = await_committed(group, topics[0], len(records))
    finally:
        group.close()
        signal.close()
        delete_topics(kafka, topics)
    return (last - first) / (ended_s - began_s)


def await_committed(group: Consumer, topic: str, at_least: int) -> tuple[int, float]:
    """The committed offset once it is large enough, and when that was, in seconds of the monotonic clock."""
    deadline_s = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline_s:
        (found,) = group.committed([TopicPartition(topic, 0)], timeout=WITHIN_S)
        if found.offset >= at_least:
            return found.offset, time.perf_counter()
        threading.Event().wait(LOOK_EVERY_S)
    raise AssertionError(f"{found.offset} of {at_least} records are committed after {WITHIN_S:g} s")
