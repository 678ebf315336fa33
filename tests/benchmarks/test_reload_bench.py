"""Swapping versions under load: how soon the new one answers, and how long nothing comes out meanwhile."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream_ae.cli.audit import run_audit
from stream_ae.cli.demo.feed import LiveFeed
from stream_ae.cli.demo.subscriber import Subscriber
from stream_ae.clock import Deadline
from stream_ae.configuration import load
from stream_ae.flow.audit import AuditReport
from stream_ae.kafka.admin import TopicSpec, create_topics, group_lag
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev import sample_data
from stream_ae.localdev.sample_data import Machine
from stream_ae.models.serialization import save
from stream_ae.ports import Desired, ModelSignal
from stream_ae.records import ModelVersion, RecordBatch
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings, TrainingSettings
from stream_ae.training import train
from tests.benchmarks.test_worker_bench import CLOCK, environment_of, worker_process
from tests.page import SPEED, write_section

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

RELOADS = 200
RATE = 1000.0
CALM_S = 10.0
LOOK_EVERY_S = 0.002
SWAPPED_WITHIN_S = 60.0
MACHINES = ("omi-1", "omi-2")


class Arrivals(Subscriber):
    """Also notes when something arrived at all."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, CLOCK)
        self.at_ms: list[int] = []

    def _note(self, batch: RecordBatch, now_ms: int) -> None:
        super()._note(batch, now_ms)
        self.at_ms.append(now_ms)

    def longest_gap_ms(self, begin_ms: int, end_ms: int) -> float:
        within = [at_ms for at_ms in self.at_ms if begin_ms <= at_ms <= end_ms]
        return float(np.diff([begin_ms, *within, end_ms]).max())


def test_two_hundred_reloads_under_load(kafka_servers: str, redis_url: str, mlflow_uri: str, tmp_path: Path) -> None:
    environment = environment_of("confluent", kafka_servers, redis_url, mlflow_uri, tmp_path)
    environment["STREAM_AE_WORKER__HEARTBEAT_S"] = "0.1"
    settings = load(environment=environment).settings
    create_topics(settings.kafka, [TopicSpec(name, 1) for name in settings.topics.names()])
    machines = sample_data.load(MACHINES)
    versions = two_versions(settings, machines, tmp_path)
    feed, arrivals = LiveFeed(settings, CLOCK, machines, 2000, RATE), Arrivals(settings)
    with (
        closing(RedisSignal(settings.redis, settings.pipeline, CLOCK)) as signal,
        worker_process(environment, tmp_path / "log"),
    ):
        swapped(signal, versions[0])
        arrivals.start()
        feed.start()
        while arrivals.records < RATE:
            threading.Event().wait(LOOK_EVERY_S)
        calm = CLOCK.wall_ms()
        threading.Event().wait(CALM_S)
        busy = CLOCK.wall_ms()
        took_ms = [swapped(signal, versions[number % 2]) for number in range(1, RELOADS + 1)]
        over = CLOCK.wall_ms()
        feed.stop()
        while sum(group_lag(settings.kafka, settings.topics.raw).values()):
            threading.Event().wait(LOOK_EVERY_S)
        arrivals.stop()
    with closing(open_reader(settings.kafka)) as reader:
        report = run_audit(reader, settings, CLOCK, wait_s=0.0).report
    lines = told(took_ms, over - busy, arrivals.longest_gap_ms(calm, busy), arrivals.longest_gap_ms(busy, over), report)
    print("\n" + "\n".join(lines))
    write_section(SPEED, "reloads", "make bench", lines)
    assert (report.lost, report.doubled) == (0, 0)


def two_versions(settings: Settings, machines: list[Machine], folder: Path) -> list[ModelVersion]:
    store, found = MlflowStore(settings.mlflow, settings.pipeline), []
    for seed in (0, 1):
        options = TrainingSettings(max_epochs=1, seed=seed, denoiser="autoencoder")
        trained = train([machine.train[:2000] for machine in machines], machines[0].channels, options)
        save(trained.detector, folder / f"version-{seed}")
        found.append(store.register(folder / f"version-{seed}", {}, {}))
    return found


def told(took_ms: list[int], lasted_ms: int, calm_gap_ms: float, busy_gap_ms: float, report: AuditReport) -> list[str]:
    p50, p99 = np.percentile(took_ms, [50, 99])
    return [
        "## Versions swapped under load",
        "",
        f"{RELOADS} announcements of two versions in turn, each as soon as the one before was in service, while a "
        f"worker answers {RATE:.0f} records of 19 channels a second: {lasted_ms / 1000:.0f} s.",
        "",
        "| | |",
        "|---|---:|",
        f"| announcement to first batch on the new version, median | {p50:.0f} ms |",
        f"| 99th percentile / longest | {p99:.0f} / {max(took_ms)} ms |",
        f"| longest time without a cleaned record, {CALM_S:.0f} s without a reload | {calm_gap_ms:.0f} ms |",
        f"| the same while versions were swapped | {busy_gap_ms:.0f} ms |",
        f"| records / lost / doubled | {report.raw:,} / {report.lost} / {report.doubled} |",
    ]


def swapped(signal: ModelSignal, version: ModelVersion) -> int:
    """From the announcement to the worker's first batch on the version, in ms of its own clock; 0 without records."""
    announced_ms = CLOCK.wall_ms()
    signal.announce(Desired(version.identity, announced_ms, "bench"))
    deadline = Deadline.after(CLOCK, SWAPPED_WITHIN_S)
    while not deadline.passed():
        for worker in signal.workers():
            on_it = worker.model == version.identity and worker.swapped_ms >= announced_ms
            if on_it and (worker.first_batch_ms or not worker.records):
                return max(worker.first_batch_ms - announced_ms, 0)
        threading.Event().wait(LOOK_EVERY_S)
    raise AssertionError(f"the worker does not run version {version.version} after {SWAPPED_WITHIN_S:g} s")
