"""Joining and cutting batches, as rows that wait for look-ahead need it."""

import numpy as np

from stream_ae.flow.columns import (
    Decoded,
    Layout,
    Shape,
    concat_decoded,
    concat_records,
    reject,
    select_decoded,
    select_records,
)
from stream_ae.records import Reason, RecordBatch, Rejection, SampleBatch


def records(first: int, count: int) -> RecordBatch:
    offset = np.arange(first, first + count)
    texts = [str(number).encode() for number in offset.tolist()]
    return RecordBatch("raw", np.zeros(count, np.int32), offset, offset * 10, texts, texts, [()] * count)


def decoded(rows: list[int], streams: list[str], count: int, tombstones: list[int], broken: list[int]) -> Decoded:
    """Samples in the given rows, the k-th of stream `streams[k]`, with value = row."""
    table = sorted(set(streams))
    row = np.array(rows, np.int32)
    samples = SampleBatch(
        row,
        np.array([table.index(stream) for stream in streams], np.int32),
        table,
        row.astype(np.int64),
        row.astype(np.float32)[:, None],
    )
    shape = np.zeros(count, np.uint8)
    shape[row] = Shape.NAMED
    where = np.arange(count, dtype=np.int32)
    rejections = [Rejection(row, Reason.EMPTY, "empty") for row in broken]
    return Decoded(samples, rejections, np.array(tombstones, np.int32), Layout(shape, where, where + 1))


def names(batch: Decoded) -> list[str]:
    return [batch.samples.streams[code] for code in batch.samples.stream]


def test_records_are_joined_in_the_order_given() -> None:
    joined = concat_records([records(0, 2), records(7, 3)])
    assert joined.offset.tolist() == [0, 1, 7, 8, 9]
    assert list(joined.values) == [b"0", b"1", b"7", b"8", b"9"]


def test_any_rows_of_a_batch_can_be_selected() -> None:
    batch = records(10, 6)
    for rows in ([], [0, 1, 2, 3, 4, 5], [2, 3], [0, 2, 5], [5, 0]):
        picked = select_records(batch, np.array(rows, np.int64))
        assert picked.offset.tolist() == [10 + row for row in rows]
        assert list(picked.keys) == list(picked.values) == [str(10 + row).encode() for row in rows]


def test_joining_decoded_batches_renumbers_rows_and_merges_stream_tables() -> None:
    one = decoded([0, 0, 2], ["b", "b", "a"], 4, [1], [3])
    two = decoded([0, 2], ["c", "b"], 3, [], [1])
    joined = concat_decoded([one, two])
    assert joined.samples.row.tolist() == [0, 0, 2, 4, 6]
    assert names(joined) == ["b", "b", "a", "c", "b"]
    assert len(set(joined.samples.streams)) == len(joined.samples.streams) == 3
    assert joined.tombstones.tolist() == [1]
    assert [rejection.row for rejection in joined.rejections] == [3, 5]
    assert len(joined) == 7


def test_selecting_rows_takes_everything_of_those_rows_along() -> None:
    batch = decoded([0, 0, 2, 5], ["b", "b", "a", "c"], 6, [1, 4], [3])
    picked = select_decoded(batch, np.array([0, 3, 4, 5]))
    assert picked.samples.row.tolist() == [0, 0, 3]
    assert names(picked) == ["b", "b", "c"]
    assert picked.tombstones.tolist() == [2]
    assert [rejection.row for rejection in picked.rejections] == [1]
    assert picked.layout.start.tolist() == [0, 3, 4, 5]


def test_cutting_and_joining_again_changes_nothing() -> None:
    batch = decoded([0, 0, 2, 5], ["b", "b", "a", "c"], 6, [1, 4], [3])
    again = concat_decoded([select_decoded(batch, np.arange(k, k + 2)) for k in (0, 2, 4)])
    assert names(again) == names(batch)
    assert again.samples.row.tolist() == batch.samples.row.tolist()
    assert again.tombstones.tolist() == batch.tombstones.tolist()
    assert again.rejections == batch.rejections


def test_a_row_rejected_later_loses_all_its_samples() -> None:
    batch = decoded([0, 0, 2, 5], ["b", "b", "a", "c"], 6, [1, 4], [3])
    late = reject(batch, [Rejection(0, Reason.TIMESTAMP_BACKWARDS, "backwards")])
    assert late.samples.row.tolist() == [2, 5]
    assert [(rejection.row, rejection.reason) for rejection in late.rejections] == [
        (0, "timestamp_backwards"),
        (3, "empty"),
    ]
    assert late.layout.shape[0] == Shape.NONE
