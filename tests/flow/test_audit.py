"""The audit finds what was lost and what was doubled, and names it."""

from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.flow.audit import audit
from stream_ae.flow.headers import SOURCE, Source
from stream_ae.records import Headers, RecordBatch


def batch(topic: str, partition: Sequence[int], offset: Sequence[int], headers: Sequence[Headers]) -> RecordBatch:
    count = len(offset)
    where = np.array(partition, np.int32), np.array(offset, np.int64)
    return RecordBatch(topic, *where, np.zeros(count, np.int64), [None] * count, [b""] * count, headers)


def raw(*places: tuple[int, int]) -> RecordBatch:
    return batch("raw", [p for p, _ in places], [o for _, o in places], [()] * len(places))


def outputs(*sources: str) -> RecordBatch:
    headers = [((SOURCE, source.encode()),) for source in sources]
    return batch("cleaned", [0] * len(sources), list(range(len(sources))), headers)


def test_one_trace_of_each_record_is_clean() -> None:
    report = audit([raw((0, 5), (1, 7)), raw((0, 6))], [outputs("raw/1/7", "raw/0/5")], [outputs("raw/0/6")])
    assert (report.raw, report.cleaned, report.dead_letters) == (3, 2, 1)
    assert (report.lost, report.doubled, report.foreign) == (0, 0, 0)
    assert report.clean
    assert report.first_lost is None
    assert report.first_doubled is None


def test_a_removed_record_is_found_and_named() -> None:
    report = audit([raw((0, 5), (1, 7), (1, 8))], [outputs("raw/0/5", "raw/1/7")], [])
    assert report.lost == 1
    assert report.first_lost == Source("raw", 1, 8)
    assert str(report.first_lost) == "raw/1/8"
    assert not report.clean


def test_a_doubled_record_is_found_and_named_across_cleaned_and_dead_letters() -> None:
    report = audit([raw((0, 5), (0, 6))], [outputs("raw/0/5", "raw/0/6")], [outputs("raw/0/6")])
    assert report.doubled == 1
    assert report.first_doubled == Source("raw", 0, 6)
    assert not report.clean


def test_a_record_with_a_thousand_traces_counts_once_as_doubled() -> None:
    report = audit([raw((0, 5))], [outputs(*["raw/0/5"] * 1000)], [])
    assert (report.lost, report.doubled) == (0, 1)


def test_gaps_in_the_log_are_not_lost_records() -> None:
    report = audit([raw((0, 5), (0, 900))], [outputs("raw/0/5", "raw/0/900")], [])
    assert report.clean


def test_outputs_of_other_records_are_foreign() -> None:
    strangers = [
        "other/0/5",
        "raw/3/5",
        "raw/0/4",
        "raw/0/6",
        "raw/0/900",
        "raw/0/-1",
        "raw/0",
        "",
        "raw/x/5",
        "raw/0/²",
    ]
    nameless = batch("cleaned", [0], [0], [()])
    report = audit([raw((0, 5), (0, 7))], [outputs("raw/0/5", "raw/0/7", *strangers), nameless], [])
    assert report.foreign == len(strangers) + 1
    assert report.clean


def test_nothing_in_and_nothing_out_is_clean() -> None:
    assert audit([], [], []).clean


def test_raw_is_read_before_the_outputs_and_everything_once() -> None:
    order: list[str] = []

    def reading(name: str, *batches: RecordBatch) -> Iterator[RecordBatch]:
        order.append(name)
        yield from batches

    audit(reading("raw", raw((0, 1))), reading("cleaned", outputs("raw/0/1")), reading("dead"))
    assert order == ["raw", "cleaned", "dead"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 3)), unique_by=lambda x: x[:2]))
def test_the_count_of_traces_is_right_in_any_order_of_offsets(places: list[tuple[int, int, int]]) -> None:
    traces = [f"raw/{p}/{o}" for p, o, times in places for _ in range(times)]
    report = audit([raw((p, o)) for p, o, _ in places], [outputs(*traces)], [])
    assert report.lost == sum(times == 0 for _, _, times in places)
    assert report.doubled == sum(times > 1 for _, _, times in places)
    lost = sorted(Source("raw", p, o) for p, o, times in places if times == 0)
    assert report.first_lost == (lost[0] if lost else None)
    assert report.foreign == 0
