"""Laws of the flow: whatever the chunks, the rhythm and the crashes, what comes out depends on the log alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.records import Partition, Position
from stream_ae.settings import BatchSettings, Settings
from tests.flow.raw_log import Bench, Left, MeanModel, Raw, expected

TTL_MS = 100
PARTITIONS = (0, 1)
START_MS = 1_700_000_000_000  # small numbers would be read as seconds


def settings_of(max_records: int) -> Settings:
    batch = BatchSettings(max_records=max_records, state_ttl_s=TTL_MS / 1000, idle_flush_s=5.0)
    return Settings(batch=batch)


@st.composite
def logs(draw: st.DrawFn) -> list[Raw]:
    """Two partitions, three streams; time mostly runs forward, offsets have gaps, some records are broken."""
    offsets, kafka_ms, log = [0, 0], [START_MS, START_MS], []
    for _ in range(draw(st.integers(0, 30))):
        partition = draw(st.sampled_from(PARTITIONS))
        offsets[partition] += draw(st.sampled_from([1, 1, 1, 3]))
        kafka_ms[partition] += draw(st.sampled_from([0, 1, 10, 10, 60, -40, 150]))
        kind = draw(st.sampled_from(["sample"] * 8 + ["block", "tombstone", "broken"]))
        time = kafka_ms[partition] + draw(st.sampled_from([0, 0, 0, -30]))
        count = 3 if kind == "block" else 1
        times = tuple(time + step for step in draw(st.sampled_from([(0, 1, 2), (0, 0, 0), (0, 5, 3)]))[:count])
        values = tuple(float(draw(st.integers(0, 9))) for _ in range(count))
        log.append(
            Raw(
                offsets[partition],
                partition,
                draw(st.sampled_from("xyz")),
                kafka_ms[partition],
                times,
                None if kind == "tombstone" else values,
                kind == "broken",
            )
        )
    return log


def assert_same(found: Left, right: Left, partition: int, since: int = 0) -> None:
    assert found.of(partition, since) == right.of(partition, since)
    assert found.events_of(partition, since) == right.events_of(partition, since)


@pytest.mark.parametrize("lookahead", [0, 3])
@settings(max_examples=120, deadline=None)
@given(data=st.data(), log=logs(), max_records=st.integers(1, 12))
def test_any_chunks_and_any_rhythm_give_what_one_record_after_another_gives(
    lookahead: int, data: st.DataObject, log: list[Raw], max_records: int
) -> None:
    model = MeanModel(lookahead=lookahead)
    bench = Bench(settings_of(max_records), model, {Partition("raw", number): None for number in PARTITIONS})
    rest = list(log)
    while rest:
        count = data.draw(st.integers(1, 10))
        bench.feed(rest[:count])
        rest = rest[count:]
        for step in data.draw(st.lists(st.sampled_from(["take", "take idle", "complete"]), max_size=4)):
            if step == "complete" and bench.works:
                bench.complete()
            elif step != "complete" and len(bench.works) < 2:
                bench.take(device_idle=step == "take idle")
    bench.run()
    bench.run(now_s=10.0)  # the pending samples of idle streams
    right = expected(log, model, TTL_MS)
    for partition in PARTITIONS:
        assert_same(bench.left, right, partition)
    assert sum(outputs.records for outputs in bench.counts) == len(log)
    positions = bench.pipeline.positions()
    for partition in PARTITIONS:
        ends = [raw.offset + 1 for raw in log if raw.partition == partition]
        if ends:
            assert positions[Partition("raw", partition)].offset == ends[-1]


@pytest.mark.parametrize("lookahead", [0, 3])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), log=logs(), max_records=st.integers(1, 12))
def test_after_any_crash_the_output_from_the_committed_offset_on_is_what_it_would_have_been(
    lookahead: int, data: st.DataObject, log: list[Raw], max_records: int
) -> None:
    model = MeanModel(lookahead=lookahead)
    committed: dict[Partition, Position | None] = {Partition("raw", number): None for number in PARTITIONS}
    right = expected(log, model, TTL_MS)
    for last in (False, False, True):
        bench = Bench(settings_of(max_records), model, committed)
        live = {number: _offset(committed[Partition("raw", number)]) for number in PARTITIONS}
        rest = _from(log, bench.starts, live)
        stop = len(rest) if last else data.draw(st.integers(0, len(rest)))
        fed = 0
        while fed < stop:
            count = data.draw(st.integers(1, 10))
            bench.feed(rest[fed : min(fed + count, stop)])
            fed += count
            if data.draw(st.booleans()):
                bench.run()
                bench.commit()
        if last:
            bench.run()
            bench.run(now_s=10.0)
        for number in PARTITIONS:
            for offset, trace in bench.left.of(number).items():
                assert offset >= live[number], "a record below the committed offset left again"
                assert trace == right.of(number)[offset]
            if last:
                assert_same(bench.left, right, number, live[number])
                assert not [event for event in bench.left.events_of(number) if event.offset < live[number]]
        committed = bench.committed


@settings(max_examples=100, deadline=None)
@given(data=st.data(), log=logs(), lookahead=st.sampled_from([0, 1, 3]))
def test_the_committed_offset_never_passes_a_record_that_has_not_left(
    data: st.DataObject, log: list[Raw], lookahead: int
) -> None:
    model = MeanModel(lookahead=lookahead)
    bench = Bench(settings_of(4), model, {Partition("raw", number): None for number in PARTITIONS})
    for begin in range(0, len(log), 3):
        bench.feed(log[begin : begin + 3])
        bench.take()
        if len(bench.works) == 2 or (bench.works and data.draw(st.booleans())):
            bench.complete()
        for partition, position in bench.pipeline.positions().items():
            left = set(bench.left.of(partition.number))
            before = {raw.offset for raw in log if raw.partition == partition.number and raw.offset < position.offset}
            assert before == left


def _offset(position: Position | None) -> int:
    return position.offset if position is not None else 0


def _from(log: list[Raw], starts: dict[Partition, int], live: dict[int, int]) -> list[Raw]:
    """What a source reads that starts where the pipeline asked, else at the committed offset."""
    begin = {number: starts.get(Partition("raw", number), live[number]) for number in PARTITIONS}
    return [raw for raw in log if raw.offset >= begin[raw.partition]]
