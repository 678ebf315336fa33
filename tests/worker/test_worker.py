"""The loop: what is committed when, what a revocation does, what a full buffer does."""

import threading

import pytest

from stream_ae.errors import DeliveryError, ModelError
from stream_ae.records import Float32, Inference, Partition
from stream_ae.settings import BatchSettings, Settings, WorkerSettings
from stream_ae.testing import InMemoryBroker, ManualClock
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def broker(clock: ManualClock, settings: Settings) -> InMemoryBroker:
    return broker_with_topics(clock, settings.topics, partitions=2)


def send(broker: InMemoryBroker, count: int, first: int = 0, stream: str = "s") -> None:
    for second in range(first, first + count):
        broker.append("raw", sample(float(second), second, stream), partition=0)


def test_every_record_comes_out_once_and_is_committed_after_that(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 5)
    one.join()
    one.turn_until(lambda: one.committed() == 5)
    # The mean of the last four, the window padded with the first sample.
    assert one.cleaned() == [0.0, 0.25, 0.75, 1.5, 2.5]


def test_nothing_is_committed_while_the_model_works(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 5)
    model = MeanModel()
    model.may_answer.clear()
    one.join(model)
    for _ in range(20):
        one.worker.turn()
        clock.advance(1)
    assert one.committed() == 0
    model.may_answer.set()
    one.turn_until(lambda: one.committed() == 5)


def test_an_output_that_is_not_acknowledged_commits_nothing_and_ends_the_worker(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 5)
    broker.fail_next_flush()
    one.join()
    with pytest.raises(DeliveryError):
        one.turn_until(lambda: one.committed() > 0)
    assert one.committed() == 0


def test_a_commit_that_the_group_refuses_is_tried_again(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 5)
    broker.fail_next_commit()
    one.join()
    one.turn_until(lambda: one.committed() == 5)
    assert len(one.cleaned()) == 5


def test_a_partition_is_handed_over_finished_and_committed(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    first, second = OneWorker(broker, clock, settings, "w1"), OneWorker(broker, clock, settings, "w2")
    send(broker, 6)
    first.join()
    first.turn_until(lambda: first.committed() == 6)
    second.join()
    for _ in range(20):
        first.worker.turn()
        second.worker.turn()
    send(broker, 6, first=6)
    for _ in range(200):
        for one in (first, second):
            one.worker.turn()
            one.worker.wait_for_device(0.05)
        clock.advance(0.05)
    assert first.committed() == 12
    assert first.cleaned() == [0.0, 0.25, 0.75, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]


def test_brokers_that_are_away_degrade_the_worker_until_they_are_back(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    clock = ManualClock(moves_itself=True)
    one = OneWorker(broker, clock, settings)
    one.join()
    one.turn_until(lambda: True)
    broker.away = True
    one.worker.turn()
    assert any("Kafka is away" in problem for problem in one.board.snapshot().problems)
    broker.away = False
    send(broker, 3)
    one.turn_until(lambda: one.committed() == 3)
    assert one.board.snapshot().problems == ()


def test_a_full_buffer_stops_the_fetching_and_an_emptier_one_starts_it_again(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    settings = Settings(batch=BatchSettings(max_records=10))
    one = OneWorker(broker, clock, settings)
    send(broker, 200)
    model = MeanModel()
    model.may_answer.clear()
    one.join(model)
    for _ in range(30):
        one.worker.turn()
        clock.advance(0.5)
    held = 200 - sum(one.source.lag().values())
    # Two batches in flight, two in the buffer, one poll above the limit at most.
    assert held <= 50
    model.may_answer.set()
    one.turn_until(lambda: one.committed() == 200)


def test_a_new_model_answers_from_the_next_batch_on(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 4)
    one.join()
    one.turn_until(lambda: one.committed() == 4)
    one.use(MeanModel("2"))
    send(broker, 4, first=4)
    one.turn_until(lambda: one.committed() == 8)
    made_by = [dict(r.headers)["stream-ae-model"] for r in broker.records("cleaned")]
    assert made_by == [b"pump/1"] * 4 + [b"pump/2"] * 4
    assert one.board.snapshot().first_batch_ms > 0


def test_stopping_answers_what_was_fetched_commits_and_leaves_the_group(
    broker: InMemoryBroker, settings: Settings
) -> None:
    clock = ManualClock(moves_itself=True)
    one = OneWorker(broker, clock, settings)
    send(broker, 50)
    one.use(MeanModel())
    stop = threading.Event()
    thread = threading.Thread(target=one.worker.run, args=(stop,))
    thread.start()
    while not one.cleaned():
        threading.Event().wait(0.01)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert len(one.cleaned()) == one.committed() == 50
    follower = OneWorker(broker, clock, settings, "w2")
    follower.join()
    follower.worker.turn()
    assert set(follower.source.lag()) == {Partition("raw", 0), Partition("raw", 1)}


def test_a_worker_that_fails_leaves_the_group_and_commits_nothing_more(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    settings = Settings(worker=WorkerSettings(commit_interval_s=0.0))
    one = OneWorker(broker, clock, settings)
    send(broker, 5)
    broker.fail_next_flush()
    one.use(MeanModel())
    with pytest.raises(DeliveryError):
        one.worker.run(threading.Event())
    assert one.committed() == 0
    follower = OneWorker(broker, clock, settings, "w2")
    follower.join()
    follower.worker.turn()
    assert set(follower.source.lag()) == {Partition("raw", 0), Partition("raw", 1)}


def test_a_worker_without_a_model_does_not_join_the_group(broker: InMemoryBroker, settings: Settings) -> None:
    one = OneWorker(broker, ManualClock(moves_itself=True), settings)
    send(broker, 3)
    stop = threading.Event()
    thread = threading.Thread(target=one.worker.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert one.committed() == 0


class Choking(MeanModel):
    """Raises on a batch that shows it 13."""

    def infer(self, windows: Float32) -> Inference:
        if (windows == 13.0).any():
            raise ValueError("cannot swallow this")
        return super().infer(windows)


def test_a_record_that_makes_the_model_fail_costs_itself_alone(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    one = OneWorker(broker, clock, settings)
    send(broker, 20)
    one.join(Choking())
    one.turn_until(lambda: one.committed() == 20)
    assert len(one.cleaned()) == 19
    (dead,) = broker.records("dead-letters")
    headers = dict(dead.headers)
    assert dead.value == sample(13.0, 13)
    assert (headers["stream-ae-source"], headers["stream-ae-reason"]) == (b"raw/0/13", b"model_failed")
    assert headers["stream-ae-exception"] == b"model pump/1 fails on it: ValueError: cannot swallow this"
    # Candidates are tried on the newest windows: on these every one would be refused.
    assert one.slot.recent_windows is None


def test_a_broken_model_ends_the_worker_instead_of_draining_the_topic(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings
) -> None:
    class Broken(MeanModel):
        def infer(self, windows: Float32) -> Inference:
            raise RuntimeError("shapes do not fit")

    one = OneWorker(broker, clock, settings)
    send(broker, 20)
    one.join(Broken())
    with pytest.raises(ModelError, match="the model is at fault"):
        one.turn_until(lambda: one.committed() > 0)
    assert broker.records("dead-letters") == []
    assert one.committed() == 0
