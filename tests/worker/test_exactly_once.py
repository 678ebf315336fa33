"""The loop with outputs and offsets in one transaction: whatever goes wrong, each record leaves once."""

import json
import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import DeliveryError, RestartError, TransientError
from stream_ae.records import RecordBatch
from stream_ae.settings import Settings, WorkerSettings
from stream_ae.testing import InMemoryBroker, ManualClock
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample

SETTINGS = Settings(delivery="exactly_once", worker=WorkerSettings(commit_interval_s=0.2))
WINDOW = 4


@pytest.fixture
def clock() -> ManualClock:
    # Waiting between two attempts takes no time.
    return ManualClock(moves_itself=True)


@pytest.fixture
def broker(clock: ManualClock) -> InMemoryBroker:
    return made_broker(clock)


def made_broker(clock: ManualClock) -> InMemoryBroker:
    return broker_with_topics(clock, SETTINGS.topics, partitions=2)


def send(broker: InMemoryBroker, count: int, first: int = 0, partition: int = 0) -> None:
    for second in range(first, first + count):
        broker.append("raw", sample(float(second), second, f"s{partition}"), partition=partition)


def expected(count: int) -> list[float]:
    """The means of the last four of 0, 1, 2, ..., padded with the first."""
    padded = [0.0] * (WINDOW - 1) + [float(second) for second in range(count)]
    return [float(np.mean(padded[i : i + WINDOW])) for i in range(count)]


def cleaned_of(broker: InMemoryBroker, partition: int) -> list[float]:
    logged = broker.log("cleaned")[partition]
    return [json.loads(record.value or b"")["values"][0] for record in logged]


def aborts(one: OneWorker) -> float:
    return one.metrics.registry.get_sample_value("stream_ae_transaction_aborts_total") or 0


def answered(one: OneWorker) -> float:
    return one.metrics.registry.get_sample_value("stream_ae_records_total") or 0


def test_outputs_are_seen_when_their_inputs_are_committed_and_not_before(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    send(broker, 5)
    one.join()
    while one.committed() < 5:
        one.worker.turn()
        one.worker.wait_for_device(0.05)
        assert len(one.cleaned()) == one.committed()
        clock.advance(0.05)
    assert one.cleaned() == expected(5)


def test_a_transaction_that_fails_is_gone_back_for_and_leaves_the_same_outputs_once(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    send(broker, 5)
    one.join()
    one.turn_until(lambda: one.committed() == 5)
    send(broker, 5, first=5)
    broker.fail_next_commit()
    broker.fail_next_flush()
    one.turn_until(lambda: one.committed() == 10)
    assert one.cleaned() == expected(10)
    assert aborts(one) == 2


def test_going_back_is_tried_until_the_committed_offsets_can_be_had(
    broker: InMemoryBroker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    go_back, tries = one.source.go_back, list[int]()

    def at_the_third_try() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise TransientError("the coordinator is moving")
        go_back()

    monkeypatch.setattr(one.source, "go_back", at_the_third_try)
    send(broker, 5)
    one.join()
    broker.fail_next_commit()
    one.turn_until(lambda: one.committed() == 5)
    assert len(tries) == 3
    assert one.cleaned() == expected(5)


def test_what_always_fails_ends_the_worker_with_the_reason_and_nothing_of_it_is_seen(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    send(broker, 5)
    broker.refuse(SETTINGS.topics.cleaned)
    one.join()
    with pytest.raises(DeliveryError, match=r"transactions in a row failed.*the broker refuses it"):
        one.turn_until(lambda: one.committed() > 0)
    assert one.cleaned() == []
    assert one.committed() == 0


def test_a_topic_that_refuses_for_a_while_costs_aborts_and_no_record(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    send(broker, 5)
    broker.refuse(SETTINGS.topics.cleaned)
    one.join()
    one.turn_until(lambda: aborts(one) == 3)
    broker.accept(SETTINGS.topics.cleaned)
    one.turn_until(lambda: one.committed() == 5)
    assert one.cleaned() == expected(5)


def test_a_worker_told_to_stop_whose_last_transaction_fails_leaves_its_records_to_the_next(
    broker: InMemoryBroker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, stop = OneWorker(broker, clock, SETTINGS), threading.Event()
    poll = one.source.poll

    def told_to_stop_by_the_first_records(max_records: int, timeout_s: float) -> RecordBatch:
        records = poll(max_records, timeout_s)
        if len(records):
            stop.set()
            broker.fail_next_commit()
        return records

    monkeypatch.setattr(one.source, "poll", told_to_stop_by_the_first_records)
    one.use(MeanModel())
    send(broker, 5)
    one.worker.run(stop)
    one.delivery.close()
    assert (one.committed(), one.cleaned()) == (0, [])
    other = OneWorker(broker, clock, SETTINGS)
    other.join()
    other.turn_until(lambda: other.committed() == 5)
    assert other.cleaned() == expected(5)


def test_a_second_worker_in_the_slot_puts_the_first_out(broker: InMemoryBroker, clock: ManualClock) -> None:
    zombie = OneWorker(broker, clock, SETTINGS, "slot-0")
    send(broker, 5)
    zombie.join()
    zombie.turn_until(lambda: zombie.committed() == 5)
    successor = OneWorker(broker, clock, SETTINGS, "slot-0")
    send(broker, 5, first=5)
    with pytest.raises(RestartError, match="slot-0"):
        zombie.turn_until(lambda: zombie.committed() == 10)
    zombie.source.expire()
    successor.join()
    successor.turn_until(lambda: successor.committed() == 10)
    assert successor.cleaned() == expected(10)


def test_lost_partitions_abort_what_was_said_about_them_and_the_rest_goes_on(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    # The interval never ends: the transaction is open when the partitions are lost.
    one = OneWorker(broker, clock, Settings(delivery="exactly_once", worker=WorkerSettings(commit_interval_s=1e9)))
    one.join()
    one.turn_until(lambda: len(one.source.lag()) == 2)
    send(broker, 5)
    one.turn_until(lambda: answered(one) == 5)
    one.source.expire()
    other = OneWorker(broker, clock, SETTINGS, "w2")
    other.join()
    other.turn_until(lambda: other.committed() == 5)
    one.turn_until(lambda: aborts(one) == 1)
    assert other.cleaned() == expected(5)


EVENTS = st.lists(
    st.sampled_from(["send 0", "send 1", "turn", "turn", "turn", "commit", "flush", "expire", "join", "leave"]),
    max_size=40,
    # Ten failures in a row would end a worker, as they should.
).filter(lambda events: events.count("commit") + events.count("flush") < 10)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_whatever_fails_and_whoever_comes_and_goes_each_record_leaves_once_in_order(events: Sequence[str]) -> None:
    clock = ManualClock(moves_itself=True)
    broker = made_broker(clock)
    workers = [OneWorker(broker, clock, SETTINGS, "w0")]
    workers[0].join()
    sent = Counter[int]()
    for number, event in enumerate(events):
        happen(event, broker, clock, workers, sent, f"w{number + 1}")
    if not workers:
        workers.append(OneWorker(broker, clock, SETTINGS, "last"))
        workers[-1].join()
    for _ in range(400):
        if sum(p.offset for p in broker.committed(SETTINGS.kafka.group_id).values()) == sent.total():
            break
        turn(workers, clock)
    for partition in (0, 1):
        assert cleaned_of(broker, partition) == expected(sent[partition])


def happen(
    event: str, broker: InMemoryBroker, clock: ManualClock, workers: list[OneWorker], sent: Counter[int], name: str
) -> None:
    match event.split():
        case ["send", number]:
            partition = int(number)
            send(broker, 3, first=sent[partition], partition=partition)
            sent[partition] += 3
        case ["turn"]:
            turn(workers, clock)
        case ["commit"]:
            broker.fail_next_commit()
        case ["flush"]:
            broker.fail_next_flush()
        case ["expire"] if workers:
            workers[0].source.expire()
        case ["join"]:
            workers.append(OneWorker(broker, clock, SETTINGS, name))
            workers[-1].join()
        case ["leave"] if workers:
            # As one that is killed: it says nothing to anybody.
            gone = workers.pop(0)
            gone.source.expire()
            gone.delivery.close()


def turn(workers: Sequence[OneWorker], clock: ManualClock) -> None:
    for one in workers:
        one.worker.turn()
        one.worker.wait_for_device(0.05)
        clock.advance(0.05)
