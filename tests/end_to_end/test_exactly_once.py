"""Exactly once on a real broker: workers are killed, stopped and fenced, and readers of committed records see nothing
lost and nothing doubled."""

import signal
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from stream_ae.errors import ConfigError
from stream_ae.kafka.admin import group_lag
from tests.end_to_end.feeder import Feeder, assert_as_offline, audited
from tests.end_to_end.process import WorkerProcess
from tests.end_to_end.world import PipelineOnServers, eventually, good_records, limit_records, with_changes

Make = Callable[..., PipelineOnServers]
Start = Callable[..., WorkerProcess]


@pytest.fixture
def pipeline(make_pipeline: Make, model_folders: Sequence[Path]) -> PipelineOnServers:
    """Delivers exactly once; on the classic protocol, whose session may be as short as 6 s."""
    made = make_pipeline("once", kafka={"group_protocol": "classic", "session_timeout_s": 6.0})
    made.settings = made.settings.model_copy(update={"delivery": "exactly_once"})
    made.publish(model_folders[0])
    return made


@pytest.fixture
def start(pipeline: PipelineOnServers, tmp_path: Path) -> Iterator[Start]:
    """Starts workers as processes in a slot; none outlives the test."""
    started: list[WorkerProcess] = []

    def start_process(slot: str | None, name: str, **changes: Mapping[str, object]) -> WorkerProcess:
        settings = with_changes(pipeline.settings, changes)
        worker = settings.worker.model_copy(update={"slot": slot})
        settings = settings.model_copy(update={"worker": worker})
        started.append(WorkerProcess(settings, tmp_path, name))
        return started[-1]

    yield start_process
    for process in started:
        process.kill()


def answered_by(pipeline: PipelineOnServers, name: str) -> int:
    """Records that a worker has answered, whether they are committed or not."""
    return sum(worker.records for worker in pipeline.status() if worker.worker == name)


def partitions_of(pipeline: PipelineOnServers) -> dict[str, int]:
    return {worker.worker: len(worker.partitions) for worker in pipeline.status() if worker.partitions}


def await_all_committed(pipeline: PipelineOnServers) -> None:
    settings = pipeline.settings
    eventually(lambda: sum(group_lag(settings.kafka, settings.topics.raw).values()) == 0, "all is committed", 120)


def await_outputs(pipeline: PipelineOnServers, count: int) -> None:
    """What a killed worker left open holds back readers until its transaction times out."""
    eventually(lambda: len(pipeline.cleaned.values) >= count, f"{count} outputs are seen")


def assert_once(pipeline: PipelineOnServers, sent: int, model: Path) -> None:
    report = audited(pipeline)
    assert (report.raw, report.cleaned, report.lost, report.doubled) == (sent, sent, 0, 0)
    assert_as_offline(pipeline, model)


def test_what_a_killed_worker_left_uncommitted_is_aborted_by_its_successor_and_answered_again(
    pipeline: PipelineOnServers, start: Start, model_folders: Sequence[Path]
) -> None:
    with Feeder(pipeline) as feeder:
        # It produces and never commits.
        killed = start("0", "killed", worker={"commit_interval_s": 3600.0})
        eventually(lambda: answered_by(pipeline, "killed") > 100, "outputs wait for their commit")
        assert pipeline.traces() == 0
        killed.send(signal.SIGKILL)
        killed.exit_code()
        start("0", "successor")
        eventually(lambda: pipeline.traces() > 100, "the successor's outputs are seen")
    await_all_committed(pipeline)
    assert_once(pipeline, feeder.sent, model_folders[0])


def test_one_of_two_workers_is_killed_under_load_and_nothing_is_lost_or_doubled(
    pipeline: PipelineOnServers, start: Start, model_folders: Sequence[Path]
) -> None:
    with Feeder(pipeline) as feeder:
        # Their slots come from Redis: nobody takes over the one of a killed worker before its lease has ended.
        short = {"transaction_timeout_s": 4.0}
        workers = {name: start(None, name, kafka=short) for name in ("w0", "w1")}
        eventually(lambda: partitions_of(pipeline) == {"w0": 1, "w1": 1}, "each has a partition")
        pipeline.await_more_traces(300)
        workers["w0"].send(signal.SIGKILL)
        start(None, "w2", kafka=short)
        eventually(lambda: partitions_of(pipeline) == {"w1": 1, "w2": 1}, "another has its partition")
        pipeline.await_more_traces(300)
        workers["w1"].send(signal.SIGTERM)
        assert workers["w1"].exit_code() == 0
        eventually(lambda: partitions_of(pipeline) == {"w2": 2}, "one is left with both")
        pipeline.await_more_traces(300)
    await_all_committed(pipeline)
    await_outputs(pipeline, feeder.sent)
    assert_once(pipeline, feeder.sent, model_folders[0])


def test_partitions_move_between_workers_under_load_and_nothing_is_lost_or_doubled(
    pipeline: PipelineOnServers, model_folders: Sequence[Path]
) -> None:
    # Of the brokers' own choice: KIP-848 where they have it.
    protocol = {"group_protocol": "auto"}
    with Feeder(pipeline) as feeder:
        first = pipeline.start_worker("w0", kafka=protocol)
        pipeline.await_more_traces(300)
        pipeline.start_worker("w1", kafka=protocol)
        eventually(lambda: partitions_of(pipeline) == {"w0": 1, "w1": 1}, "each has a partition")
        pipeline.await_more_traces(300)
        first.stop()
        eventually(lambda: partitions_of(pipeline) == {"w1": 2}, "one is left with both")
        pipeline.await_more_traces(300)
    await_all_committed(pipeline)
    assert_once(pipeline, feeder.sent, model_folders[0])


def test_a_worker_that_wakes_up_to_find_its_slot_taken_writes_nothing_and_asks_for_a_restart(
    pipeline: PipelineOnServers, start: Start, model_folders: Sequence[Path]
) -> None:
    with Feeder(pipeline) as feeder:
        zombie = start("0", "zombie")
        eventually(lambda: answered_by(pipeline, "zombie") > 100, "it works")
        zombie.send(signal.SIGSTOP)
        start("0", "successor")
        eventually(lambda: answered_by(pipeline, "successor") > 100, "its successor works")
        zombie.send(signal.SIGCONT)
        assert zombie.exit_code() == 75
        assert "start the worker again" in zombie.said()[-1]
        pipeline.await_more_traces(100)
    await_all_committed(pipeline)
    assert_once(pipeline, feeder.sent, model_folders[0])


def test_records_that_the_broker_refuses_for_a_while_are_aborted_and_written_once_in_the_end(
    pipeline: PipelineOnServers, model_folders: Sequence[Path]
) -> None:
    pipeline.start_worker()
    pipeline.await_running()
    # A batch of them is larger, a transaction's marker is not.
    limit_records(pipeline, pipeline.settings.topics.cleaned, 300)
    pipeline.send(good_records("s0", 50, seed=0))
    eventually(lambda: aborts_of(pipeline) >= 2, "transactions are aborted")
    assert pipeline.cleaned.values == []
    limit_records(pipeline, pipeline.settings.topics.cleaned, 1_000_000)
    await_all_committed(pipeline)
    assert_once(pipeline, 50, model_folders[0])


def aborts_of(pipeline: PipelineOnServers) -> float:
    metrics = urllib.request.urlopen(f"http://{pipeline.status()[0].address}/metrics", timeout=10).read().decode()
    line = next(line for line in metrics.splitlines() if line.startswith("stream_ae_transaction_aborts_total "))
    return float(line.split()[1])


def test_with_static_membership_a_restart_moves_no_partition(pipeline: PipelineOnServers, start: Start) -> None:
    static = {"static_membership": True, "session_timeout_s": 45.0}
    names = ("w0", "w1")
    workers = [start(name, name, kafka=static) for name in names]
    eventually(lambda: partitions_of(pipeline) == {"w0": 1, "w1": 1}, "each has a partition")
    before = moves_of(workers[0])
    with Feeder(pipeline) as feeder:
        workers[1].send(signal.SIGTERM)
        assert workers[1].exit_code() == 0
        start("w1", "w1-again", kafka=static)
        eventually(lambda: answered_by(pipeline, "w1-again") > 100, "it goes on with its partition")
    assert moves_of(workers[0]) == before
    await_all_committed(pipeline)
    report = audited(pipeline)
    assert (report.raw, report.lost, report.doubled) == (feeder.sent, 0, 0)


def moves_of(worker: WorkerProcess) -> int:
    return sum(" partitions " in line for line in worker.said())


def test_on_kafka_python_a_worker_refuses_to_start_and_names_the_extra(pipeline: PipelineOnServers) -> None:
    worker = pipeline.start_worker(kafka={"driver": "kafka-python"})
    error = worker.await_end()
    pipeline.workers.clear()
    assert isinstance(error, ConfigError)
    assert "exactly_once" in str(error)
    assert "pip install 'stream-ae[fast]'" in str(error)
