"""What the pipeline does with partitions, models, idle streams and records that cannot be used."""

import orjson
import pytest

from stream_ae.errors import InvariantError, ModelError, TooManyDeadLetters
from stream_ae.flow.headers import MODEL, REASON, SOFTWARE, header_text, source_of
from stream_ae.flow.offsets import Rewind, metadata_of, rewind_of
from stream_ae.flow.pipeline import Outputs, Pipeline
from stream_ae.flow.tally import Tally
from stream_ae.records import Partition, Position, Reason
from stream_ae.settings import BatchSettings, DeadLetterSettings, DecideSettings, Settings
from tests.flow.raw_log import Bench, MeanModel, Raw, raw_batch

P0, P1 = Partition("raw", 0), Partition("raw", 1)
START_MS = 1_700_000_000_000
AT_ONCE = DecideSettings(close_after=1)
"""Then what a stream needs of the log is one window."""


def reading(offset: int, value: float = 1.0, *, partition: int = 0, stream: str = "s", time: int | None = None) -> Raw:
    at_ms = START_MS + offset
    return Raw(offset, partition, stream, at_ms, (START_MS + time if time is not None else at_ms,), (value,))


def broken(offset: int, partition: int = 0) -> Raw:
    return Raw(offset, partition, kafka_ms=START_MS + offset, broken=True)


def tombstone(offset: int) -> Raw:
    return Raw(offset, kafka_ms=START_MS + offset, values=None)


def bench(model: MeanModel | None = None, settings: Settings | None = None, *partitions: Partition) -> Bench:
    return Bench(settings or Settings(), model or MeanModel(), dict.fromkeys(partitions or (P0, P1)))


def committed_of(one: Bench) -> Position:
    position = one.committed[P0]
    assert position is not None
    return position


def sources(outputs: Outputs) -> list[int]:
    found = [source_of(headers) for headers in outputs.cleaned.headers]
    return [source.offset for source in found if source is not None]


def answer(one: Bench, now_s: float = 0.0) -> Outputs:
    assert one.take(now_s)
    return one.complete()


# -- records in, records out -------------------------------------------------------------------------------------------


def test_a_batch_leaves_cleaned_flagged_and_dead_and_is_counted() -> None:
    one = bench()
    one.feed([reading(0), reading(1, 9.0), broken(2), tombstone(3), reading(4, time=0)])
    outputs = answer(one)
    assert sources(outputs) == [0, 1, 3]
    assert [orjson.loads(value or b"")["state"] for value in outputs.flagged.values] == ["open"]
    assert [header_text(headers, REASON) for headers in outputs.dead_letters.headers] == [
        "not_json",
        "timestamp_backwards",
    ]
    assert header_text(outputs.dead_letters.headers[0], SOFTWARE) == "stream-ae/test"
    assert outputs.rejected == {Reason.NOT_JSON: 1, Reason.TIMESTAMP_BACKWARDS: 1}
    assert (outputs.records, outputs.samples, outputs.flagged_samples) == (5, 2, 1)
    assert (outputs.cleaned.topic, outputs.flagged.topic, outputs.dead_letters.topic) == (
        "cleaned",
        "flagged",
        "dead-letters",
    )


def test_a_batch_without_a_sample_is_completed_without_the_model() -> None:
    one = bench()
    one.feed([broken(0), tombstone(1)])
    work = one.pipeline.take(0.0, device_idle=True)
    assert work is not None
    assert len(work.windows) == 0
    outputs = one.pipeline.complete(work, None)
    assert (len(outputs.dead_letters), sources(outputs), outputs.records) == (1, [1], 2)
    assert one.pipeline.positions()[P0].offset == 2


def test_a_work_knows_the_kafka_time_of_its_oldest_live_record() -> None:
    one = Bench(Settings(), MeanModel(), {P0: Position(2, metadata_of(Rewind(0)))})
    one.feed([reading(0), reading(1), reading(2), reading(3)])
    work = one.pipeline.take(0.0, device_idle=True)
    assert work is not None
    assert work.oldest_ms == START_MS + 2


def test_with_nothing_to_do_there_is_no_work() -> None:
    one = bench()
    assert one.pipeline.take(0.0, device_idle=True) is None
    one.feed([reading(0)])
    assert one.pipeline.take(0.0, device_idle=False) is None


def test_buffered_records_and_bytes_are_what_was_fed_and_not_taken() -> None:
    one = bench(None, Settings(batch=BatchSettings(max_records=2)))
    one.feed([reading(0), reading(1), reading(2)])
    assert one.pipeline.buffered_records == 3
    assert one.pipeline.buffered_bytes == sum(len(value or b"") for value in raw_batch([reading(0)] * 3).values)
    one.take()
    one.take()
    assert (one.pipeline.buffered_records, one.pipeline.buffered_bytes, one.pipeline.in_flight) == (0, 0, 2)


def test_works_are_completed_in_the_order_taken() -> None:
    one = bench(None, Settings(batch=BatchSettings(max_records=1)))
    one.feed([reading(0), reading(1)])
    first, second = (one.pipeline.take(0.0, device_idle=True) for _ in range(2))
    assert first is not None
    assert second is not None
    with pytest.raises(InvariantError, match="in the order"):
        one.pipeline.complete(second, MeanModel().infer(second.windows))
    with pytest.raises(InvariantError, match="0 answers for 1 windows"):
        one.pipeline.complete(first, None)


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_too_many_broken_records_in_a_row_stop_the_worker_and_nothing_of_them_is_committed() -> None:
    one = bench(None, Settings(dead_letters=DeadLetterSettings(max_in_a_row=3)))
    one.feed([reading(0), broken(1), broken(2)])
    answer(one)
    before = one.pipeline.positions()
    one.feed([broken(3), broken(4), reading(5)])
    with pytest.raises(TooManyDeadLetters, match=r"4 records in a row .* raw/0/4: not_json.*max_in_a_row"):
        answer(one)
    assert one.pipeline.positions() == before


def test_a_good_record_between_broken_ones_starts_the_count_again() -> None:
    one = bench(None, Settings(dead_letters=DeadLetterSettings(max_in_a_row=2)))
    for offset in range(0, 12, 3):
        one.feed([broken(offset), broken(offset + 1), reading(offset + 2)])
        assert len(answer(one).dead_letters) == 2


def test_too_large_a_share_of_broken_records_stops_the_worker_though_good_ones_are_between() -> None:
    one = bench(None, Settings(dead_letters=DeadLetterSettings(max_share=0.5, share_over=6)))
    for offset in range(0, 6, 3):  # 2 of 6
        one.feed([reading(offset), reading(offset + 1), broken(offset + 2)])
        answer(one)
    one.feed([broken(6), reading(7), broken(8)])  # 3 of the newest 6
    answer(one)
    before = one.pipeline.positions()
    one.feed([broken(9), reading(10), broken(11)])  # at 9: 4 of the newest 6
    with pytest.raises(TooManyDeadLetters, match=r"4 of the newest 6 records \(67%\).*raw/0/9: not_json.*max_share"):
        answer(one)
    assert one.pipeline.positions() == before


def test_the_share_of_broken_records_is_not_judged_by_a_few() -> None:
    one = bench(None, Settings(dead_letters=DeadLetterSettings(max_share=0.1, share_over=100)))
    one.feed([broken(0), reading(1), broken(2)])
    assert len(answer(one).dead_letters) == 2


def test_a_partition_is_judged_by_its_own_records_alone() -> None:
    one = bench(None, Settings(dead_letters=DeadLetterSettings(max_in_a_row=2)))
    one.feed([broken(0), broken(0, partition=1), broken(1), broken(1, partition=1)])
    assert len(answer(one).dead_letters) == 4
    one.feed([reading(2, partition=1), broken(2)])  # a good record of partition 1 says nothing about partition 0
    with pytest.raises(TooManyDeadLetters, match=r"3 records in a row .* raw/0/2"):
        answer(one)


def test_the_count_of_broken_records_goes_on_after_a_restart() -> None:
    settings = Settings(dead_letters=DeadLetterSettings(max_in_a_row=3))
    first = bench(None, settings)
    first.feed([reading(0), broken(1), broken(2)])
    answer(first)
    first.commit()
    second = Bench(settings, MeanModel(), first.committed)
    second.feed([reading(0), broken(1), broken(2), broken(3)])  # the third in a row may go
    assert len(answer(second).dead_letters) == 1
    second.commit()
    third = Bench(settings, MeanModel(), second.committed)
    third.feed([reading(0), broken(1), broken(2), broken(3), broken(4)])
    with pytest.raises(TooManyDeadLetters, match=r"4 records in a row .* raw/0/4"):
        answer(third)
    assert third.pipeline.positions() == {}


def test_the_share_of_broken_records_goes_on_after_a_restart() -> None:
    settings = Settings(dead_letters=DeadLetterSettings(max_share=0.5, share_over=6))
    log = [reading(0), broken(1), reading(2), broken(3), reading(4), broken(5)]
    first = bench(None, settings)
    first.feed(log)
    answer(first)
    first.commit()
    second = Bench(settings, MeanModel(), first.committed)
    second.feed([*log, broken(6)])
    with pytest.raises(TooManyDeadLetters, match=r"4 of the newest 6 records"):
        answer(second)


def test_a_raised_limit_lets_a_restarted_worker_go_on() -> None:
    first = bench(None, Settings(dead_letters=DeadLetterSettings(max_in_a_row=2)))
    first.feed([broken(0), broken(1)])
    answer(first)
    first.commit()
    second = Bench(Settings(dead_letters=DeadLetterSettings(max_in_a_row=3)), MeanModel(), first.committed)
    second.feed([broken(0), broken(1), broken(2)])
    assert len(answer(second).dead_letters) == 1


def test_records_that_can_be_read_again_end_the_count_of_the_worker_before() -> None:
    settings = Settings(dead_letters=DeadLetterSettings(max_in_a_row=2))
    first = bench(None, settings)
    first.feed([broken(0), broken(1)])
    answer(first)
    first.commit()
    mended = Bench(settings, MeanModel(), first.committed)
    mended.feed([broken(0), broken(1), reading(2), broken(3), broken(4)])
    assert (len(answer(mended).dead_letters), mended.counts[-1].records) == (2, 3)


def test_a_commit_of_an_older_version_begins_the_count_anew() -> None:
    settings = Settings(dead_letters=DeadLetterSettings(max_in_a_row=2))
    one = Bench(settings, MeanModel(), {P0: Position(2, '{"rewind":0,"time":5,"v":1}')})
    one.feed([broken(0), broken(1), broken(2), broken(3)])
    assert len(answer(one).dead_letters) == 2


def test_broken_records_below_the_committed_offset_do_not_count() -> None:
    settings = Settings(dead_letters=DeadLetterSettings(max_in_a_row=1))
    one = Bench(settings, MeanModel(), {P0: Position(3, metadata_of(Rewind(0)))})
    one.feed([broken(0), broken(1), broken(2), reading(3)])
    assert answer(one).records == 1


def test_a_window_that_the_model_fails_on_costs_its_record_alone() -> None:
    one = bench()
    one.feed([reading(0, stream="a"), reading(1, stream="b"), reading(2, stream="c")])
    work = one.pipeline.take(0.0, device_idle=True)
    assert work is not None
    outputs = one.pipeline.complete(work, MeanModel().infer(work.windows), failed={1: "the network raised ValueError"})
    assert sources(outputs) == [0, 2]
    assert outputs.rejected == {Reason.MODEL_FAILED: 1}
    assert [source_of(headers) for headers in outputs.dead_letters.headers] == [("raw", 0, 1)]


def test_an_event_goes_on_over_a_record_that_the_model_fails_on() -> None:
    one = bench()
    one.feed([reading(0), reading(1, 9.0), reading(2, 9.0), reading(3, 1.0)])
    work = one.pipeline.take(0.0, device_idle=True)
    assert work is not None
    outputs = one.pipeline.complete(work, MeanModel().infer(work.windows), failed={2: "the network raised ValueError"})
    assert [orjson.loads(value or b"")["state"] for value in outputs.flagged.values] == ["open", "ongoing"]


# -- look-ahead --------------------------------------------------------------------------------------------------------


def test_a_record_waits_for_newer_samples_and_holds_back_those_behind_it() -> None:
    one = bench(MeanModel(lookahead=1))
    one.feed([reading(0, stream="a"), reading(1, stream="b"), reading(2, stream="b"), broken(3)])
    assert sources(answer(one)) == []
    assert one.pipeline.held_records == 4
    one.feed([reading(4, stream="a")])
    outputs = answer(one)
    assert sources(outputs) == [0, 1]
    assert one.pipeline.positions()[P0].offset == 2
    assert len(outputs.dead_letters) == 0


def test_a_partition_does_not_wait_for_another() -> None:
    one = bench(MeanModel(lookahead=1))
    one.feed([reading(0), reading(0, partition=1), reading(1, partition=1)])
    assert sources(answer(one)) == [0]
    assert set(one.pipeline.positions()) == {P1}


def test_an_idle_stream_gets_its_pending_samples_answered_with_what_there_is() -> None:
    one = bench(MeanModel(lookahead=2), Settings(batch=BatchSettings(idle_flush_s=5.0)))
    one.feed([reading(0), reading(1)], now_s=100.0)
    assert sources(answer(one, now_s=100.0)) == []
    assert not one.take(now_s=104.9)
    assert sources(answer(one, now_s=105.0)) == [0, 1]
    assert not one.take(now_s=200.0)


def test_a_stream_silent_for_longer_than_its_time_to_live_owes_nothing_any_more() -> None:
    one = bench(MeanModel(lookahead=2), Settings(batch=BatchSettings(state_ttl_s=1.0)))
    one.feed([reading(0, stream="a")])
    answer(one)
    late = Raw(1, stream="b", kafka_ms=START_MS + 2000, times=(START_MS + 2000,))
    one.feed([late])
    assert sources(answer(one)) == [0]
    assert one.pipeline.stream_count == 1


# -- partitions --------------------------------------------------------------------------------------------------------


def test_a_revoked_partition_leaves_nothing_any_more_wherever_its_records_are() -> None:
    settings = Settings(batch=BatchSettings(max_records=2))
    one = bench(None, settings)
    one.feed([reading(0), reading(0, partition=1), reading(1), reading(1, partition=1), reading(2)])
    one.take()
    one.pipeline.revoke([P0])
    assert one.pipeline.buffered_records == 1
    one.feed([reading(3), reading(2, partition=1)])
    one.run()
    assert one.left.of(0) == {}
    assert sorted(one.left.of(1)) == [0, 1, 2]
    assert set(one.pipeline.positions()) == {P1}


def test_a_partition_that_comes_back_starts_from_what_was_committed() -> None:
    one = bench()
    one.feed([reading(0, 8.0), reading(1, 8.0)])
    answer(one)
    one.commit()
    one.pipeline.revoke([P0])
    position = one.committed[P0]
    assert position == Position(2, metadata_of(Rewind(0, START_MS), Tally(0, ((2, 0),))))
    assert one.pipeline.assign({P0: position}) == {P0: 0}
    one.feed([reading(0, 8.0), reading(1, 8.0), reading(2, 0.0)])
    outputs = answer(one)
    assert sources(outputs) == [2]
    assert orjson.loads(outputs.cleaned.values[0] or b"")["values"]["a"] == 6.0


def test_a_slot_used_again_while_a_batch_of_its_former_stream_is_in_flight_does_not_inherit_its_event() -> None:
    one = bench(None, Settings(batch=BatchSettings(max_records=2)))
    one.feed([reading(0, 0.0), reading(1, 9.0)])
    one.take()
    one.pipeline.revoke([P0])
    one.feed([reading(0, 0.0, partition=1), reading(1, 0.0, partition=1)])
    one.take()
    one.complete()
    assert len(one.complete().flagged) == 0


def test_a_rebuilding_worker_knows_how_late_it_was() -> None:
    """Partition time had reached 500 when `b` came with Kafka times of 300 and 450: no silence lies between them."""
    log = [(0, "z", 500), (1, "b", 300), *((offset, "z", 310) for offset in range(2, 6)), (6, "b", 450)]
    records = [Raw(at, 0, stream, START_MS + ms, (START_MS,), (float(at),)) for at, stream, ms in log]
    settings = Settings(batch=BatchSettings(state_ttl_s=0.1), decide=AT_ONCE)
    whole = bench(None, settings)
    whole.feed(records)
    whole.run()
    first = bench(None, settings)
    first.feed(records[:6])
    first.run()
    first.commit()
    assert first.committed[P0] == Position(6, metadata_of(Rewind(1, START_MS + 500), Tally(0, ((6, 0),))))
    second = Bench(settings, MeanModel(), first.committed)
    second.feed(records[1:])
    second.run()
    assert second.left.of(0) == whole.left.of(0, since=6)


@pytest.mark.parametrize("max_records", [1, 3, 100])
def test_a_rebuilding_worker_refuses_the_block_that_was_refused(max_records: int) -> None:
    """The block of `y` begins too early and reaches far: one that met it first would refuse all that follows."""
    times = [("y", [100]), ("x", [100]), ("y", [90, 200]), *[("y", [110 + offset]) for offset in range(6)]]
    records = [
        Raw(offset, 0, stream, START_MS + offset, tuple(START_MS + ms for ms in at), (float(offset),) * len(at))
        for offset, (stream, at) in enumerate(times)
    ]
    settings = Settings(batch=BatchSettings(max_records=max_records))
    whole = bench(None, settings)
    whole.feed(records)
    whole.run()
    first = bench(None, settings)
    first.feed(records[:7])
    first.run()
    first.commit()
    assert rewind_of(committed_of(first)) == Rewind(0, START_MS)
    second = Bench(settings, MeanModel(), first.committed)
    second.feed(records)
    second.run()
    assert second.left.of(0) == whole.left.of(0, since=7)
    assert not any(trace.reason for trace in second.left.of(0).values())


def test_a_refused_block_holds_the_rewind_offset_back_no_longer_than_its_window() -> None:
    one = bench(None, Settings(decide=AT_ONCE))
    times = [(100,), (90, 120), (110,), *[(130 + offset,) for offset in range(4)]]
    one.feed(
        [Raw(i, 0, "s", START_MS, tuple(START_MS + ms for ms in at), (1.0,) * len(at)) for i, at in enumerate(times)]
    )
    one.run()
    one.commit()
    assert rewind_of(committed_of(one)) == Rewind(3, START_MS)


@pytest.mark.parametrize(("close_after", "rewind"), [(1, 6), (3, 4), (5, 2)])
def test_the_rewind_offset_reaches_back_to_the_windows_that_the_state_of_an_event_needs(
    close_after: int, rewind: int
) -> None:
    one = bench(None, Settings(decide=DecideSettings(close_after=close_after)))
    one.feed([reading(offset) for offset in range(10)])
    one.run()
    one.commit()
    assert rewind_of(committed_of(one)).offset == rewind


def test_an_event_is_told_of_where_it_is_flagged_and_where_it_closes() -> None:
    one = bench(MeanModel(window=2))
    values = [0, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0]  # a step up and one down: flagged at both
    one.feed([reading(offset, float(value)) for offset, value in enumerate(values)])
    one.run()
    flags = [offset for offset, trace in one.left.of(0).items() if trace.flag == "1"]
    assert flags == [1, 7]
    assert [(event.offset, event.state) for event in one.left.events] == [
        (1, "open"), (4, "close"), (7, "open"), (10, "close"),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_successor_closes_the_event_that_its_predecessor_opened(cut: int) -> None:
    records = [reading(offset, float(value)) for offset, value in enumerate([0, 0, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0])]
    settings = Settings(decide=DecideSettings(close_after=4))
    whole, first = bench(MeanModel(window=2), settings), bench(MeanModel(window=2), settings)
    whole.feed(records)
    whole.run()
    assert [event.state for event in whole.left.events] == ["open", "close", "open", "close"]
    first.feed(records[:cut])
    first.run()
    first.commit()
    second = Bench(settings, MeanModel(window=2), first.committed)
    second.feed(records[second.starts.get(P0, cut) :])
    second.run()
    assert first.left.events + second.left.events == whole.left.events


def test_what_was_held_of_a_partition_is_gone_with_it() -> None:
    one = bench(MeanModel(lookahead=2))
    one.feed([reading(0), reading(1)])
    answer(one)
    assert one.pipeline.held[0] == 2
    one.pipeline.revoke([P0])
    assert one.pipeline.held == (0, 0)


def test_a_foreign_commit_means_no_rewind() -> None:
    assert bench().pipeline.assign({P0: Position(7, "by another tool")}) == {}


def test_partitions_of_another_topic_are_refused() -> None:
    with pytest.raises(InvariantError, match="not the raw topic"):
        bench().pipeline.assign({Partition("other", 0): None})


def test_the_rewind_offset_passes_over_streams_that_have_been_silent_for_too_long() -> None:
    one = bench(None, Settings(batch=BatchSettings(state_ttl_s=1.0), decide=AT_ONCE))
    one.feed([reading(0, stream="old")])
    one.run()
    for offset in range(1, 9):
        one.feed([Raw(offset, 0, "new", START_MS + 600 * offset, (START_MS + 600 * offset,), (1.0,))])
        one.run()
    one.commit()
    assert one.committed[P0] == Position(9, metadata_of(Rewind(5, START_MS + 600 * 5), Tally(0, ((9, 0),))))
    assert one.pipeline.stream_count == 1


def test_a_commit_that_failed_is_offered_again() -> None:
    one = bench()
    one.feed([reading(0)])
    one.run()
    assert one.pipeline.positions() == one.pipeline.positions() != {}
    one.pipeline.committed(one.pipeline.positions())
    assert one.pipeline.positions() == {}


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_new_version_answers_from_the_next_batch_on() -> None:
    one = bench(None, Settings(batch=BatchSettings(max_records=1)))
    one.feed([reading(0), reading(1)])
    one.take()
    one.pipeline.use(MeanModel(version="2", window=8, threshold=0.0))
    one.take()
    versions = [header_text(one.complete().cleaned.headers[0], MODEL) for _ in range(2)]
    assert versions == ["mean/1", "mean/2"]


def test_a_version_with_another_lookahead_answers_what_the_old_one_owes_by_the_old_one() -> None:
    one = bench(MeanModel(lookahead=1))
    one.feed([reading(0, 1.0), reading(1, 3.0)])
    assert sources(answer(one)) == [0]
    one.pipeline.use(MeanModel(version="2", lookahead=2))
    outputs = answer(one)
    assert sources(outputs) == [1]
    assert header_text(outputs.cleaned.headers[0], MODEL) == "mean/1"
    one.feed([reading(2), reading(3), reading(4)])
    outputs = answer(one)
    assert sources(outputs) == [2]
    assert header_text(outputs.cleaned.headers[0], MODEL) == "mean/2"


def test_a_version_with_another_window_answers_what_waits_for_its_look_ahead() -> None:
    one = bench(MeanModel(lookahead=1, window=4))
    one.feed([reading(0, 8.0), reading(1, 2.0)])
    assert sources(answer(one)) == [0]
    one.pipeline.use(MeanModel(version="2", lookahead=1, window=2))
    one.feed([reading(2, 4.0)])
    outputs = answer(one)
    assert sources(outputs) == [1]
    assert header_text(outputs.cleaned.headers[0], MODEL) == "mean/2"
    assert orjson.loads(outputs.cleaned.values[0] or b"")["values"]["a"] == 3.0


def test_records_held_over_a_change_of_version_are_signed_by_the_one_that_answered_them() -> None:
    one = bench(MeanModel(lookahead=1))
    one.feed([reading(0, stream="a"), reading(1, stream="b"), reading(2, stream="b")])
    answer(one)
    one.pipeline.use(MeanModel(version="2", lookahead=1))
    one.feed([reading(3, stream="a"), reading(4, stream="b")])
    outputs = answer(one)
    assert sources(outputs) == [0, 1, 2]
    assert [header_text(headers, MODEL) for headers in outputs.cleaned.headers] == ["mean/2", "mean/1", "mean/2"]


def test_a_version_for_other_channels_is_refused_and_the_old_one_goes_on() -> None:
    one = bench()
    with pytest.raises(ModelError, match="model mean/2 is for channels a, c, this stream has a, b"):
        one.pipeline.use(MeanModel(version="2", channels=("a", "c")))
    one.feed([reading(0)])
    assert header_text(answer(one).cleaned.headers[0], MODEL) == "mean/1"


def test_records_before_the_first_model_are_a_bug_of_the_caller() -> None:
    pipeline = Pipeline(Settings(batch=BatchSettings(max_records=1)), "stream-ae/test")
    pipeline.assign({P0: None})
    with pytest.raises(InvariantError, match="call use"):
        pipeline.feed(raw_batch([reading(0)]), 0.0)
