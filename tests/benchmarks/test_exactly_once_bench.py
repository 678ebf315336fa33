"""What exactly-once costs: the same worker on the same backlog, with and without transactions, commits every 100 ms."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_ae.kafka.admin import TopicSpec, create_topics, group_lag
from stream_ae.ports import Desired, Health
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings, MlflowSettings, RedisSettings
from tests.benchmarks.test_worker_bench import CLOCK, fill, payloads, version_folder, worker_process

__all__ = ["version_folder"]

pytestmark = pytest.mark.bench

RECORDS = 300_000
ROUNDS = 2
TOPICS = ("raw", "cleaned", "flagged", "dead_letters")


def test_exactly_once_against_at_least_once(
    kafka_servers: str, redis_url: str, mlflow_uri: str, version_folder: Path, tmp_path: Path
) -> None:
    records = list(payloads(RECORDS))
    rates: dict[str, list[float]] = {"at_least_once": [], "exactly_once": []}
    # In turn, so that a busy machine treats both alike.
    for _ in range(ROUNDS):
        for delivery, measured in rates.items():
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
            measured.append(committed_rate(environment, records, version_folder, tmp_path / "log"))
    print(f"\n{RECORDS:,} records, JSON with 8 named values, committed every 100 ms; records/s until all is committed")
    for delivery, measured in rates.items():
        print(f"  {delivery:<14}" + "".join(f"{rate:>12,.0f}" for rate in measured))
    ratios = [once / least for least, once in zip(*rates.values(), strict=True)]
    print(f"  {'ratio':<14}" + "".join(f"{ratio:>12.2f}" for ratio in ratios))


def committed_rate(
    environment: Mapping[str, str], records: Sequence[tuple[bytes, bytes]], folder: Path, log: Path
) -> float:
    """Records a second from the first commit to the last one, of a worker that finds a backlog when its model comes."""
    kafka = KafkaSettings(
        bootstrap_servers=environment["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"],
        group_id=environment["STREAM_AE_KAFKA__GROUP_ID"],
    )
    raw, pipeline = environment["STREAM_AE_TOPICS__RAW"], environment["STREAM_AE_PIPELINE"]
    create_topics(kafka, [TopicSpec(environment[f"STREAM_AE_TOPICS__{topic.upper()}"], 1) for topic in TOPICS])
    fill(kafka, raw, records)
    store = MlflowStore(MlflowSettings(tracking_uri=environment["STREAM_AE_MLFLOW__TRACKING_URI"]), pipeline)
    signal = RedisSignal(RedisSettings(url=SecretStr(environment["STREAM_AE_REDIS__URL"])), pipeline, CLOCK)
    try:
        with worker_process(environment, log):
            while not any(worker.health == Health.WAITING for worker in signal.workers()):
                threading.Event().wait(0.05)
            signal.announce(Desired(store.register(folder, {}, {}).identity, CLOCK.wall_ms()))
            left, began_s = await_lag(kafka, raw, len(records) - 1)
            _, ended_s = await_lag(kafka, raw, 0)
    finally:
        signal.close()
    return left / (ended_s - began_s)


def await_lag(kafka: KafkaSettings, topic: str, at_most: int) -> tuple[int, float]:
    """The lag once it is small enough, and when that was, in seconds of the monotonic clock."""
    for _ in range(6_000):
        lag = sum(group_lag(kafka, topic).values())
        if lag <= at_most:
            return lag, time.perf_counter()
        threading.Event().wait(0.05)
    raise AssertionError(f"{lag} records are not committed after five minutes")
