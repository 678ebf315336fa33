"""Slots: one for each stream of a partition, used again after their stream is forgotten."""

import numpy as np

from stream_ae.flow.streams import StreamTable
from stream_ae.records import Int32


def codes(*numbers: int) -> Int32:
    return np.array(numbers, np.int32)


def test_a_stream_keeps_its_slot_and_the_same_name_in_another_partition_is_another_stream() -> None:
    table = StreamTable()
    first = table.slots_of(codes(0, 0, 1), codes(0, 1, 0), ["a", "b"])
    again = table.slots_of(codes(0, 0, 1), codes(1, 0, 1), ["b", "a"])
    assert len(set(first.tolist())) == 3
    assert again.tolist() == first.tolist()
    assert len(table) == 3


def test_a_released_slot_is_used_again_for_an_unknown_stream() -> None:
    table = StreamTable()
    slot = table.slots_of(codes(0), codes(0), ["a"])
    table.known[slot] = True
    table.release(slot)
    assert len(table) == 0
    assert table.slots_of(codes(3), codes(0), ["b"]).tolist() == slot.tolist()
    assert not table.known[slot].any()


def test_the_table_grows_as_streams_come() -> None:
    table = StreamTable()
    names = [f"s{number}" for number in range(1000)]
    slots = table.slots_of(np.zeros(1000, np.int32), np.arange(1000, dtype=np.int32), names)
    assert sorted(slots.tolist()) == list(range(1000))
    assert table.capacity >= 1000
    assert (table.partition[slots] == 0).all()


def test_streams_of_some_partitions_are_found() -> None:
    table = StreamTable()
    slots = table.slots_of(codes(0, 1, 2), codes(0, 0, 0), ["a"])
    assert table.held_in([0, 2]).tolist() == sorted(slots[[0, 2]].tolist())
    assert table.held().tolist() == sorted(slots.tolist())


def test_no_records_have_no_slots() -> None:
    assert len(StreamTable().slots_of(codes(), codes(), [])) == 0
