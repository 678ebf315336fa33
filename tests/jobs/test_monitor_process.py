"""The monitor as the process that users run, on a real Redis and a real MLflow: killed, started again, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from jobs.retrain import Outcome
from stream_ae.clock import SystemClock
from stream_ae.histogram import SCORE_BINS
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_sink
from stream_ae.models.detector import Detector
from stream_ae.models.version import save
from stream_ae.records import Int64, ModelIdentity
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings, MlflowSettings, RedisSettings, TopicSettings, TrainingSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.training import train
from stream_ae.worker.counting import table_of
from tests.contracts.worlds import outgoing
from tests.end_to_end.world import eventually
from tests.jobs.test_worst import READINGS, Topics

CLOCK = SystemClock()
MODEL = ModelIdentity("pump", "17", "17" * 32)


@contextmanager
def monitoring(config: Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-m", "jobs.monitor", "--config", str(config)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Watched:
    """A pipeline with one worker that only says that it answers records."""

    def __init__(
        self,
        servers: dict[str, str],
        pipeline: str,
        folder: Path,
        topics: TopicSettings | None = None,
        **monitor: object,
    ) -> None:
        self.pipeline, self.config = pipeline, folder / "c.yaml"
        self.client: Any = MlflowClient(servers["mlflow"])
        settings = {
            "pipeline": pipeline,
            # By default nobody is there.
            "kafka": {"bootstrap_servers": servers.get("kafka", "127.0.0.1:1"), "connect_timeout_s": 0.5},
            "topics": (topics or TopicSettings()).model_dump(),
            "redis": {"url": servers["redis"]},
            "mlflow": {"tracking_uri": servers["mlflow"], "timeout_s": 60.0},
            "monitor": {"every_s": 0.2, "drift_samples": 100, **monitor},
            "retrain": {"lock_lease_s": 1.0},
        }
        self.config.write_text(yaml.safe_dump(settings))
        self.signal = RedisSignal(RedisSettings.model_validate({"url": servers["redis"]}), pipeline, CLOCK)
        self.answered = 0

    def answer(self, score: float, model: ModelIdentity = MODEL, inputs: Int64 | None = None) -> None:
        """A hundred more records, of this score, and with these inputs a hundred times."""
        self.answered += 100
        counts = SCORE_BINS.counts([score] * self.answered)
        now_ms = CLOCK.wall_ms()
        status = WorkerStatus("w", Health.RUNNING, model, now_ms, 1, records=self.answered, scores=counts)
        counted = table_of(inputs * self.answered) if inputs is not None else ()
        self.signal.report(replace(status, inputs=counted), 60.0)

    def runs(self) -> list[Any]:
        found = self.client.get_experiment_by_name(self.pipeline)
        return list(self.client.search_runs([found.experiment_id])) if found is not None else []

    def points(self, name: str) -> int:
        """Of the one run, after some more records."""
        self.answer(0.3)
        return sum(len(self.client.get_metric_history(run.info.run_id, name)) for run in self.runs())


@pytest.fixture
def servers(redis_url: str, mlflow_uri: str) -> dict[str, str]:
    return {"redis": redis_url, "mlflow": mlflow_uri}


def test_a_killed_monitor_goes_on_in_its_run_and_a_stopped_one_exits_with_0(
    servers: dict[str, str], unique: Callable[[str], str], tmp_path: Path
) -> None:
    watched = Watched(servers, unique("pump"), tmp_path)
    with closing(watched.signal):
        with monitoring(watched.config):
            eventually(lambda: watched.points("score_psi") >= 3, "scores in MLflow")
        before = watched.points("workers")
        with monitoring(watched.config) as process:
            eventually(lambda: watched.points("workers") >= before + 3, "the monitor that was started again goes on")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    (run,) = watched.runs()
    assert run.info.run_name == "version 17 in service"
    assert run.data.tags["stream_ae.deployed"] == MODEL.digest
    assert run.data.metrics["throughput_records_s"] > 0


def test_drift_runs_the_retraining_as_a_child_and_its_end_is_told_in_the_run(
    servers: dict[str, str], unique: Callable[[str], str], tmp_path: Path
) -> None:
    watched = Watched(servers, unique("pump"), tmp_path, drift_looks=2, retrain_on_drift=True)

    def told() -> bool:
        watched.answer(3.5)
        return any("ended" in run.data.tags.get("stream_ae.drift_retrain", "") for run in watched.runs())

    with closing(watched.signal), monitoring(watched.config):
        eventually(told, "the end of the retraining in MLflow")
    (run,) = watched.runs()
    # There is no Kafka to retrain from.
    assert run.data.tags["stream_ae.drift_retrain"].endswith((f"code {Outcome.SERVER_AWAY}", f"code {Outcome.CONFIG}"))
    assert run.data.tags["stream_ae.alert"].startswith("drift since ")


def registered(
    servers: dict[str, str], pipeline: str, channels: tuple[str, ...], folder: Path
) -> tuple[Detector, ModelIdentity]:
    """A small version in MLflow."""
    rows = np.random.default_rng(0).standard_normal((400, len(channels))).astype(np.float32)
    options = TrainingSettings(window=4, max_epochs=1, denoiser="autoencoder")
    detector = train([rows], channels, options).detector
    save(detector, folder / "version")
    store = MlflowStore(MlflowSettings(tracking_uri=servers["mlflow"], timeout_s=60.0), pipeline)
    return detector, store.register(folder / "version", {}, {}).identity


def test_a_shift_of_inputs_is_told_by_the_bins_of_the_version_in_mlflow(
    servers: dict[str, str], unique: Callable[[str], str], tmp_path: Path
) -> None:
    pipeline = unique("pump")
    detector, model = registered(servers, pipeline, ("flow (m³/h)", "in/out", ".."), tmp_path)
    watched = Watched(servers, pipeline, tmp_path, drift_looks=2)
    bins = detector.drift_bins
    assert bins is not None
    shifted = bins.inputs.counts(np.array([[9.0, 0.0, np.nan]], np.float32))

    def told() -> bool:
        watched.answer(0.3, model, shifted)
        return any("inputs: " in run.data.tags.get("stream_ae.alert", "") for run in watched.runs())

    with closing(watched.signal), monitoring(watched.config):
        eventually(told, "the alert in MLflow")
    (run,) = [run for run in watched.runs() if "stream_ae.alert" in run.data.tags]
    assert "flow (m³/h) " in run.data.tags["stream_ae.alert"]
    # Names as MLflow takes them.
    assert run.data.metrics["input_psi/flow _m³_h_"] > 5
    assert run.data.metrics["input_psi/_"] == run.data.metrics["input_psi_max"]
    assert run.data.metrics["input_missing/_"] == 1.0
    assert run.data.metrics["input_missing/in_out"] == 0.0


def test_the_worst_windows_of_real_topics_lie_in_the_run(
    servers: dict[str, str],
    kafka_servers: str,
    topic_names: TopicSettings,
    unique: Callable[[str], str],
    tmp_path: Path,
) -> None:
    pipeline = unique("pump")
    _, model = registered(servers, pipeline, ("a", "b"), tmp_path)
    watched = Watched(servers | {"kafka": kafka_servers}, pipeline, tmp_path, topic_names, picture_every_s=0.5)
    kafka = KafkaSettings(bootstrap_servers=kafka_servers)
    create_topics(kafka, [TopicSpec(name, 1) for name in topic_names.names()])
    made = Topics(READINGS, CLOCK.wall_ms() - 100_000)
    for second in range(100):
        made.reading(np.sin(second))
    sink = open_sink(kafka)
    for name, real in (("raw", topic_names.raw), ("cleaned", topic_names.cleaned)):
        records = made.broker.records(name)
        times, headers = [each.timestamp_ms for each in records], [each.headers for each in records]
        sink.produce(outgoing(real, [each.value for each in records], timestamp_ms=times, headers=headers))
    made.flag(50, 9.0, model={"name": pipeline, "version": model.version})
    flagged = made.broker.records("flagged")[0].value

    def pictures() -> list[str]:
        watched.answer(0.3, model)
        sink.produce(outgoing(topic_names.flagged, [flagged]))
        sink.flush(10.0)
        found = [file for run in watched.runs() for file in watched.client.list_artifacts(run.info.run_id, "worst")]
        return [file.path for file in found]

    with closing(watched.signal), closing(sink), monitoring(watched.config):
        eventually(lambda: bool(pictures()), "a picture in MLflow")
        assert pictures()[0].startswith("worst/20")


def test_a_wrong_address_is_one_line_and_exit_2(tmp_path: Path) -> None:
    environment = {**os.environ, "STREAM_AE_MLFLOW__TRACKING_URI": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.monitor"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("monitor: error: mlflow.tracking_uri 'nowhere'")
    assert done.stderr.count("\n") == 1
