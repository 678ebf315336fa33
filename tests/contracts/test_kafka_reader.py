"""The contract of RecordReader."""

import pytest

from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange
from stream_ae.records import Partition
from tests.contracts.worlds import World, joined, outgoing, write

DAY_MS = 1_700_000_000_000


def test_ranges_are_what_each_partition_holds(world: World) -> None:
    topic = world.topic(partitions=2)
    write(world, outgoing(topic, [b"a", b"b", b"c"], partition=[0, 0, 1]))
    assert world.reader().ranges(topic) == [
        OffsetRange(Partition(topic, 0), 0, 2),
        OffsetRange(Partition(topic, 1), 0, 1),
    ]


def test_ranges_by_time_hold_start_and_leave_out_end(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, [b"%d" % i for i in range(10)], timestamp_ms=[DAY_MS + 1000 * i for i in range(10)]))
    reader = world.reader()
    assert reader.ranges(topic, start_ms=DAY_MS + 2000, end_ms=DAY_MS + 5000) == [
        OffsetRange(Partition(topic, 0), 2, 5)
    ]
    assert reader.ranges(topic, start_ms=DAY_MS + 7500) == [OffsetRange(Partition(topic, 0), 8, 10)]
    assert reader.ranges(topic, end_ms=DAY_MS + 1) == [OffsetRange(Partition(topic, 0), 0, 1)]


def test_a_time_after_the_last_record_gives_an_empty_range(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, [b"a"], timestamp_ms=DAY_MS))
    assert world.reader().ranges(topic, start_ms=DAY_MS + 1) == [OffsetRange(Partition(topic, 0), 1, 1)]


def test_every_record_of_the_ranges_is_read_once_and_in_order(world: World) -> None:
    topic = world.topic(partitions=3)
    write(world, outgoing(topic, [b"%d" % i for i in range(3000)], partition=[i % 3 for i in range(3000)]))
    reader = world.reader()
    batches = list(reader.read(reader.ranges(topic), max_records=700))
    assert all(0 < len(batch) <= 700 for batch in batches)
    records = joined(batches)
    for number in range(3):
        assert records.offset[records.partition == number].tolist() == list(range(1000))


def test_a_part_of_a_range_is_read_exactly(world: World) -> None:
    topic = world.topic(partitions=2)
    write(world, outgoing(topic, [b"%d" % i for i in range(20)], partition=[i % 2 for i in range(20)]))
    ranges = [OffsetRange(Partition(topic, 0), 3, 5), OffsetRange(Partition(topic, 1), 10, 10)]
    records = joined(list(world.reader().read(ranges)))
    assert records.offset.tolist() == [3, 4]
    assert records.partition.tolist() == [0, 0]


def test_empty_ranges_give_nothing_at_once(world: World) -> None:
    topic = world.topic(partitions=2)
    reader = world.reader()
    assert list(reader.read(reader.ranges(topic))) == []
    assert list(reader.read([])) == []


def test_a_reader_reads_again_and_other_topics_too(world: World) -> None:
    topics = [world.topic(), world.topic()]
    for topic in topics:
        write(world, outgoing(topic, [topic.encode()] * 3))
    reader = world.reader()
    ranges = [r for topic in topics for r in reader.ranges(topic)]
    for _ in range(2):
        values = [value for batch in reader.read(ranges) for value in batch.values]
        assert sorted(values, key=str) == sorted([t.encode() for t in topics for _ in range(3)], key=str)


def test_a_reader_given_up_halfway_can_be_used_again(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, [b"%d" % i for i in range(100)]))
    reader = world.reader()
    halfway = reader.read(reader.ranges(topic), max_records=10)
    assert next(halfway).offset[0] == 0
    halfway.close()  # type: ignore[attr-defined]
    assert len(joined(list(reader.read(reader.ranges(topic))))) == 100


def test_a_topic_that_does_not_exist_is_a_config_error(world: World) -> None:
    with pytest.raises(ConfigError, match="does-not-exist"):
        world.reader().ranges(world.unique("does-not-exist"))
