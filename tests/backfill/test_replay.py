"""A span answered again says what workers that read the whole log said of it, wherever it begins and ends."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.backfill.replay import Source, replayed, rewind_before
from stream_ae.flow.offsets import Rewind
from stream_ae.ports import OffsetRange
from stream_ae.records import Partition
from stream_ae.settings import Settings
from tests.backfill.log_reader import LogReader
from tests.flow.raw_log import Left, MeanModel, Raw
from tests.flow.reference import expected
from tests.flow.test_pipeline_laws import START_MS, TTL_MS, log_of, settings_of

TOPIC = Partition("raw", 0)


def source_of(reader: LogReader, model: MeanModel, options: Settings, tables: bool = False) -> Source:
    return Source(reader, model, None, options, "stream-ae/test", tables)


def left_by(source: Source, span: OffsetRange) -> Left:
    left, reached = Left(), span.begin
    for said in replayed(source, span):
        left.add(said.outputs)
        assert said.reached >= reached
        reached = said.reached
    return left


@pytest.mark.parametrize("lookahead", [0, 3])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_span_is_answered_as_within_the_whole_log(seed: int, lookahead: int) -> None:
    random = Random(seed)
    log, model = log_of(random), MeanModel(lookahead=lookahead, start_threshold=4.0)
    right = expected(log, model, TTL_MS, close_after=3)
    source = source_of(LogReader(log), model, settings_of(max_records=random.choice([1, 3, 100])))
    for number in {raw.partition for raw in log}:
        end = max(raw.offset for raw in log if raw.partition == number) + 1
        begin = random.randrange(end)
        span = OffsetRange(Partition("raw", number), begin, random.randrange(begin + 1, end + 1))
        found = left_by(source, span)
        assert found.of(number) == {at: trace for at, trace in right.of(number, begin).items() if at < span.end}
        assert found.events_of(number) == [event for event in right.events_of(number, begin) if event.offset < span.end]


def steady(count: int, streams: str = "s", step_ms: int = 10) -> list[Raw]:
    """One record after another, of each stream in turn."""
    return [
        Raw(at, 0, streams[at % len(streams)], START_MS + step_ms * at, (START_MS + step_ms * at,), (float(at % 7),))
        for at in range(count)
    ]


def test_no_more_is_read_before_a_span_than_its_windows_may_need() -> None:
    # Of a stream that sends every 10 ms and lives for 100, two lives are looked at: 20 records, of which 6 are needed.
    reader = LogReader(steady(1000))
    source = source_of(reader, MeanModel(), settings_of(max_records=100))
    assert rewind_before(source, OffsetRange(TOPIC, 500, 600)) == Rewind(494, START_MS + 4940)
    assert reader.records_read == 20 + 1


def test_where_streams_are_slow_it_is_read_from_further_back() -> None:
    # A window and a course of events are 6 samples, 90 ms apart: more than two lives of 100 ms.
    reader = LogReader(steady(1000, step_ms=90))
    source = source_of(reader, MeanModel(), settings_of(max_records=100))
    assert rewind_before(source, OffsetRange(TOPIC, 500, 600)).offset == 494


def test_what_retention_has_left_is_all_that_windows_are_rebuilt_from() -> None:
    reader = LogReader(steady(1000), begins={0: 498})
    source = source_of(reader, MeanModel(), settings_of(max_records=100))
    assert rewind_before(source, OffsetRange(TOPIC, 500, 600)).offset == 498


def test_records_beyond_the_span_are_looked_ahead_to_and_not_answered() -> None:
    reader = LogReader(steady(100))
    source = source_of(reader, MeanModel(lookahead=2), settings_of(max_records=4))
    right = expected(steady(100), MeanModel(lookahead=2), TTL_MS, close_after=3)
    found = left_by(source, OffsetRange(TOPIC, 10, 20)).of(0)
    assert found == {at: trace for at, trace in right.of(0).items() if 10 <= at < 20}
    assert reader.records_read < 40


def test_columns_say_what_records_say() -> None:
    log = [*steady(20), Raw(20, broken=True, kafka_ms=START_MS + 200)]
    source = source_of(LogReader(log), MeanModel(), settings_of(max_records=8), tables=True)
    said = [one.outputs for one in replayed(source, OffsetRange(TOPIC, 5, 21))]
    tables = [table for outputs in said for table in outputs.tables]
    assert [at for table in tables for at in table.offset.tolist()] == list(range(5, 20))
    assert [one for table in tables for one in table.refused] == [(0, 20, "not_json")]
    left = Left()
    for outputs in said:
        left.add(outputs)
    scores = {at: score for table in tables for at, score in zip(table.offset.tolist(), table.score, strict=True)}
    assert {at: f"{score:.6g}" for at, score in scores.items()} == {
        at: trace.score for at, trace in left.of(0).items() if not trace.reason
    }
