"""Redis and MLflow away while records flow: they are answered, the worker says what is missing, and heals by itself."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_ae.localdev.process import LOOPBACK, Server, free_port
from stream_ae.localdev.stack import Stack
from stream_ae.localdev.valkey import embedded_valkey
from stream_ae.records import ModelVersion
from stream_ae.status import Health, WorkerStatus
from tests.end_to_end.feeder import Feeder, audited
from tests.end_to_end.process import ready
from tests.end_to_end.world import PipelineOnServers, eventually, good_records

Make = Callable[..., PipelineOnServers]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    """A Redis of this test's own, to be broken."""
    with embedded_valkey(tmp_path / "valkey") as server:
        yield server


def at(server: Server) -> dict[str, object]:
    return {"url": SecretStr(server.address)}


def await_status(pipeline: PipelineOnServers, holds: Callable[[WorkerStatus], bool], what: str) -> WorkerStatus:
    """The one worker's status once `holds` is true of it."""
    eventually(lambda: any(map(holds, pipeline.status())), what)
    return pipeline.status()[0]


def runs(version: ModelVersion) -> Callable[[WorkerStatus], bool]:
    return lambda status: status.model == version.identity and status.health == Health.RUNNING


def test_a_redis_that_is_killed_and_comes_back_wiped_costs_nothing(
    make_pipeline: Make, model_folders: Sequence[Path], valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = make_pipeline("killed", redis=at(valkey))
    first = pipeline.publish(model_folders[0])
    worker = pipeline.start_worker()
    address = await_status(pipeline, runs(first), "version 1 runs").address
    with Feeder(pipeline) as feeder:
        valkey.kill()
        pipeline.await_more_traces(200)
        eventually(lambda: ready(address)[1].startswith("degraded\nRedis is away: "), "the worker says so")
        assert ready(address)[0] == 200
        shutil.rmtree(valkey.folder / "appendonlydir")
        valkey.start()
        await_status(pipeline, runs(first), "the status is back")
        second = pipeline.publish(model_folders[1])
        await_status(pipeline, runs(second), "what is announced on the new Redis is followed")
    pipeline.await_traces(feeder.sent)
    worker.stop()
    assert audited(pipeline).clean
    # An outage is news twice, however often it is noticed.
    news = [record.message for record in caplog.records if record.name == "stream_ae.worker.reload"]
    assert news.count("degraded") == 1


def test_a_frozen_redis_does_not_hold_up_a_single_batch(
    make_pipeline: Make, model_folders: Sequence[Path], valkey: Server
) -> None:
    # A call to Redis on the thread that answers records would stop them for ten minutes.
    pipeline = make_pipeline("frozen", redis=at(valkey) | {"timeout_s": 600.0})
    first = pipeline.publish(model_folders[0])
    worker = pipeline.start_worker()
    await_status(pipeline, runs(first), "version 1 runs")
    with Feeder(pipeline) as feeder:
        valkey.pause()
        pipeline.await_more_traces(1000)
        valkey.resume()
        second = pipeline.publish(model_folders[1])
        await_status(pipeline, runs(second), "announcements are followed again")
    pipeline.await_traces(feeder.sent)
    worker.stop()
    assert audited(pipeline).clean


def test_a_version_announced_while_mlflow_is_away_is_fetched_when_it_is_back(
    make_pipeline: Make, model_folders: Sequence[Path], stack: Stack
) -> None:
    pipeline = make_pipeline("registry", mlflow={"tracking_uri": stack.mlflow.address, "timeout_s": 2.0})
    first = pipeline.publish(model_folders[0])
    second = pipeline.store.register(model_folders[1], {}, {})
    pipeline.start_worker()
    address = await_status(pipeline, runs(first), "version 1 runs").address
    # Killed, it would take another 10 s to be back; `tests/registry` does that.
    pipeline.store.promote(second.version)
    stack.mlflow.pause()
    pipeline.announce(second)
    eventually(lambda: "version 2 cannot be fetched yet" in ready(address)[1], "the worker says what it misses")
    assert ready(address)[0] == 200
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    stack.mlflow.resume()
    await_status(pipeline, runs(second), "version 2 was fetched")


def test_a_worker_starts_on_the_last_version_that_worked_here_when_redis_and_mlflow_are_away(
    make_pipeline: Make, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("alone")
    version = pipeline.publish(model_folders[0])
    worker = pipeline.start_worker("before")
    await_status(pipeline, runs(version), "version 1 runs")
    worker.stop()
    port = free_port()
    pipeline.start_worker(
        "alone",
        redis={"url": SecretStr("redis://127.0.0.1:1/0")},
        mlflow={"tracking_uri": "http://127.0.0.1:1"},
        worker={"http_port": port},
    )
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    assert {headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers} == {f"{version.name}/1"}
    code, text = ready(f"{LOOPBACK}:{port}")
    assert code == 200
    assert [line.split(":")[0] for line in text.splitlines()] == ["degraded", "Redis is away", "MLflow is away"]


def test_an_announcement_is_followed_while_records_flow(
    make_pipeline: Make, model_folders: Sequence[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = make_pipeline("reload", worker={"reconcile_interval_s": 60.0})
    first = pipeline.publish(model_folders[0])
    pipeline.start_worker()
    await_status(pipeline, runs(first), "version 1 runs")
    second = pipeline.store.register(model_folders[1], {}, {})
    with Feeder(pipeline):
        pipeline.await_more_traces(100)
        pipeline.store.promote(second.version)
        pipeline.announce(second)
        status = await_status(
            pipeline, lambda w: runs(second)(w) and w.first_batch_ms > 0, "a batch was answered by version 2"
        )
    announced_ms = pipeline.announced()[0].announced_ms
    with capsys.disabled():
        print(f"\nannouncement to first batch on the new version: {status.first_batch_ms - announced_ms} ms")
