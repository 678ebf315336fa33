"""Laws of the flow: whatever the chunks, the rhythm and the crashes, what comes out depends on the log alone."""

from collections import deque
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import TooManyDeadLetters
from stream_ae.records import Partition, Position
from stream_ae.settings import BatchSettings, DeadLetterSettings, DecideSettings, Settings
from tests.flow.raw_log import Bench, Left, MeanModel, Raw
from tests.flow.reference import expected

TTL_MS = 100
PARTITIONS = (0, 1)
NEVER = 2**62
START_MS = 1_700_000_000_000  # small numbers would be read as seconds


LIMITS = DeadLetterSettings(max_in_a_row=4, max_share=0.5, share_over=8)
NO_LIMITS = DeadLetterSettings()
KINDS = ("sample",) * 8 + ("block", "tombstone", "broken")


def settings_of(max_records: int, limits: DeadLetterSettings = NO_LIMITS, close_after: int = 3) -> Settings:
    batch = BatchSettings(max_records=max_records, state_ttl_s=TTL_MS / 1000, idle_flush_s=5.0)
    return Settings(batch=batch, dead_letters=limits, decide=DecideSettings(close_after=close_after))


def log_of(random: Random, kinds: tuple[str, ...] = KINDS) -> list[Raw]:
    """Two partitions, three streams; time mostly runs forward, offsets have gaps, some records are broken."""
    offsets, kafka_ms, log = [0, 0], [START_MS, START_MS], []
    # A lone stream asks for no more of the log than it needs; disorder makes partition time differ from the records'.
    streams = random.choice(["x", "xy", "xxyz"])
    steps = random.choice([[0, 1, 5, 10, 30, -40, 80, 150], [0, 5, 90, -90, 60, -60], [1, 2]])
    for _ in range(random.choice([3, 10, 30, 60])):
        partition = random.choice(PARTITIONS)
        offsets[partition] += random.choice([1, 1, 1, 3])
        kafka_ms[partition] += random.choice(steps)
        kind = random.choice(kinds)
        time = kafka_ms[partition] + random.choice([0, 0, 0, -30])
        count = 3 if kind == "block" else 1
        times = tuple(time + step for step in random.choice([(0, 1, 2), (0, 0, 0), (0, 5, 3)])[:count])
        values = tuple(float(random.choice([0, 0, 1, 2, 5, 9])) for _ in range(count))
        stream, tombstone = random.choice(streams), kind == "tombstone"
        where = (offsets[partition], partition, stream, kafka_ms[partition])
        log.append(Raw(*where, times, None if tombstone else values, kind == "broken"))
    return log


def assert_same(found: Left, right: Left, partition: int, since: int = 0) -> None:
    assert found.of(partition, since) == right.of(partition, since)
    assert found.events_of(partition, since) == right.events_of(partition, since)


@pytest.mark.parametrize("lookahead", [0, 3])
@settings(max_examples=40, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_any_chunks_and_any_rhythm_give_what_one_record_after_another_gives(lookahead: int, random: Random) -> None:
    log, model, close_after = log_of(random), MeanModel(lookahead=lookahead, start_threshold=3.0), random.randint(1, 4)
    bench = Bench(settings_of(random.randint(1, 12), close_after=close_after), model, nothing_committed())
    for part in chunks(log, random):
        bench.feed(part)
        for _ in range(random.randint(0, 4)):
            if random.random() < 0.4 and bench.works:
                bench.complete()
            elif len(bench.works) < 2:
                bench.take(device_idle=random.random() < 0.5)
    bench.run()
    bench.run(now_s=10.0)  # the pending samples of idle streams
    right = expected(log, model, TTL_MS, close_after)
    positions = bench.pipeline.positions()
    for number in PARTITIONS:
        assert_same(bench.left, right, number)
        ends = [raw.offset + 1 for raw in log if raw.partition == number]
        assert not ends or positions[Partition("raw", number)].offset == ends[-1]
    assert sum(outputs.records for outputs in bench.counts) == len(log)


@pytest.mark.parametrize("lookahead", [0, 1, 3])
@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_after_any_crash_the_output_from_the_committed_offset_on_is_what_it_would_have_been(
    lookahead: int, random: Random
) -> None:
    log, model, close_after = log_of(random), MeanModel(lookahead=lookahead, start_threshold=3.0), random.randint(1, 4)
    right = expected(log, model, TTL_MS, close_after)
    committed = nothing_committed()
    for _ in range(4):
        bench = Bench(settings_of(random.randint(1, 12), close_after=close_after), model, committed)
        live = {number: _offset(committed[Partition("raw", number)]) for number in PARTITIONS}
        rest = _from(log, bench.starts, live)
        for part in chunks(rest[: random.randint(0, len(rest))], random):
            bench.feed(part)
            bench.take()
            if bench.works and random.random() < 0.7:
                bench.complete()
            if random.random() < 0.3:
                bench.commit()
        for number in PARTITIONS:
            assert_begins(bench.left, right, number, live[number])
        committed = bench.committed
    bench = Bench(settings_of(random.randint(1, 12), close_after=close_after), model, committed)
    live = {number: _offset(committed[Partition("raw", number)]) for number in PARTITIONS}
    bench.feed(_from(log, bench.starts, live))
    bench.run()
    bench.run(now_s=10.0)
    for number in PARTITIONS:
        assert min(bench.left.of(number), default=live[number]) >= live[number], "a committed record left again"
        assert_same(bench.left, right, number, live[number])


@pytest.mark.parametrize("lookahead", [0, 1, 3])
@settings(max_examples=40, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_the_committed_offset_never_passes_a_record_that_has_not_left(lookahead: int, random: Random) -> None:
    log = log_of(random)
    bench = Bench(settings_of(4), MeanModel(lookahead=lookahead, start_threshold=3.0), nothing_committed())
    for part in chunks(log, random):
        bench.feed(part)
        bench.take()
        if len(bench.works) == 2 or (bench.works and random.random() < 0.5):
            bench.complete()
        for partition, position in bench.pipeline.positions().items():
            before = {raw.offset for raw in log if raw.partition == partition.number and raw.offset < position.offset}
            assert before == set(bench.left.of(partition.number))


@pytest.mark.parametrize("lookahead", [0, 1])
@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_however_often_it_is_restarted_a_worker_stops_before_the_same_record(lookahead: int, random: Random) -> None:
    log = log_of(random, (*KINDS, *["broken"] * random.choice([2, 5, 9])))
    model, committed = MeanModel(lookahead=lookahead, start_threshold=3.0), nothing_committed()
    right = expected(log, model, TTL_MS)
    ends = {number: one_too_many(right, number) for number in PARTITIONS}
    stopped, starts = False, random.randint(1, 6)
    for start in range(starts):
        bench = Bench(settings_of(random.randint(1, 12), LIMITS), model, committed)
        live = {number: _offset(committed[Partition("raw", number)]) for number in PARTITIONS}
        rest = _from(log, bench.starts, live)
        try:
            for part in chunks(rest if start == starts - 1 else rest[: random.randint(0, len(rest))], random):
                bench.feed(part)
                bench.take()
                if bench.works and random.random() < 0.7:
                    bench.complete()
                if random.random() < 0.3:
                    bench.commit()
            if start == starts - 1:
                bench.run()
                bench.run(now_s=10.0)
        except TooManyDeadLetters:
            stopped = True
            bench.commit()  # as the worker does
        for number in PARTITIONS:
            assert all(offset < ends[number] for offset in bench.left.of(number))
        committed = bench.committed
    assert stopped == any(end != NEVER for end in ends.values())


def one_too_many(right: Left, partition: int) -> int:
    """Offset of the first record that the limits forbid, NEVER = there is none; told record by record."""
    in_a_row, newest = 0, deque[bool](maxlen=LIMITS.share_over)
    for offset, trace in sorted(right.of(partition).items()):
        broken = bool(trace.reason)
        in_a_row = in_a_row + 1 if broken else 0
        newest.append(broken)
        many = len(newest) == LIMITS.share_over and sum(newest) > LIMITS.max_share * len(newest)
        if broken and (in_a_row > LIMITS.max_in_a_row or many):
            return offset
    return NEVER


def nothing_committed() -> dict[Partition, Position | None]:
    return {Partition("raw", number): None for number in PARTITIONS}


def chunks(log: list[Raw], random: Random) -> Iterator[list[Raw]]:
    begin = 0
    while begin < len(log):
        count = random.randint(1, 10)
        yield log[begin : begin + count]
        begin += count


def assert_begins(found: Left, right: Left, partition: int, since: int) -> None:
    """What left so far is the first part of what must leave."""
    traces, all_traces = found.of(partition), right.of(partition, since)
    assert list(traces.items()) == list(all_traces.items())[: len(traces)]
    events = found.events_of(partition)
    assert events == right.events_of(partition, since)[: len(events)]


def _offset(position: Position | None) -> int:
    return position.offset if position is not None else 0


def _from(log: list[Raw], starts: dict[Partition, int], live: dict[int, int]) -> list[Raw]:
    """What a source reads that starts where the pipeline asked, else at the committed offset."""
    begin = {number: starts.get(Partition("raw", number), live[number]) for number in PARTITIONS}
    return [raw for raw in log if raw.offset >= begin[raw.partition]]
