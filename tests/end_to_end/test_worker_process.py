"""The worker as a process: how it starts, how it is ended, and what is left to its successor."""

import logging
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_ae.errors import ConfigError
from stream_ae.kafka.admin import TopicSpec, create_topics, group_lag
from stream_ae.localdev.process import LOOPBACK
from stream_ae.localdev.stack import Stack
from stream_ae.status import Health
from tests.end_to_end.feeder import Feeder, assert_as_offline, audited
from tests.end_to_end.process import WorkerProcess, ready
from tests.end_to_end.world import PipelineOnServers, eventually, good_records

Make = Callable[..., PipelineOnServers]
Start = Callable[..., WorkerProcess]


def test_workers_told_to_stop_under_load_drain_and_their_successors_repeat_nothing(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("stopped")
    pipeline.publish(model_folders[0])
    with Feeder(pipeline) as feeder:
        workers = {number: start_process(pipeline.settings) for number in (signal.SIGTERM, signal.SIGINT)}
        eventually(lambda: [len(w.partitions) for w in pipeline.status()] == [1, 1], "each has a partition")
        for number, worker in workers.items():
            pipeline.await_more_traces(100)
            worker.send(number)
            assert worker.exit_code() == 0
        last = pipeline.start_worker()
    pipeline.await_traces(feeder.sent)
    last.stop()
    report = audited(pipeline)
    assert (report.raw, report.lost, report.doubled, report.dead_letters) == (feeder.sent, 0, 0, 0)
    assert_as_offline(pipeline, model_folders[0])


def test_a_killed_worker_loses_nothing_and_what_is_repeated_is_repeated_alike(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path]
) -> None:
    # The brokers' shortest session: the classic protocol's, as KIP-848 waits 45 s for a member that was killed.
    pipeline = make_pipeline("killed", kafka={"group_protocol": "classic", "session_timeout_s": 6.0})
    pipeline.publish(model_folders[0])
    with Feeder(pipeline) as feeder:
        first = pipeline.start_worker("w1")
        pipeline.await_more_traces(100)
        first.stop()
        committed = pipeline.traces()
        # It goes on from the middle of its streams and commits nothing of what it answers.
        killed = start_process(pipeline.settings, worker={"commit_interval_s": 3600.0})
        pipeline.await_more_traces(100)
        killed.send(signal.SIGKILL)
        assert killed.exit_code() == -signal.SIGKILL
    repeated = pipeline.traces() - committed
    last = pipeline.start_worker("w2")
    pipeline.await_traces(feeder.sent + repeated)
    last.stop()
    report = audited(pipeline)
    assert (report.lost, report.doubled) == (0, repeated)
    assert max(Counter(pipeline.cleaned.sources).values()) == 2
    assert_as_offline(pipeline, model_folders[0])


def test_a_second_signal_ends_a_worker_that_waits_for_frozen_brokers_at_once(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path], stack: Stack
) -> None:
    pipeline = make_pipeline("frozen", kafka={"bootstrap_servers": stack.kafka.address})
    pipeline.publish(model_folders[0])
    worker = start_process(pipeline.settings)
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    stack.kafka.pause()
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGINT)
    # The kernel may hand them over in either order.
    assert worker.exit_code() in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    stack.kafka.resume()


def test_what_is_wrong_at_the_start_is_one_line_and_exit_2(make_pipeline: Make, start_process: Start) -> None:
    settings = make_pipeline("wrong").settings
    wrong = {
        "did you mean STREAM_AE_KAFKA__GROUP_ID?": start_process(settings, {"STREAM_AE_KAFKA__GROUPID": "x"}),
        "no Kafka broker answers at 127.0.0.1:1 ": start_process(
            settings, kafka={"bootstrap_servers": "127.0.0.1:1", "connect_timeout_s": 2.0}
        ),
        "check mlflow.tracking_uri (no version is cached": start_process(
            settings, mlflow={"tracking_uri": "http://127.0.0.1:1"}
        ),
        "missing topics: nowhere (`stream-ae topics create` makes them)": start_process(
            settings, topics={"cleaned": "nowhere"}
        ),
    }
    for sentence, process in wrong.items():
        assert process.exit_code() == 2
        (line,) = process.said()
        assert line.startswith("stream-ae: error: ")
        assert sentence in line


def test_servers_that_never_answer_stop_a_worker_at_the_start(make_pipeline: Make) -> None:
    pipeline = make_pipeline("silent")
    with socket.create_server((LOOPBACK, 0)) as silent:
        where = f"{LOOPBACK}:{silent.getsockname()[1]}"
        workers = {
            "kafka.bootstrap_servers": pipeline.start_worker(
                "kafka", kafka={"bootstrap_servers": where, "connect_timeout_s": 2.0}
            ),
            "redis.url": pipeline.start_worker("redis", redis={"url": SecretStr(f"redis://{where}/0")}),
            "mlflow.tracking_uri": pipeline.start_worker("mlflow", mlflow={"tracking_uri": f"http://{where}"}),
        }
        errors = {setting: worker.await_end() for setting, worker in workers.items()}
    pipeline.workers.clear()
    for setting, error in errors.items():
        assert isinstance(error, ConfigError), error
        assert setting in str(error)
        assert where in str(error)


def test_fewer_cleaned_than_raw_partitions_stop_a_worker_at_the_start(make_pipeline: Make) -> None:
    pipeline = make_pipeline("narrow")
    narrow = f"{pipeline.settings.topics.cleaned}-narrow"
    create_topics(pipeline.settings.kafka, [TopicSpec(narrow, 1)])
    error = pipeline.start_worker("w", topics={"cleaned": narrow}).await_end()
    pipeline.workers.clear()
    assert isinstance(error, ConfigError)
    assert f"{narrow} has 1 partitions, {pipeline.settings.topics.raw} has 2" in str(error)


@pytest.mark.parametrize("how", ["promoted", "announced"])
def test_a_worker_without_any_version_waits_says_so_once_and_starts_by_itself(
    make_pipeline: Make, model_folders: Sequence[Path], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    pipeline = make_pipeline("waiting", worker={"reconcile_interval_s": 0.2, "heartbeat_s": 0.5})
    pipeline.send(good_records("s", 10))
    pipeline.start_worker()
    eventually(lambda: bool(pipeline.status()), "the worker reports")
    first = pipeline.status()[0]
    assert first.health == Health.WAITING
    eventually(lambda: pipeline.status()[0].updated_ms - first.updated_ms > 1000, "it has looked more than once")
    assert ready(first.address) == (503, "waiting for a model\n")
    version = pipeline.store.register(model_folders[0], {}, {})
    if how == "promoted":
        pipeline.store.promote(version.version)
    else:
        pipeline.announce(version)
    pipeline.await_traces(10)
    assert ready(first.address) == (200, "running\n")
    said = [record for record in caplog.records if record.message.startswith("waiting for a model")]
    assert [record.levelno for record in said] == [logging.WARNING]


def test_too_many_dead_letters_in_a_row_are_exit_1_and_nothing_of_them_is_emitted_or_committed(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("schema", dead_letters={"max_in_a_row": 20})
    pipeline.publish(model_folders[0])
    pipeline.send([b"nonsense %d" % i for i in range(200)])
    worker = start_process(pipeline.settings)
    assert worker.exit_code() == 1
    last = worker.said()[-1]
    assert last.startswith("stream-ae: error: 21 records in a row could not be used")
    assert "dead_letters.max_in_a_row" in last
    assert pipeline.traces() == 0
    assert sum(group_lag(pipeline.settings.kafka, pipeline.settings.topics.raw).values()) == 200
    # What the message says helps.
    pipeline.start_worker("w", dead_letters={"max_in_a_row": 200})
    pipeline.await_traces(200)
