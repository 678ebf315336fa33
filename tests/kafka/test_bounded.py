"""Calls of librdkafka that do not come back are given up, and nobody waits for them twice."""

import threading
from collections.abc import Callable, Iterator

import pytest

from stream_ae.clock import SystemClock
from stream_ae.errors import RestartError, TransientError
from stream_ae.kafka.confluent import sink, transactions
from stream_ae.kafka.confluent.bounded import BoundedCalls
from stream_ae.kafka.confluent.transactions import ConfluentTransactionalSink
from stream_ae.records import Partition, Position
from stream_ae.settings import KafkaSettings


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Set at the end, so that the thread of a call which waits for it ends with the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_is_answered_with_its_result_or_its_error() -> None:
    calls = BoundedCalls(SystemClock())
    assert calls.run(lambda: 17, 5.0, "asking") == 17
    with pytest.raises(ValueError, match="no"):
        calls.run(raiser(ValueError("no")), 5.0, "asking")
    assert not calls.busy
    calls.close()


def test_a_call_that_does_not_return_is_given_up_and_the_next_one_does_not_start(never: threading.Event) -> None:
    calls, begun = BoundedCalls(SystemClock()), threading.Event()
    with pytest.raises(TransientError, match=r"asking: no answer within 0\.05 s"):
        calls.run(never.wait, 0.05, "asking")
    assert calls.busy
    with pytest.raises(TransientError):
        calls.run(begun.set, 0.05, "asking again")
    assert not begun.is_set()
    calls.close()


@pytest.fixture
def producer(never: threading.Event) -> "StuckProducer":
    return StuckProducer(never)


@pytest.fixture
def stuck(producer: "StuckProducer", monkeypatch: pytest.MonkeyPatch) -> ConfluentTransactionalSink:
    """A sink in a transaction whose client does not come back from sending offsets."""
    monkeypatch.setattr(transactions, "GRACE_S", 0.05)
    monkeypatch.setattr(sink, "Producer", lambda _options: producer)
    opened = ConfluentTransactionalSink(KafkaSettings(), "stuck-0", SystemClock())
    opened.begin()
    return opened


def test_offsets_that_are_never_sent_ask_for_a_fresh_process(stuck: ConfluentTransactionalSink) -> None:
    offsets = {Partition("raw", 0): Position(17, "")}
    with pytest.raises(RestartError, match=r"sending offsets with a transaction: no answer .* id stuck-0\)"):
        stuck.send_offsets(offsets, None, timeout_s=0.1)


def test_a_sink_whose_client_is_stuck_closes_without_waiting_for_it(
    stuck: ConfluentTransactionalSink, producer: "StuckProducer"
) -> None:
    with pytest.raises(RestartError):
        stuck.send_offsets({}, None, timeout_s=0.1)
    stuck.close()
    assert producer.calls == ["init", "begin", "send", "purge"]


class StuckProducer:
    """Stands in for librdkafka's, whose hang cannot be brought about at will."""

    def __init__(self, never: threading.Event) -> None:
        self.calls: list[str] = []
        self._never = never

    def init_transactions(self, _timeout_s: float) -> None:
        self.calls.append("init")

    def begin_transaction(self) -> None:
        self.calls.append("begin")

    def send_offsets_to_transaction(self, *_given: object) -> None:
        self.calls.append("send")
        self._never.wait()

    def abort_transaction(self, _timeout_s: float) -> None:
        self.calls.append("abort")

    def purge(self) -> None:
        self.calls.append("purge")

    def flush(self, _timeout_s: float) -> int:
        return 0


def raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
