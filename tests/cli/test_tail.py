"""`tail`: the newest records of all partitions, then what arrives."""

from itertools import islice

import numpy as np

from stream_ae.cli.tail import newest
from stream_ae.records import OutgoingBatch, RecordBatch
from stream_ae.testing import InMemoryBroker, InMemoryReader, InMemorySink


def broker_with(values: list[tuple[int, int]]) -> InMemoryBroker:
    """Records as (partition, Kafka time); the value is the time."""
    broker = InMemoryBroker()
    broker.create_topic("cleaned", partitions=2)
    send(broker, values)
    return broker


def send(broker: InMemoryBroker, values: list[tuple[int, int]]) -> None:
    partition = np.array([partition for partition, _ in values], np.int32)
    times = np.array([time_ms for _, time_ms in values], np.int64)
    texts = [str(time_ms).encode() for _, time_ms in values]
    nothing = [None] * len(values)
    InMemorySink(broker).produce(OutgoingBatch("cleaned", partition, times, nothing, texts, [()] * len(values)))


def texts(rows: list[tuple[RecordBatch, int]]) -> list[str]:
    return [(batch.values[row] or b"").decode() for batch, row in rows]


def test_the_newest_of_all_partitions_come_in_the_order_of_their_times() -> None:
    reader = InMemoryReader(broker_with([(0, 10), (0, 30), (1, 20), (1, 40), (1, 50)]))
    assert texts(list(newest(reader, "cleaned", 3, follow=False))) == ["30", "40", "50"]


def test_fewer_than_asked_are_all_there_are() -> None:
    reader = InMemoryReader(broker_with([(0, 10)]))
    assert texts(list(newest(reader, "cleaned", 5, follow=False))) == ["10"]
    assert list(newest(reader, "cleaned", 0, follow=False)) == []


def test_following_goes_on_with_what_arrives_and_repeats_nothing() -> None:
    broker = broker_with([(0, 10), (1, 20)])
    rows = newest(InMemoryReader(broker), "cleaned", 1, follow=True)
    assert texts(list(islice(rows, 1))) == ["20"]
    send(broker, [(0, 30)])
    assert texts(list(islice(rows, 1))) == ["30"]
    send(broker, [(1, 40), (1, 50)])
    assert texts(list(islice(rows, 2))) == ["40", "50"]
