"""What a person does by hand in MLflow, with workers on real servers and nobody else about."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from stream_ae.models.serialization import save
from stream_ae.records import ModelVersion
from stream_ae.registry.alias import MOVED
from stream_ae.settings import TrainingSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.training import train
from stream_ae.worker.reconcile import GONE
from tests.end_to_end.world import PipelineOnServers, eventually, good_records, signal_rows

Make = Callable[..., PipelineOnServers]


def mlflow_of(pipeline: PipelineOnServers) -> Any:
    return MlflowClient(pipeline.settings.mlflow.tracking_uri)


def move_alias(pipeline: PipelineOnServers, version: ModelVersion) -> None:
    """As the page of a model does."""
    mlflow_of(pipeline).set_registered_model_alias(pipeline.settings.pipeline, "champion", version.version)


def on(version: ModelVersion) -> Callable[[WorkerStatus], bool]:
    return lambda worker: worker.model == version.identity


def test_workers_follow_an_alias_that_is_moved_by_hand_though_no_monitor_runs(
    make_pipeline: Make, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("alias")
    first = pipeline.publish(model_folders[0])
    second = pipeline.store.register(model_folders[1], {}, {})
    for name in ("w1", "w2"):
        pipeline.start_worker(name)
    eventually(lambda: list(map(on(first), pipeline.status())) == [True, True], "both run version 1")
    move_alias(pipeline, second)
    eventually(lambda: list(map(on(second), pipeline.status())) == [True, True], "both run version 2")
    assert [one.reason for one in pipeline.announced()] == [MOVED, "test"]


def test_a_version_for_other_channels_whose_alias_is_set_by_hand_is_refused_and_the_old_one_goes_on(
    make_pipeline: Make, model_folders: Sequence[Path], tmp_path: Path
) -> None:
    options = TrainingSettings(window=8, max_epochs=1, threads=1, denoiser="autoencoder")
    save(train([signal_rows(600)[:, :2]], ("speed", "torque"), options).detector, tmp_path / "other")
    pipeline = make_pipeline("channels")
    first = pipeline.publish(model_folders[0])
    pipeline.start_worker()
    pipeline.await_running()
    move_alias(pipeline, pipeline.store.register(tmp_path / "other", {}, {}))
    refused = "version 2 refused: it is for channels speed, torque, this stream has temperature, pressure, flow"
    eventually(lambda: any(p.startswith(refused) for p in pipeline.status()[0].problems), "the worker says why")
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    assert {headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers} == {
        f"{first.name}/{first.version}"
    }
    move_alias(pipeline, first)
    eventually(lambda: pipeline.status()[0].health == Health.RUNNING, "nothing is wrong any more")


def test_a_champion_that_is_deleted_by_hand_goes_on_serving_is_missed_and_can_be_rolled_back(
    make_pipeline: Make, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("deleted")
    first = pipeline.publish(model_folders[0])
    second = pipeline.publish(model_folders[1])
    worker = pipeline.start_worker("before")
    eventually(lambda: any(map(on(second), pipeline.status())), "version 2 runs")
    mlflow_of(pipeline).delete_model_version(second.name, second.version)
    eventually(lambda: GONE in pipeline.status()[0].problems, "the worker misses it")
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    worker.stop()
    # One that is started again has it on its disk.
    pipeline.start_worker("after")
    pipeline.send(good_records("s2", 10))
    pipeline.await_traces(20)
    made_by = {headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers}
    assert made_by == {f"{second.name}/{second.version}"}
    said = pipeline.command("models", "rollback")
    assert f"champion is now {first.name}/{first.version}" in said
    eventually(lambda: all(map(on(first), pipeline.status())), "version 1 runs")


def test_a_worker_started_where_the_announced_version_cannot_be_had_serves_what_worked_there_last(
    make_pipeline: Make, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("stand-in")
    first = pipeline.publish(model_folders[0])
    worker = pipeline.start_worker("before")
    eventually(lambda: any(map(on(first), pipeline.status())), "version 1 runs")
    worker.stop()
    second = pipeline.publish(model_folders[1])
    mlflow_of(pipeline).delete_model_version(second.name, second.version)
    pipeline.start_worker("after")
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    assert {headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers} == {
        f"{first.name}/{first.version}"
    }
    (problem,) = pipeline.status()[0].problems
    assert problem.startswith("version 2 refused: ")
