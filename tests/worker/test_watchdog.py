"""A worker that gets nowhere says where and why, and ends; one that is only busy or idle is left alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stream_ae.errors import TransientError
from stream_ae.records import Partition, Position, RecordBatch, empty_record_batch
from stream_ae.settings import BatchSettings, Settings
from stream_ae.status import Health
from stream_ae.telemetry import WorkerMetrics
from stream_ae.testing import InMemoryBroker, InMemoryReader, ManualClock
from stream_ae.worker.progress import Progress, Stage
from stream_ae.worker.second_look import SecondLook
from stream_ae.worker.status import StatusBoard
from stream_ae.worker.watchdog import EXIT_STALLED, Stall, Watch, Watchdog
from tests.worker.fakes import MeanModel, OneWorker, sample

STALL_AFTER_S = 60.0


class Watched:
    """Progress with a watchdog that looks every second of a manual clock."""

    def __init__(self, clock: ManualClock, progress: Progress) -> None:
        self.clock = clock
        self.progress = progress
        self.watchdog = Watchdog(progress, clock, STALL_AFTER_S)

    def after(self, seconds: int, meanwhile: Callable[[], object] = lambda: None) -> Stall | None:
        """What the watchdog sees in the end."""
        stall = self.watchdog.look()
        for _ in range(seconds):
            meanwhile()
            self.clock.advance(1)
            stall = self.watchdog.look()
        return stall


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watched(clock: ManualClock) -> Watched:
    return Watched(clock, Progress(clock))


def stage(stall: Stall | None) -> Stage | None:
    return stall.stage if stall is not None else None


# -- the judgement -----------------------------------------------------------------------------------------------------


def test_a_worker_with_nothing_to_do_is_not_stalled(watched: Watched) -> None:
    assert watched.after(10_000, meanwhile=watched.progress.turned) is None


def test_a_call_that_does_not_return_is_a_stall_from_its_time_on_and_not_before(watched: Watched) -> None:
    with watched.progress.within(Stage.MODEL):
        assert watched.after(59) is None
        stall = watched.after(1)
        assert stall == Stall(Stage.MODEL, 60.0, "the model has been given a batch and has not answered it")
        assert stall.sentence.startswith("model has made no progress for 60 s: ")
    assert watched.after(0) is None


def test_many_calls_that_return_are_no_stall(watched: Watched) -> None:
    def one_batch() -> None:
        with watched.progress.within(Stage.MODEL):
            pass

    assert watched.after(200, meanwhile=one_batch) is None


def test_work_that_waits_counts_from_when_it_began_to_wait(watched: Watched) -> None:
    watched.progress.owed(Stage.COMMIT)
    assert watched.after(50, meanwhile=lambda: watched.progress.owed(Stage.COMMIT)) is None
    assert stage(watched.after(10)) == Stage.COMMIT
    watched.progress.done(Stage.COMMIT)
    watched.progress.owed(Stage.COMMIT)
    assert watched.after(59) is None


def test_a_loop_that_does_not_come_round_is_a_stall(watched: Watched) -> None:
    watched.progress.turned()
    stall = watched.after(60)
    assert stall is not None
    assert (stall.stage, stall.why) == (Stage.LOOP, "the loop has not come round")


def test_of_several_stages_the_one_that_holds_the_others_up_is_named(watched: Watched) -> None:
    progress = watched.progress
    progress.turned()
    with progress.within(Stage.FETCH):  # a revocation inside a poll finishes and commits
        watched.after(1)
        with progress.within(Stage.COMMIT):
            assert stage(watched.after(59)) == Stage.COMMIT
    with progress.within(Stage.MODEL):
        assert stage(watched.after(60)) == Stage.MODEL


def test_a_process_that_stood_still_is_given_its_time_again(watched: Watched, clock: ManualClock) -> None:
    with watched.progress.within(Stage.MODEL):
        watched.after(30)
        clock.advance(3600)  # stopped by a signal, or the machine was suspended
        assert watched.after(59) is None
        assert stage(watched.after(1)) == Stage.MODEL


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_stall_is_told_once_by_stage_and_ends_the_process_when_it_lasts(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    board, metrics = StatusBoard("w", clock), WorkerMetrics()
    ended: list[int] = []
    watch = Watch(Watchdog(Progress(clock), clock, 60), board, metrics, clock, 300, ended.append)
    for seconds in (60.0, 61.0, 62.0):
        watch.tell(Stall(Stage.SINK, seconds, "the brokers do not take outputs"))
    assert board.snapshot().health == Health.STALLED
    assert board.snapshot().problems == ("sink has made no progress for 62 s: the brokers do not take outputs",)
    assert metrics.registry.get_sample_value("stream_ae_stalled") == 1
    watch.tell(None)
    assert board.snapshot().health == Health.WAITING
    assert metrics.registry.get_sample_value("stream_ae_stalled") == 0
    assert [record.message for record in caplog.records] == ["worker stalled", "worker makes progress again"]
    assert ended == []
    watch.tell(Stall(Stage.SINK, 300.0, "the brokers do not take outputs"))
    assert ended == [EXIT_STALLED]


def test_a_stalled_process_says_so_writes_all_stacks_and_exits_with_its_own_code() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.worker.stalling"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == EXIT_STALLED == 75, ended.stderr
    assert "ERROR stream_ae.worker.watchdog worker stalled stage=model" in ended.stderr
    assert "worker gives up" in ended.stderr
    # The stack of the thread that hangs leads to where it hangs.
    assert re.search(r'Thread 0x.*\n(  File .*\n)*  File ".*stalling\.py", line \d+ in infer', ended.stderr)


# -- in a worker -------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(clock: ManualClock) -> InMemoryBroker:
    broker = InMemoryBroker(clock)
    for name in ("raw", "cleaned", "flagged", "dead-letters"):
        broker.create_topic(name)
    for second in range(20):
        broker.append("raw", sample(1.0, second), partition=0)
    return broker


def working(broker: InMemoryBroker, clock: ManualClock, model: MeanModel) -> tuple[OneWorker, Watched]:
    one = OneWorker(broker, clock, Settings(batch=BatchSettings(max_records=5)))
    one.join(model)
    return one, Watched(clock, one.worker.progress)


def test_a_model_that_does_not_answer_is_the_stall_though_the_loop_turns_and_polls(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    model = MeanModel()
    model.may_answer.clear()
    one, watched = working(broker, clock, model)
    assert stage(watched.after(61, meanwhile=one.worker.turn)) == Stage.MODEL
    model.may_answer.set()
    one.turn_until(lambda: one.committed() == 20)
    assert watched.after(100, meanwhile=one.worker.turn) is None


def test_offsets_that_the_group_does_not_take_are_a_stall(broker: InMemoryBroker, clock: ManualClock) -> None:
    one, watched = working(broker, clock, MeanModel())
    one.turn_until(lambda: len(one.cleaned()) == 20)
    broker.append("raw", sample(1.0, 21), partition=0)

    def turn_without_a_commit() -> None:
        broker.fail_next_commit()
        one.worker.turn()
        one.worker.wait_for_device(1)

    stall = watched.after(70, meanwhile=turn_without_a_commit)
    assert stage(stall) == Stage.COMMIT


def test_brokers_known_to_be_away_are_a_problem_and_not_a_stall(broker: InMemoryBroker) -> None:
    clock = ManualClock(moves_itself=True)
    one, watched = working(broker, clock, MeanModel())
    one.turn_until(lambda: one.committed() == 20)
    broker.away = True
    assert watched.after(200, meanwhile=one.worker.turn) is None
    assert one.board.snapshot().problems[0].startswith("Kafka is away")


# -- records that do not come ------------------------------------------------------------------------------------------


class Deaf:
    """A Kafka client that was alive once: it polls, and brings nothing."""

    def __init__(self, one: OneWorker) -> None:
        one.source.poll = self.poll  # type: ignore[method-assign]
        one.source.lag = self.lag  # type: ignore[method-assign]

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        return empty_record_batch("raw")

    def lag(self) -> Mapping[Partition, int]:
        return {Partition("raw", 0): 0}


def looking_twice(one: OneWorker, broker: InMemoryBroker) -> SecondLook:
    return SecondLook(one.worker.progress, "raw", lambda: InMemoryReader(broker))


def test_records_that_the_client_does_not_bring_are_a_stall_though_it_knows_of_none(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one, watched = working(broker, clock, MeanModel())
    one.turn_until(lambda: one.committed() == 20)
    second = looking_twice(one, broker)

    def turn_and_look() -> None:
        one.worker.turn()
        second.look()

    assert watched.after(100, meanwhile=turn_and_look) is None
    Deaf(one)
    assert watched.after(100, meanwhile=turn_and_look) is None
    broker.append("raw", sample(1.0, 21), partition=0)
    assert watched.after(59, meanwhile=turn_and_look) is None
    stall = watched.after(3, meanwhile=turn_and_look)
    assert stage(stall) == Stage.FETCH


def test_brokers_that_cannot_be_asked_say_nothing(broker: InMemoryBroker, clock: ManualClock) -> None:
    one, watched = working(broker, clock, MeanModel())
    one.turn_until(lambda: one.committed() == 20)
    Deaf(one)
    broker.append("raw", sample(1.0, 21), partition=0)

    def away() -> InMemoryReader:
        raise TransientError("no broker answers")

    second = SecondLook(one.worker.progress, "raw", away)

    def turn_and_look() -> None:
        one.worker.turn()
        second.look()

    assert watched.after(200, meanwhile=turn_and_look) is None


def test_records_that_wait_for_the_device_are_not_missed(broker: InMemoryBroker, clock: ManualClock) -> None:
    model = MeanModel()
    one, watched = working(broker, clock, model)
    one.turn_until(lambda: one.committed() == 20)
    Deaf(one)
    broker.append("raw", sample(1.0, 21), partition=0)
    second = looking_twice(one, broker)
    second.look()
    with one.worker.progress.within(Stage.MODEL):
        second.look()
    assert watched.after(0) is None
    assert [waiting.stage for waiting in one.worker.progress.waiting()] == [Stage.LOOP]


def test_a_partition_that_nothing_was_read_of_is_looked_at_from_where_the_group_begins(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one, _ = working(broker, clock, MeanModel())
    Deaf(one)
    one.worker.on_assigned({Partition("raw", 0): None})
    assert reached(one, clock) == {Partition("raw", 0): 0}
    latest = OneWorker(
        broker, clock, Settings.model_validate({"kafka": {"start": "latest", "group_id": "other"}}), "late"
    )
    latest.join()
    Deaf(latest)
    latest.worker.on_assigned({Partition("raw", 0): None})
    assert reached(latest, clock) == {}
    latest.worker.on_assigned({Partition("raw", 0): Position(7, json.dumps({"rewind": 5}))})
    assert reached(latest, clock) == {Partition("raw", 0): 5}


def reached(one: OneWorker, clock: ManualClock) -> Mapping[Partition, int]:
    clock.advance(1)
    one.worker.turn()
    return one.worker.progress.reached
