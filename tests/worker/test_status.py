"""What a worker says of itself."""

import msgspec

from stream_ae.histogram import SCORE_BINS
from stream_ae.records import ModelIdentity, Partition
from stream_ae.status import Health, WorkerStatus
from stream_ae.telemetry import LATENCY_BINS
from stream_ae.testing import ManualClock
from stream_ae.worker.status import StatusBoard, Totals

V1 = ModelIdentity("pump", "1", "aa")
V2 = ModelIdentity("pump", "2", "bb")


def test_a_worker_waits_until_it_has_a_model_then_runs_then_drains() -> None:
    board = StatusBoard("w", ManualClock())
    assert board.snapshot().health == Health.WAITING
    board.swapped(V1)
    assert board.snapshot().health == Health.RUNNING
    board.draining()
    assert board.snapshot().health == Health.DRAINING


def test_a_problem_degrades_until_it_is_cleared_and_only_changes_are_news() -> None:
    board = StatusBoard("w", ManualClock())
    board.swapped(V1)
    assert board.problem("redis", "Redis is away")
    assert not board.problem("redis", "Redis is still away")
    assert board.snapshot().health == Health.DEGRADED
    assert board.snapshot().problems == ("Redis is still away",)
    assert board.problem("redis", None)
    assert board.snapshot().health == Health.RUNNING


def test_the_first_batch_of_a_version_is_timed_once() -> None:
    clock = ManualClock()
    board = StatusBoard("w", clock)
    board.swapped(V1)
    clock.advance(1)
    board.answered(V1, Totals(records=10))
    first_ms = board.snapshot().first_batch_ms
    assert first_ms == clock.wall_ms()
    clock.advance(1)
    board.answered(V1, Totals(records=20))
    assert board.snapshot().first_batch_ms == first_ms
    assert board.snapshot().records == 20


def test_a_batch_of_the_old_version_does_not_count_as_the_first_of_the_new() -> None:
    clock = ManualClock()
    board = StatusBoard("w", clock)
    board.swapped(V1)
    board.answered(V1, Totals())
    board.swapped(V2)
    board.answered(V1, Totals())
    assert board.snapshot().first_batch_ms == 0


def test_lag_is_summed_and_partitions_are_listed_in_order() -> None:
    board = StatusBoard("w", ManualClock())
    board.positioned({Partition("raw", 1): 5, Partition("raw", 0): 7})
    assert board.snapshot().lag == 12
    assert board.snapshot().partitions == ("raw/0", "raw/1")


def test_scores_are_counted_since_the_version_came_into_service() -> None:
    board = StatusBoard("w", ManualClock())
    board.swapped(V1)
    board.answered(V1, Totals(), SCORE_BINS.counts([0.1, 0.1, 7.0]))
    board.answered(V1, Totals(), SCORE_BINS.counts([0.3]))
    assert board.snapshot().scores == (2, 1, 0, 0, 0, 0, 0, 0, 0, 1)
    board.swapped(V2)
    assert board.snapshot().scores == SCORE_BINS.nothing
    board.answered(V1, Totals(), SCORE_BINS.counts([0.1]))
    assert board.snapshot().scores == SCORE_BINS.nothing


def test_latencies_are_counted_since_the_worker_started() -> None:
    board = StatusBoard("w", ManualClock())
    board.left(0.002)
    board.swapped(V1)
    board.left(99.0)
    assert board.snapshot().latencies == LATENCY_BINS.counts([0.002, 99.0])


def test_releases_that_do_not_know_of_histograms_are_read_and_read_on() -> None:
    board = StatusBoard("w", ManualClock())
    board.swapped(V1)
    board.answered(V1, Totals(records=3), SCORE_BINS.counts([0.1]))
    written = msgspec.json.decode(msgspec.json.encode(board.snapshot()))
    before = {name: value for name, value in written.items() if name not in ("scores", "latencies")}
    read = msgspec.convert(before, WorkerStatus)
    assert (read.records, read.scores, read.latencies) == (3, (), ())
    # They in turn pass over what they do not know.
    assert msgspec.json.decode(msgspec.json.encode({**before, "newer": [1]}), type=WorkerStatus) == read
