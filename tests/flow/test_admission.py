"""Time within a stream: what runs backwards is refused, what comes after a long silence starts afresh."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.admission import Arrivals, Rules, admit, broken_blocks
from stream_ae.flow.streams import StreamTable
from stream_ae.records import Int64, Reason

RULES = Rules(refuse_equal=False, ttl_ms=100)


def column(*numbers: int) -> Int64:
    return np.array(numbers, np.int64)


def arrivals(slots: list[int], times: list[int], at: list[int] | None = None) -> Arrivals:
    rows = np.arange(len(slots))
    return Arrivals(rows, column(*slots), column(*(at or [0] * len(slots))), column(*times), column(*times))


def test_a_record_older_than_the_one_before_it_is_refused_and_the_next_good_one_is_not() -> None:
    _, refused = admit(arrivals([0, 0, 0, 0], [10, 5, 9, 11]), StreamTable(), RULES)
    assert [(rejection.row, rejection.reason) for rejection in refused] == [
        (1, Reason.TIMESTAMP_BACKWARDS),
        (2, Reason.TIMESTAMP_BACKWARDS),
    ]
    assert "older than that of the stream's sample before it, 10 ms" in refused[0].message


def test_streams_do_not_see_each_others_time() -> None:
    _, refused = admit(arrivals([0, 1, 0, 1], [10, 5, 11, 6]), StreamTable(), RULES)
    assert refused == []


def test_the_newest_time_is_remembered_from_batch_to_batch() -> None:
    table = StreamTable()
    admit(arrivals([0, 0], [10, 20]), table, RULES)
    _, refused = admit(arrivals([0, 0], [15, 20]), table, RULES)
    assert [rejection.row for rejection in refused] == [0]


@pytest.mark.parametrize(("refuse_equal", "rows"), [(False, []), (True, [1])])
def test_an_equal_timestamp_is_refused_only_where_asked(refuse_equal: bool, rows: list[int]) -> None:
    _, refused = admit(arrivals([0, 0, 0], [10, 10, 11]), StreamTable(), Rules(refuse_equal, 100))
    assert [rejection.row for rejection in refused] == rows
    assert all(rejection.reason is Reason.DUPLICATE_TIMESTAMP for rejection in refused)


def test_a_stream_starts_afresh_after_a_silence_and_may_then_start_at_any_time() -> None:
    fresh, refused = admit(arrivals([0, 0, 0, 0], [10, 11, 3, 4], at=[0, 100, 201, 202]), StreamTable(), RULES)
    assert fresh.tolist() == [True, False, True, False]
    assert refused == []


def test_a_refused_record_is_a_sign_of_life() -> None:
    fresh, refused = admit(arrivals([0, 0, 0], [10, 3, 11], at=[0, 90, 180]), StreamTable(), RULES)
    assert fresh.tolist() == [True, False, False]
    assert [rejection.row for rejection in refused] == [1]


def test_a_block_that_runs_backwards_within_itself_is_named_once() -> None:
    broken = broken_blocks(column(0, 0, 0, 1, 1, 2), column(1, 3, 2, 5, 5, 1), RULES)
    assert [(rejection.row, rejection.reason) for rejection in broken] == [(0, Reason.TIMESTAMP_BACKWARDS)]
    broken = broken_blocks(column(0, 0, 1, 1), column(3, 2, 5, 5), Rules(refuse_equal=True, ttl_ms=100))
    assert [rejection.reason for rejection in broken] == [Reason.TIMESTAMP_BACKWARDS, Reason.DUPLICATE_TIMESTAMP]


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 60)), max_size=25),
    cut=st.integers(0, 25),
    refuse_equal=st.booleans(),
)
def test_columns_decide_as_one_record_after_another_would(
    records: list[tuple[int, int, int]], cut: int, refuse_equal: bool
) -> None:
    rules = Rules(refuse_equal, ttl_ms=50)
    slots, times, steps = [list(values) for values in zip(*records, strict=True)] or [[], [], []]
    at = np.cumsum(steps, dtype=np.int64).tolist()
    table = StreamTable()
    fresh: list[bool] = []
    refused: list[int] = []
    for part in (slice(0, cut), slice(cut, None)):
        some_fresh, some_refused = admit(arrivals(slots[part], times[part], at[part]), table, rules)
        refused += [rejection.row + len(fresh) for rejection in some_refused]
        fresh += some_fresh.tolist()
    newest: dict[int, int] = {}
    seen: dict[int, int] = {}
    for row, (slot, time, now) in enumerate(zip(slots, times, at, strict=True)):
        starts = slot not in seen or now - seen[slot] > 50
        seen[slot] = now
        backwards = not starts and (time < newest[slot] or (refuse_equal and time == newest[slot]))
        assert fresh[row] == starts
        assert (row in refused) == backwards
        if not backwards:
            newest[slot] = time
