"""The contract of RecordSink and of the order of flush and commit."""

from collections.abc import Sequence

import numpy as np
import pytest

from stream_ae.errors import DeliveryError
from stream_ae.kafka.delivery import AtLeastOnce
from stream_ae.records import Partition, Position, RecordBatch
from tests.contracts.worlds import Listener, Member, World, joined, outgoing, poll_until, write


def held(world: World, topic: str) -> RecordBatch:
    reader = world.reader()
    return joined(list(reader.read(reader.ranges(topic))))


def test_flush_returns_when_everything_is_in_the_log(world: World) -> None:
    topic, sink = world.topic(), world.sink()
    sink.produce(outgoing(topic, [b"%d" % i for i in range(1000)]))
    sink.flush(10)
    assert world.reader().ranges(topic)[0].end == 1000


def test_flush_of_nothing_returns(world: World) -> None:
    world.sink().flush(1)


def test_an_explicit_partition_is_honoured_whatever_the_key(world: World) -> None:
    topic = world.topic(partitions=3)
    write(world, outgoing(topic, [b"a", b"b", b"c"], keys=[b"same"] * 3, partition=[2, 0, 1]))
    records = held(world, topic)
    assert dict(zip(records.partition.tolist(), records.values, strict=True)) == {2: b"a", 0: b"b", 1: b"c"}


def test_one_key_stays_in_one_partition_and_many_spread(world: World) -> None:
    topic = world.topic(partitions=3)
    keys = [b"key-%d" % (i % 30) for i in range(90)]
    write(world, outgoing(topic, [b"v"] * 90, keys=keys, partition=-1))
    records = held(world, topic)
    homes: dict[bytes | None, set[int]] = {}
    for key, number in zip(records.keys, records.partition.tolist(), strict=True):
        homes.setdefault(key, set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert set.union(*homes.values()) == {0, 1, 2}


def test_without_a_timestamp_a_record_gets_the_time_of_producing(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, [b"now"], timestamp_ms=-1))
    assert held(world, topic).timestamp_ms[0] > 1_700_000_000_000


def test_a_record_above_the_limit_is_refused_with_size_limit_and_setting(world: World) -> None:
    topic, sink = world.topic(), world.sink(max_message_bytes=10_000)
    with pytest.raises(DeliveryError, match=r"20000 bytes.*max_message_bytes.*10000"):
        sink.produce(outgoing(topic, [b"x" * 20_000]))


def test_once_a_record_has_failed_neither_produce_nor_flush_succeeds(world: World) -> None:
    topic, sink = world.topic(), world.sink(max_message_bytes=10_000)
    with pytest.raises(DeliveryError):
        sink.produce(outgoing(topic, [b"fine", b"x" * 20_000, b"fine"]))
    with pytest.raises(DeliveryError):
        sink.produce(outgoing(topic, [b"fine"]))
    with pytest.raises(DeliveryError):
        sink.flush(5)


def test_a_failed_delivery_keeps_the_inputs_uncommitted(world: World) -> None:
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, [b"in"]))
    listener = Listener()
    member = Member(world.source(group), topic, listener)
    poll_until([member], lambda: member.count() == 1)
    delivery = AtLeastOnce(member.source, world.sink(max_message_bytes=10_000), flush_timeout_s=5)
    with pytest.raises(DeliveryError):
        delivery.produce(outgoing(topic, [b"x" * 20_000]))
    with pytest.raises(DeliveryError):
        delivery.commit({Partition(topic, 0): Position(1)})
    assert committed_by(world, topic, group, [member]) == {Partition(topic, 0): None}


def test_acknowledged_outputs_let_the_inputs_be_committed(world: World) -> None:
    topic, out, group = world.topic(), world.topic(), world.unique("group")
    write(world, outgoing(topic, [b"in"]))
    member = Member(world.source(group), topic, Listener())
    poll_until([member], lambda: member.count() == 1)
    delivery = AtLeastOnce(member.source, world.sink(), flush_timeout_s=10)
    delivery.produce(outgoing(out, [b"out"]))
    delivery.commit({Partition(topic, 0): Position(1, "done")})
    assert list(held(world, out).values) == [b"out"]
    assert committed_by(world, topic, group, [member]) == {Partition(topic, 0): Position(1, "done")}


def test_a_read_only_batch_of_columns_is_accepted(world: World) -> None:
    topic, sink = world.topic(), world.sink()
    batch = outgoing(topic, [b"v"])
    assert not batch.partition.flags.writeable
    sink.produce(batch)
    sink.flush(10)
    assert np.array_equal(held(world, topic).offset, [0])


def committed_by(world: World, topic: str, group: str, leaving: Sequence[Member]) -> dict[Partition, Position | None]:
    """What the next member of the group is told, once these have left."""
    for member in leaving:
        member.source.close()
    listener = Listener()
    poll_until([Member(world.source(group), topic, listener)], lambda: bool(listener.owned))
    return listener.assigned
