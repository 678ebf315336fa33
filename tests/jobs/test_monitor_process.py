"""The monitor as the process that users run, on a real Redis and a real MLflow: killed, started again, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient

from stream_ae.clock import SystemClock
from stream_ae.histogram import SCORE_BINS
from stream_ae.ports import Health, WorkerStatus
from stream_ae.records import ModelIdentity
from stream_ae.registry.signal import RedisSignal
from stream_ae.settings import RedisSettings
from tests.end_to_end.world import eventually

MODEL = ModelIdentity("pump", "17", "17" * 32)


@contextmanager
def monitoring(config: Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-m", "jobs.monitor", "--config", str(config)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_monitor_goes_on_in_its_run_and_a_stopped_one_exits_with_0(
    redis_url: str, mlflow_uri: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    pipeline, config, client = unique("pump"), tmp_path / "c.yaml", MlflowClient(mlflow_uri)
    settings = {
        "pipeline": pipeline,
        "redis": {"url": redis_url},
        "mlflow": {"tracking_uri": mlflow_uri, "timeout_s": 60.0},
        "monitor": {"every_s": 0.2, "drift_samples": 100},
        "retrain": {"lock_lease_s": 1.0},
    }
    config.write_text(yaml.safe_dump(settings))
    clock, answered = SystemClock(), 0

    def curve(name: str, points: int) -> bool:
        """Whether the run has so many points of a metric, while the worker goes on answering records."""
        nonlocal answered
        answered += 100
        counts = SCORE_BINS.counts([0.3] * answered)
        now_ms = clock.wall_ms()
        workers.report(WorkerStatus("w", Health.RUNNING, MODEL, now_ms, 1, records=answered, scores=counts), 60.0)
        found = client.get_experiment_by_name(pipeline)
        runs = client.search_runs([found.experiment_id]) if found is not None else []
        return bool(runs) and len(client.get_metric_history(runs[0].info.run_id, name)) >= points

    with closing(RedisSignal(RedisSettings.model_validate({"url": redis_url}), pipeline, clock)) as workers:
        with monitoring(config):
            eventually(lambda: curve("score_psi", 3), "scores in MLflow")
        with monitoring(config) as process:
            before = len(client.get_metric_history(_run(client, pipeline).info.run_id, "workers"))
            eventually(lambda: curve("workers", before + 3), "the monitor that was started again goes on")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    run = _run(client, pipeline)
    assert run.info.run_name == "version 17 in service"
    assert run.data.tags["stream_ae.deployed"] == MODEL.digest
    assert run.data.metrics["throughput_records_s"] > 0


def _run(client: MlflowClient, pipeline: str) -> Any:
    (run,) = client.search_runs([client.get_experiment_by_name(pipeline).experiment_id])
    return run


def test_a_wrong_address_is_one_line_and_exit_2(tmp_path: Path) -> None:
    environment = {**os.environ, "STREAM_AE_MLFLOW__TRACKING_URI": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.monitor"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("monitor: error: mlflow.tracking_uri 'nowhere'")
    assert done.stderr.count("\n") == 1
