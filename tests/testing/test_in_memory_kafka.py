"""The faults on demand; what both the fake and the real clients promise is in tests/contracts."""

import pytest

from stream_ae.errors import ConfigError, DeliveryError, TransientError
from stream_ae.records import Partition, Position
from stream_ae.testing import InMemoryBroker, InMemoryReader, InMemorySink, InMemorySource
from tests.contracts.worlds import Listener, outgoing

P0, P1 = Partition("raw", 0), Partition("raw", 1)


@pytest.fixture
def broker() -> InMemoryBroker:
    broker = InMemoryBroker()
    broker.create_topic("raw", partitions=2)
    return broker


def joined(broker: InMemoryBroker, listener: Listener) -> InMemorySource:
    source = InMemorySource(broker, "group")
    source.subscribe("raw", listener)
    source.poll(10, 0)
    return source


def test_a_failing_flush_fails_the_sink_for_good(broker: InMemoryBroker) -> None:
    sink = InMemorySink(broker)
    sink.produce(outgoing("raw", [b"v"]))
    broker.fail_next_flush()
    for _ in range(2):
        with pytest.raises(DeliveryError):
            sink.flush(1)
    InMemorySink(broker).flush(1)


def test_a_failing_commit_commits_nothing_and_the_next_one_does(broker: InMemoryBroker) -> None:
    source = joined(broker, Listener())
    broker.fail_next_commit()
    with pytest.raises(TransientError):
        source.commit({P0: Position(1)})
    assert broker.committed("group") == {}
    source.commit({P0: Position(1)})
    assert broker.committed("group") == {P0: Position(1)}


def test_a_refused_topic_gets_nothing_and_flush_says_so(broker: InMemoryBroker) -> None:
    broker.refuse("raw")
    sink = InMemorySink(broker)
    sink.produce(outgoing("raw", [b"v"]))
    with pytest.raises(DeliveryError, match="raw"):
        sink.flush(1)
    assert broker.records("raw") == []


def test_while_the_broker_is_away_nothing_works_and_afterwards_everything_does(broker: InMemoryBroker) -> None:
    source, sink, reader = joined(broker, Listener()), InMemorySink(broker), InMemoryReader(broker)
    broker.append("raw", b"v", partition=0)
    broker.away = True
    for call in (
        lambda: source.poll(1, 0),
        lambda: source.commit({P0: Position(1)}),
        lambda: source.begins([P0], 1),
        lambda: sink.flush(1),
        lambda: list(reader.read(reader.ranges("raw"))),
    ):
        with pytest.raises(TransientError):
            call()
    broker.away = False
    assert len(source.poll(1, 0)) == 1
    sink.flush(1)


def test_an_expired_member_loses_its_partitions_and_may_not_commit(broker: InMemoryBroker) -> None:
    hung, other = Listener(), Listener()
    source = joined(broker, hung)
    source.expire()
    with pytest.raises(TransientError):
        source.commit({P0: Position(1)})
    second = joined(broker, other)
    assert other.owned == {P0, P1}
    source.poll(1, 0)
    assert sorted(hung.lost) == [P0, P1]
    second.poll(1, 0)
    source.poll(1, 0)
    assert len(hung.owned) == len(other.owned) == 1


def test_a_topic_that_does_not_exist_is_a_config_error(broker: InMemoryBroker) -> None:
    with pytest.raises(ConfigError, match="typo"):
        InMemorySource(broker, "group").subscribe("typo", Listener())


def test_deleted_records_are_gone_for_every_reader_and_count_in_no_lag(broker: InMemoryBroker) -> None:
    for value in (b"0", b"1", b"2"):
        broker.append("raw", value, partition=0)
    source, reader = joined(broker, Listener()), InMemoryReader(broker)
    late = InMemorySource(broker, "late")
    late.subscribe("raw", Listener())
    broker.delete_records(P0, before=2)
    broker.delete_records(P0, before=1)  # deletes nothing more, brings nothing back
    assert [record.value for record in broker.records("raw")] == [b"2"]
    assert [value for batch in reader.read(reader.ranges("raw")) for value in batch.values] == [b"2"]
    assert list(late.poll(10, 0).values) == [b"2"]
    assert source.lag() == late.lag() == {P0: 0, P1: 0}
