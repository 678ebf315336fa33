"""Restarted on data that it cannot use, a worker stops again: the topic is not drained into the dead letters."""

import threading
from typing import Literal

import pytest

from stream_ae.errors import TooManyDeadLetters
from stream_ae.settings import BatchSettings, DeadLetterSettings, Settings, WorkerSettings
from stream_ae.testing import InMemoryBroker, ManualClock
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample

LIMIT = 10


def settings_of(delivery: Literal["at_least_once", "exactly_once"], limit: int = LIMIT) -> Settings:
    return Settings(
        delivery=delivery,
        batch=BatchSettings(max_records=3),
        dead_letters=DeadLetterSettings(max_in_a_row=limit),
        # Longer than any of these workers lives: only the end of a worker commits.
        worker=WorkerSettings(commit_interval_s=1000.0),
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> InMemoryBroker:
    broker = broker_with_topics(clock, Settings().topics)
    for second in range(5):
        broker.append("raw", sample(float(second), second))
    for number in range(100):
        broker.append("raw", b"nonsense %d" % number)
    return broker


def runs_until_it_stops(one: OneWorker) -> str:
    one.use(MeanModel())
    with pytest.raises(TooManyDeadLetters) as stopped:
        one.worker.run(threading.Event())
    return str(stopped.value)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_restarts_on_bad_data_let_no_more_dead_letters_leave_than_one_run_may(
    broker: InMemoryBroker, clock: ManualClock, delivery: Literal["at_least_once", "exactly_once"]
) -> None:
    for start in range(6):
        one = OneWorker(broker, clock, settings_of(delivery), f"w{start}")
        assert "max_in_a_row" in runs_until_it_stops(one)
        dead = [record.value for record in broker.records("dead-letters")]
        assert 0 < len(dead) <= LIMIT
        assert dead == [b"nonsense %d" % number for number in range(len(dead))]
        assert one.committed() == 5 + len(dead)
    assert len(one.cleaned()) == 5


def test_a_raised_limit_lets_the_restarted_worker_go_on(broker: InMemoryBroker, clock: ManualClock) -> None:
    runs_until_it_stops(OneWorker(broker, clock, settings_of("at_least_once"), "w1"))
    two = OneWorker(broker, clock, settings_of("at_least_once", limit=100), "w2")
    two.join()
    two.turn_until(lambda: len(broker.records("dead-letters")) == 100)


def test_an_end_whose_commit_fails_still_says_what_ended_it(
    broker: InMemoryBroker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker.fail_next_flush()
    one = OneWorker(broker, clock, settings_of("at_least_once"))
    assert "max_in_a_row" in runs_until_it_stops(one)
    assert "what left before the end is not committed" in caplog.messages
    assert one.committed() == 0
