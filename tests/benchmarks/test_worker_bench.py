"""The worker end to end against the raw echo loop of the same client in the same run; start-up time and memory."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import orjson
import psutil
import pytest
from pydantic import SecretStr

from stream_ae.clock import SystemClock
from stream_ae.flow.images.codec import encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader, open_sink
from stream_ae.models.serialization import save
from stream_ae.models.version import save as save_version
from stream_ae.ports import Desired, RecordReader
from stream_ae.records import NO_HEADERS, Float32, OutgoingBatch
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings, MlflowSettings, RedisSettings, TrainingSettings
from stream_ae.status import Health
from stream_ae.training import train
from stream_ae.training.images import train_frames
from tests.benchmarks.test_echo_bench import Rate, against_the_echo_loop, echo_rate
from tests.models.images.conftest import disks
from tests.page import SPEED, write_section

pytestmark = pytest.mark.bench

RECORDS = 300_000
FRAMES = 4000
STREAMS = 100
CHANNELS = tuple(f"sensor_{number}" for number in range(8))
CLOCK = SystemClock()
WORKER_CORE = {1}


@dataclass(frozen=True)
class WorkerFigures:
    """Rates while the backlog was answered, seconds from starting the process to its first output, peak memory."""

    rate: Rate
    start_s: float
    resident_mb: float


def rows(count: int) -> Float32:
    """(count, 8) of waves with noise, rounded as sensors round."""
    t = np.arange(count)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.1, (count, len(CHANNELS)))
    x: Float32 = np.round(50 + 10 * np.sin(t / np.arange(5, 5 + len(CHANNELS))) + noise, 4).astype(np.float32)
    return x


def payloads(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and JSON of records with 8 named values, interleaved over the streams."""
    x = rows(count // STREAMS + 1).tolist()
    for index in range(count):
        second, stream = divmod(index, STREAMS)
        values = {name: round(value, 4) for name, value in zip(CHANNELS, x[second], strict=True)}
        record = {"stream": f"pump-{stream}", "timestamp": 1_700_000_000_000 + 1000 * second, "values": values}
        yield b"pump-%d" % stream, orjson.dumps(record)


def fill(settings: KafkaSettings, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    sink = open_sink(settings)
    for first in range(0, len(records), 2048):
        keys, values = zip(*records[first : first + 2048], strict=True)
        count = len(keys)
        sink.produce(
            OutgoingBatch(
                topic, np.zeros(count, np.int32), np.full(count, -1, np.int64), keys, values, [NO_HEADERS] * count
            )
        )
    sink.flush(60)
    sink.close()


@contextmanager
def pinned() -> Iterator[None]:
    """This process on the worker's core, so that both rulers are measured alike."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, WORKER_CORE & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def worker_process(environment: Mapping[str, str], log: Path) -> Iterator["psutil.Process"]:
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "stream_ae.cli", "worker"], env={**os.environ, **environment}, stderr=errors
        )
    try:
        cores = WORKER_CORE & os.sched_getaffinity(0)
        if cores:
            os.sched_setaffinity(child.pid, cores)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(60)


def answered(reader: RecordReader, topic: str) -> int:
    return sum(r.end for r in reader.ranges(topic))


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def await_answered(reader: RecordReader, topic: str, count: int) -> float:
    """When `count` outputs were there, in seconds of the monotonic clock."""
    never = threading.Event()
    for _ in range(60_000):
        if answered(reader, topic) >= count:
            return time.perf_counter()
        never.wait(0.01)
    raise AssertionError(f"{answered(reader, topic)} of {count} records answered in ten minutes")


@pytest.fixture(scope="module")
def version_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version")
    trained = train([rows(3000)], CHANNELS, TrainingSettings(max_epochs=2))
    save(trained.detector, folder)
    return folder


@pytest.mark.parametrize("driver", ["confluent", "kafka-python"])
def test_worker_against_the_echo_loop(
    driver: str, kafka_servers: str, redis_url: str, mlflow_uri: str, version_folder: Path, tmp_path: Path
) -> None:
    n = RECORDS if driver == "confluent" else RECORDS // 3
    with pinned():
        echo = echo_rate(driver, kafka_servers, n)
    environment = environment_of(driver, kafka_servers, redis_url, mlflow_uri, tmp_path)
    figures = worker_figures(driver, environment, list(payloads(n)), version_folder, tmp_path / "log")
    what = f"{n:,} records, JSON with 8 named values, window 32, one core for the client"
    show(f"A worker on readings, {driver}", what, echo, figures)


def test_worker_on_frames_against_the_echo_loop(
    kafka_servers: str, redis_url: str, mlflow_uri: str, tmp_path: Path
) -> None:
    frames = disks(FRAMES, sides=(28, 28))
    with pinned():
        echo = echo_rate("confluent", kafka_servers, FRAMES)
    options = TrainingSettings(max_epochs=1, denoiser_steps=20)
    trained = train_frames(frames[:200], ("grey",), options).detector
    cleaning = trained.choosing([msgspec.structs.replace(choice, by="unet") for choice in trained.choices])
    save_version(cleaning, tmp_path / "version")
    form = FrameFormat(FrameKind.PNG, "uint8", 1, 28, 28)
    records = [(b"cam-%d" % (number % 4), encode_frame(frame, form)) for number, frame in enumerate(frames)]
    environment = environment_of("confluent", kafka_servers, redis_url, mlflow_uri, tmp_path)
    environment["STREAM_AE_DECODE__RECORDS"] = "images"
    figures = worker_figures("confluent", environment, records, tmp_path / "version", tmp_path / "log")
    what = f"{FRAMES:,} PNG frames of 28 x 28 pixels, cleaned by a U-Net, one core for the client"
    show("A worker on frames, confluent", what, echo, figures)


def environment_of(driver: str, kafka_servers: str, redis_url: str, mlflow_uri: str, folder: Path) -> dict[str, str]:
    """A pipeline with names of its own."""
    name = f"bench-{driver}-{CLOCK.wall_ms()}"
    return {
        "STREAM_AE_PIPELINE": name,
        "STREAM_AE_KAFKA__DRIVER": driver,
        "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": kafka_servers,
        "STREAM_AE_KAFKA__GROUP_ID": name,
        "STREAM_AE_REDIS__URL": redis_url,
        "STREAM_AE_MLFLOW__TRACKING_URI": mlflow_uri,
        "STREAM_AE_WORKER__CACHE_DIR": str(folder),
        **{f"STREAM_AE_TOPICS__{t.upper()}": f"{name}-{t}" for t in ("raw", "cleaned", "flagged", "dead_letters")},
    }


def show(title: str, what: str, echo: Rate, figures: WorkerFigures) -> None:
    """Both rates and their ratio."""
    lines = [
        f"## {title}",
        "",
        f"{what}. Start to first output {figures.start_s:.1f} s, resident {figures.resident_mb:.0f} MB.",
        "",
        *against_the_echo_loop(echo, figures.rate, "worker"),
    ]
    print("\n" + "\n".join(lines))
    write_section(SPEED, title, "make bench", lines)


def worker_figures(
    driver: str, environment: Mapping[str, str], records: Sequence[tuple[bytes, bytes]], folder: Path, log: Path
) -> WorkerFigures:
    """A first worker is timed from its start to its first output; a second one finds a backlog when its model comes."""
    kafka = KafkaSettings(bootstrap_servers=environment["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"])
    raw, cleaned = environment["STREAM_AE_TOPICS__RAW"], environment["STREAM_AE_TOPICS__CLEANED"]
    create_topics(kafka, [TopicSpec(environment[k], 1) for k in environment if k.startswith("STREAM_AE_TOPICS__")])
    fill(kafka, raw, records)
    pipeline = environment["STREAM_AE_PIPELINE"]
    store = MlflowStore(MlflowSettings(tracking_uri=environment["STREAM_AE_MLFLOW__TRACKING_URI"]), pipeline)
    signal = RedisSignal(RedisSettings(url=SecretStr(environment["STREAM_AE_REDIS__URL"])), pipeline, CLOCK)
    reader = open_reader(kafka)
    try:
        with worker_process(environment, log) as process:
            while not any(worker.health == Health.WAITING for worker in signal.workers()):
                threading.Event().wait(0.05)
            version = store.register(folder, {}, {})
            signal.announce(Desired(version.identity, CLOCK.wall_ms()))
            began_s = await_answered(reader, cleaned, 1)
            began_cpu_s, before = cpu_s(process), answered(reader, cleaned)
            ended_s = await_answered(reader, cleaned, len(records))
            done, spent_s = len(records) - before, cpu_s(process) - began_cpu_s
            rate = Rate(done / (ended_s - began_s), done / spent_s)
            resident_mb = process.memory_info().rss / 2**20
        fill(kafka, raw, records[-1:])
        started_s = time.perf_counter()
        with worker_process(environment, log):
            start_s = await_answered(reader, cleaned, len(records) + 1) - started_s
    finally:
        signal.close()
        reader.close()
    return WorkerFigures(rate, start_s, resident_mb)
