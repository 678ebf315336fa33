"""What is trained on does not depend on how it was read, counts once, and stays in bounds."""

from collections.abc import Sequence

import numpy as np
import pytest

from stream_ae.records import Float64, Int64, RecordBatch
from stream_ae.settings import RetrainSettings, Settings, TrainingSettings
from stream_ae.training.collect import Collected, Collector, SampleLayout
from stream_ae.training.keep import BLOCK_WINDOWS
from stream_ae.training.rows import Rows, backwards, repeated

WINDOW = 4
BLOCK = BLOCK_WINDOWS * WINDOW


def _settings(keep: str = "newest") -> Settings:
    return Settings(retrain=RetrainSettings.model_validate({"keep": keep}), training=TrainingSettings(window=WINDOW))


def _records(samples: Sequence[tuple[str, int, float]], partition: int = 0, first: int = 0) -> RecordBatch:
    """Of (stream, second, value), one a record."""
    values = [
        f'{{"stream":"{stream}","timestamp":{1_700_000_000_000 + 1000 * second},"values":[{value}]}}'.encode()
        for stream, second, value in samples
    ]
    n = len(samples)
    where, at = np.full(n, partition, np.int32), first + np.arange(n, dtype=np.int64)
    return RecordBatch("raw", where, at, np.full(n, -1), [None] * n, values, [()] * n)


def _collected(batches: Sequence[RecordBatch], keep: str = "newest", most: int = 10**6) -> Collected:
    collector = Collector(SampleLayout(("x",)), _settings(keep), most)
    for batch in batches:
        collector.add(batch)
    return collector.collected(min_length=1)


def _parts(batch: RecordBatch, size: int) -> list[RecordBatch]:
    n = len(batch)
    return [
        RecordBatch(
            batch.topic, batch.partition[a : a + size], batch.offset[a : a + size], batch.timestamp_ms[a : a + size],
            batch.keys[a : a + size], batch.values[a : a + size], batch.headers[a : a + size],
        )
        for a in range(0, n, size)
    ]  # fmt: skip


def _values(collected: Collected) -> list[list[float]]:
    return [segment[:, 0].tolist() for segment in collected.segments]


def test_a_sample_that_was_sent_twice_counts_once() -> None:
    sent = [("s", second, float(second)) for second in range(6)]
    # A producer that hears no answer sends its last two again, at once; another one much later.
    again = [*sent[:4], *sent[2:4], *sent[4:], sent[0]]
    collected = _collected([_records(again)])
    assert _values(collected) == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    assert (collected.counts.duplicates, collected.counts.backwards, collected.counts.samples) == (3, 0, 9)


def test_a_sample_that_was_sent_again_to_another_partition_counts_once() -> None:
    sent = [("s", second, float(second)) for second in range(4)]
    collected = _collected([_records(sent), _records(sent[2:], partition=1)])
    assert _values(collected) == [[0.0, 1.0, 2.0, 3.0]]
    assert collected.counts.duplicates == 2


def test_other_values_at_the_same_time_or_of_another_stream_are_no_duplicates() -> None:
    collected = _collected([_records([("s", 1, 1.0), ("s", 1, 2.0), ("t", 1, 1.0), ("s", 1, 1.0)])])
    assert _values(collected) == [[1.0, 2.0], [1.0]]
    assert collected.counts.duplicates == 1


def test_equal_samples_of_a_clock_that_is_coarser_than_the_samples_are_all_kept() -> None:
    sent = [("s", number // 10, float(number % 10 // 5)) for number in range(200)]
    collected = _collected([_records(sent)])
    assert (collected.kept, collected.counts.duplicates) == (200, 0)


def test_missing_values_are_equal_to_each_other() -> None:
    rows = _rows(np.array([5, 5, 5]), np.array([[np.nan, 1.0], [np.nan, 1.0], [2.0, 1.0]]))
    assert repeated([rows])[0].tolist() == [False, True, False]


def _rows(times: Int64, values: Float64) -> Rows:
    n = len(times)
    zeros = np.zeros(n, np.int64)
    return Rows(times, values.astype(np.float32), zeros, zeros.astype(np.int8), zeros == 0, zeros.astype(np.int32))


def test_samples_older_than_one_before_them_are_dropped_and_counted() -> None:
    assert backwards(_rows(np.array([1, 3, 2, 3, 4]), np.zeros((5, 1)))).tolist() == [False, False, True, False, False]
    collected = _collected([_records([("s", 1, 1.0), ("s", 3, 3.0), ("s", 2, 2.0)])])
    assert _values(collected) == [[1.0, 3.0]]
    assert collected.counts.backwards == 1


@pytest.mark.parametrize("keep", ["newest", "spread"])
@pytest.mark.parametrize("most", [500, 1000, 10_000])
def test_however_the_records_come_the_same_samples_are_kept(keep: str, most: int) -> None:
    generator = np.random.default_rng(0)
    streams = generator.choice(["a", "b", "c"], 3000, p=[0.6, 0.3, 0.1])
    first = _records([(str(s), second, float(second)) for second, s in enumerate(streams)])
    second = _records([("d", second, float(second)) for second in range(1000)], partition=1)
    orders = [
        [first, second],
        [*_parts(second, 333), *_parts(first, 70)],
        [part for pair in zip(_parts(first, 300), _parts(second, 100), strict=True) for part in pair],
    ]
    kept = [_collected(order, keep, most) for order in orders]
    assert kept[0].streams == kept[1].streams == kept[2].streams
    assert _values(kept[0]) == _values(kept[1]) == _values(kept[2])
    assert kept[0].kept <= most + 4
    assert kept[0].kept >= min(most // 2, 4000) or keep == "spread"


def test_the_newest_are_the_end_of_every_stream() -> None:
    records = _records([(s, second, float(second)) for second in range(500) for s in ("a", "b")])
    collected = _collected(_parts(records, 90), "newest", most=100)
    assert _values(collected) == [[float(v) for v in range(450, 500)]] * 2


def test_spread_blocks_reach_over_the_whole_span_and_are_long_enough_for_windows() -> None:
    records = _records([("s", second, float(second)) for second in range(40 * BLOCK)])
    segments = _values(_collected(_parts(records, 500), "spread", most=8 * BLOCK))
    assert sum(map(len, segments)) == 8 * BLOCK
    assert all(len(segment) >= BLOCK for segment in segments)
    assert segments[0][0] < 5 * BLOCK
    assert segments[-1][0] > 35 * BLOCK


def test_of_more_streams_than_blocks_fit_some_are_kept_from_all_over_the_span() -> None:
    streams = [f"s{number}" for number in range(60)]
    records = [_records([(s, second, float(second)) for second in range(BLOCK)]) for s in streams]
    collected = _collected(records, "spread", most=10 * BLOCK)
    assert 0 < collected.kept <= 10 * BLOCK
    assert len(set(collected.streams)) > 3
