"""A broker that dies, hangs, comes back, or loses a topic."""

from collections.abc import Callable

import pytest

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import ConfigError, DeliveryError, TransientError
from stream_ae.kafka import admin
from stream_ae.kafka.driver import open_reader, open_sink, open_source
from stream_ae.localdev.process import Server
from stream_ae.localdev.stack import Stack
from stream_ae.ports import RecordReader
from stream_ae.records import Partition, Position
from stream_ae.settings import KafkaSettings
from tests.contracts.worlds import Listener, Member, joined, outgoing, poll_until
from tests.end_to_end.world import eventually


@pytest.fixture
def broker(stack: Stack) -> Server:
    return stack.kafka


@pytest.fixture(params=["confluent", "kafka-python"])
def settings(request: pytest.FixtureRequest, broker: Server, unique: Callable[[str], str]) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap_servers": broker.address,
            "driver": request.param,
            "group_id": unique("group"),
            "connect_timeout_s": 1.0,
            "session_timeout_s": 6.0,
            "delivery_timeout_s": 2.0,
        }
    )


@pytest.fixture
def topic(settings: KafkaSettings, unique: Callable[[str], str]) -> str:
    name = unique("topic")
    admin.create_topics(settings, [admin.TopicSpec(name, 1)])
    return name


def led(reader: RecordReader, topic: str) -> bool:
    """Whether the broker knows already that it leads the topic's partitions."""
    try:
        return bool(reader.ranges(topic))
    except TransientError:
        return False


def fails(call: Callable[[], object], kind: type[Exception], patience_s: float = 30.0) -> Exception:
    """The error that `call` ends with, called until it does."""
    deadline = Deadline.after(SystemClock(), patience_s)
    while not deadline.passed():
        try:
            call()
        except kind as error:
            return error
    raise AssertionError(f"no {kind.__name__} within {patience_s} s")


def test_with_all_brokers_down_a_poll_says_so_and_goes_on_when_they_are_back(
    settings: KafkaSettings, topic: str, broker: Server
) -> None:
    listener = Listener()
    member = Member(open_source(settings), topic, listener)
    poll_until([member], lambda: len(listener.owned) == 1)
    broker.kill()
    error = fails(lambda: member.source.poll(10, 0.1), TransientError)
    assert settings.bootstrap_servers in str(error)
    broker.restart()
    sink = open_sink(settings)
    sink.produce(outgoing(topic, [b"after"]))
    sink.flush(20)
    sink.close()
    seen: list[bytes | None] = []
    deadline = Deadline.after(SystemClock(), 30.0)
    while not seen and not deadline.passed():
        try:
            seen += member.source.poll(10, 0.1).values
        except TransientError:
            continue
    assert seen == [b"after"]
    member.source.close()


def test_a_commit_that_no_broker_takes_is_a_transient_error(
    settings: KafkaSettings, topic: str, broker: Server
) -> None:
    listener = Listener()
    member = Member(open_source(settings), topic, listener)
    poll_until([member], lambda: len(listener.owned) == 1)
    broker.kill()
    with pytest.raises(TransientError, match="not committed"):
        member.source.commit({Partition(topic, 0): Position(1)})
    broker.restart()
    member.source.close()


def test_the_beginning_of_a_partition_that_silent_brokers_do_not_tell_is_a_transient_error_in_time(
    settings: KafkaSettings, topic: str, broker: Server
) -> None:
    listener = Listener()
    member = Member(open_source(settings), topic, listener)
    poll_until([member], lambda: len(listener.owned) == 1)
    clock = SystemClock()
    broker.pause()
    try:
        began_s = clock.monotonic_s()
        with pytest.raises(TransientError, match="oldest offsets"):
            member.source.begins([Partition(topic, 0)], 0.5)
        # The library rounds up to its own rhythm.
        assert clock.monotonic_s() - began_s < 3.0
    finally:
        broker.resume()
    member.source.close()


def test_outputs_that_no_broker_acknowledges_fail_the_flush(
    settings: KafkaSettings, topic: str, broker: Server
) -> None:
    sink = open_sink(settings)
    sink.produce(outgoing(topic, [b"before"]))
    sink.flush(20)
    broker.kill()
    sink.produce(outgoing(topic, [b"lost"]))
    with pytest.raises(DeliveryError):
        sink.flush(20)
    broker.restart()
    with pytest.raises(DeliveryError):
        sink.flush(20)
    sink.close()
    reader = open_reader(settings)
    eventually(lambda: led(reader, topic), "the partition has a leader again")
    assert list(joined(list(reader.read(reader.ranges(topic)))).values) == [b"before"]
    reader.close()


def test_a_read_from_brokers_that_fall_silent_ends_with_a_transient_error(
    settings: KafkaSettings, topic: str, broker: Server
) -> None:
    sink = open_sink(settings)
    sink.produce(outgoing(topic, [b"v"]))
    sink.flush(20)
    sink.close()
    reader = open_reader(settings)
    ranges = reader.ranges(topic)
    broker.pause()
    try:
        with pytest.raises(TransientError):
            list(reader.read(ranges))
    finally:
        broker.resume()
    reader.close()


def test_reading_a_topic_that_was_deleted_is_a_config_error(settings: KafkaSettings, topic: str) -> None:
    listener = Listener()
    member = Member(open_source(settings), topic, listener)
    # A member that is at work: KIP-848 takes its partition away, the classic protocol lets its fetches fail.
    sink = open_sink(settings)
    sink.produce(outgoing(topic, [b"v"]))
    sink.flush(20)
    sink.close()
    member.take(1)
    admin.delete_topics(settings, [topic])
    error = fails(lambda: member.source.poll(10, 0.1), ConfigError, patience_s=60.0)
    assert topic in str(error)
    member.source.close()


def test_a_reader_passes_over_aborted_transactions_and_their_markers(settings: KafkaSettings, topic: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(20)
    for value, commits in ((b"1", True), (b"aborted", False), (b"2", True), (b"aborted too", False)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        if commits:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    reader = open_reader(settings)
    ranges = reader.ranges(topic)
    assert ranges[0].end == 8
    assert list(joined(list(reader.read(ranges))).values) == [b"1", b"2"]
    reader.close()
