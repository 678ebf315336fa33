"""Batches close on count, bytes or age; nothing is lost or reordered on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.batch import Batcher, Closed
from stream_ae.records import RecordBatch
from stream_ae.settings import BatchSettings


def records(first: int, count: int, size_bytes: int = 10) -> RecordBatch:
    offset = np.arange(first, first + count)
    partition = (offset % 2).astype(np.int32)
    return RecordBatch("raw", partition, offset, offset, [None] * count, [b"x" * size_bytes] * count, [()] * count)


def offsets(closed: Closed | None) -> list[int]:
    assert closed is not None
    return list(closed.records.offset.tolist())


def test_a_batch_closes_when_it_is_full_and_the_rest_stays() -> None:
    batcher = Batcher(BatchSettings(max_records=4))
    assert batcher.add(records(0, 3), 0.0) == []
    assert [offsets(closed) for closed in batcher.add(records(3, 6), 0.0)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batcher.records == 1
    assert offsets(batcher.close(0.0, device_idle=True)) == [8]


def test_a_batch_closes_on_its_bytes() -> None:
    batcher = Batcher(BatchSettings(max_bytes=25))
    assert [offsets(closed) for closed in batcher.add(records(0, 5), 0.0)] == [[0, 1], [2, 3]]
    assert batcher.size_bytes == 10


def test_a_record_larger_than_a_batch_goes_alone() -> None:
    batcher = Batcher(BatchSettings(max_bytes=25))
    batcher.add(records(0, 1), 0.0)
    assert [offsets(closed) for closed in batcher.add(records(1, 1, size_bytes=99), 0.0)] == [[0], [1]]
    assert (batcher.records, batcher.size_bytes) == (0, 0)


def test_a_batch_waits_for_company_until_its_oldest_record_is_too_old() -> None:
    batcher = Batcher(BatchSettings(max_age_s=0.5))
    batcher.add(records(0, 1), 10.0)
    batcher.add(records(1, 1), 10.4)
    assert batcher.close(10.4, device_idle=False) is None
    assert offsets(batcher.close(10.5, device_idle=False)) == [0, 1]
    assert batcher.close(99.0, device_idle=True) is None


def test_an_idle_device_gets_what_there_is() -> None:
    batcher = Batcher(BatchSettings(max_age_s=0.5))
    batcher.add(records(0, 1), 10.0)
    assert offsets(batcher.close(10.0, device_idle=True)) == [0]


def test_dropped_partitions_leave_the_buffer_and_its_count() -> None:
    batcher = Batcher(BatchSettings())
    batcher.add(records(0, 5), 0.0)
    batcher.drop({1})
    assert (batcher.records, batcher.size_bytes) == (3, 30)
    assert offsets(batcher.close(0.0, device_idle=True)) == [0, 2, 4]
    batcher.drop({0})
    assert batcher.close(0.0, device_idle=True) is None


@settings(max_examples=80, deadline=None)
@given(polls=st.lists(st.integers(0, 9), max_size=8), max_records=st.integers(1, 7), max_bytes=st.integers(1, 60))
def test_every_record_is_in_exactly_one_batch_within_the_limits(
    polls: list[int], max_records: int, max_bytes: int
) -> None:
    batcher = Batcher(BatchSettings(max_records=max_records, max_bytes=max_bytes))
    found: list[int] = []
    first = 0
    for count in polls:
        closed = batcher.add(records(first, count), 0.0)
        first += count
        for batch in closed:
            assert len(batch.records) <= max_records
            assert batch.size_bytes <= max_bytes or len(batch.records) == 1
            assert batch.size_bytes == 10 * len(batch.records)
            found += offsets(batch)
    if batcher.records:
        found += offsets(batcher.close(0.0, device_idle=True))
    assert found == list(range(first))


@pytest.mark.parametrize("empty", [records(0, 0)])
def test_an_empty_poll_changes_nothing(empty: RecordBatch) -> None:
    batcher = Batcher(BatchSettings())
    assert batcher.add(empty, 0.0) == []
    assert batcher.close(9.0, device_idle=True) is None
