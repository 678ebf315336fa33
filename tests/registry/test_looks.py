"""What workers did between two looks: counters, restarts, swaps, workers of another release."""

from dataclasses import replace

import pytest

from stream_ae.histogram import SCORE_BINS, Counts
from stream_ae.records import ModelIdentity
from stream_ae.registry.looks import Looks, Seen
from stream_ae.status import Health, WorkerStatus
from stream_ae.telemetry import LATENCY_BINS

V1 = ModelIdentity("pump", "1", "aa")
V2 = ModelIdentity("pump", "2", "bb")
MINUTE_MS = 60_000


def scores(count: int, high: int = 0) -> Counts:
    return (count, *(0,) * (len(SCORE_BINS) - 2), high)


def status(worker: str, records: int = 0, **fields: object) -> WorkerStatus:
    known = WorkerStatus(
        worker, Health.RUNNING, V1, 0, 0, swapped_ms=10, first_batch_ms=260, records=records, scores=scores(records)
    )
    return replace(known, **fields)  # type: ignore[arg-type]


def one(looks: Looks, minute: int, *workers: WorkerStatus) -> Seen:
    (seen,) = looks.look(workers, None, minute * MINUTE_MS)
    return seen


def test_the_first_look_says_how_workers_are_and_no_rates() -> None:
    seen = one(Looks(), 1, status("a", 500, lag=3), status("b", 700, lag=4, problems=("MLflow is away",)))
    assert seen.metrics == {"workers": 2.0, "lag": 7.0, "problems": 1.0, "reload_to_first_batch_s": 0.25}
    assert seen.scores == SCORE_BINS.nothing


def test_counters_are_differences_between_looks_summed_over_workers() -> None:
    looks = Looks()
    one(looks, 1, status("a", 500), status("b", 700))
    seen = one(looks, 2, status("a", 1000, flagged=30, dead_letters=6), status("b", 800))
    assert seen.metrics["throughput_records_s"] == 10.0
    assert seen.metrics["flagged_share"] == 30 / 600
    assert seen.metrics["dead_letters_share"] == 0.01
    assert seen.scores == scores(600)
    assert seen.metrics["score_p50"] == pytest.approx(0.125)


def test_a_worker_that_was_started_again_begins_at_0() -> None:
    looks = Looks()
    one(looks, 1, status("a", 5000))
    seen = one(looks, 2, status("a", 60, started_ms=70_000, swapped_ms=71_000))
    assert seen.metrics["throughput_records_s"] == 1.0
    assert seen.scores == scores(60)


def test_a_worker_whose_clock_is_days_off_is_counted_as_the_others_are() -> None:
    looks, day = Looks(), 1440
    one(looks, 3 * day, status("a", 500))
    assert one(looks, 3 * day + 1, status("a", 1100)).metrics["throughput_records_s"] == 10.0


def test_a_new_worker_counts_from_its_start_and_one_that_was_there_unseen_does_not() -> None:
    looks = Looks()
    one(looks, 1, status("a", 100))
    seen = one(looks, 2, status("a", 100), status("new", 60, started_ms=61_000), status("hidden", 9000, started_ms=5))
    assert seen.metrics["workers"] == 3.0
    assert seen.metrics["throughput_records_s"] == 1.0
    assert one(looks, 3, status("hidden", 9060, started_ms=5)).metrics["throughput_records_s"] == 1.0


def test_a_worker_whose_status_had_expired_goes_on_from_its_last_one() -> None:
    looks = Looks()
    one(looks, 1, status("a", 100))
    assert looks.look([], V1, 2 * MINUTE_MS)[0].metrics["workers"] == 0.0
    assert one(looks, 3, status("a", 160)).metrics["throughput_records_s"] == 1.0


def test_what_a_worker_did_under_another_version_is_not_held_against_the_one_it_has_now() -> None:
    looks = Looks()
    one(looks, 1, status("a", 100))
    swapped = status("a", 700, model=V2, swapped_ms=61_000, flagged=500, scores=scores(200))
    seen = one(looks, 2, swapped)
    assert seen.model == V2
    assert seen.scores == scores(200)
    assert "flagged_share" not in seen.metrics
    assert seen.metrics["throughput_records_s"] == 10.0
    later = one(looks, 3, replace(swapped, records=800, flagged=501, scores=scores(300)))
    assert later.metrics["flagged_share"] == 0.01


def test_versions_are_told_apart_and_the_announced_one_is_there_without_workers() -> None:
    seen = Looks().look([status("a")], V2, MINUTE_MS)
    assert {one.model.version: one.metrics["workers"] for one in seen} == {"1": 1.0, "2": 0.0}


def test_a_worker_without_a_version_is_nobodys() -> None:
    assert Looks().look([status("a", model=None)], None, MINUTE_MS) == []


@pytest.mark.parametrize("other", [(), (5, 5)])
def test_a_worker_of_a_release_with_other_bins_is_counted_without_its_scores(other: Counts) -> None:
    looks = Looks()
    one(looks, 1, status("a", 0, scores=other))
    seen = one(looks, 2, status("a", 60, scores=other, flagged=9, dead_letters=6))
    assert seen.metrics["throughput_records_s"] == 1.0
    assert not {"flagged_share", "score_p50"} & set(seen.metrics)


def test_latencies_of_all_workers_have_common_quantiles() -> None:
    looks = Looks()
    before = LATENCY_BINS.counts([30.0] * 100)
    one(looks, 1, status("a", latencies=before))
    seen = one(looks, 2, status("a", latencies=LATENCY_BINS.counts([30.0] * 100 + [0.04] * 99 + [0.9])))
    assert 0.025 <= seen.metrics["latency_p50_s"] <= 0.05
    assert seen.metrics["latency_p99_s"] == pytest.approx(0.05)


def test_after_somebody_else_has_looked_the_next_look_is_a_first_one() -> None:
    looks = Looks()
    one(looks, 1, status("a", 100))
    looks.forget()
    assert "throughput_records_s" not in one(looks, 9, status("a", 900)).metrics


def test_inputs_and_codes_are_differences_summed_over_the_workers_that_count_them() -> None:
    looks = Looks()
    one(looks, 1, status("a", inputs=((1, 2), (3, 0)), latents=((5,),)), status("b"))
    seen = one(looks, 2, status("a", inputs=((2, 4), (5, 1)), latents=((9,),)), status("b", inputs=((1, 0), (1, 0))))
    assert (seen.inputs.tolist(), seen.latents.tolist()) == ([[2, 2], [3, 1]], [[4]])
    swapped = status("a", swapped_ms=61_000, inputs=((7, 7), (7, 7)))
    assert one(looks, 3, swapped, status("b", inputs=((1, 0), (1, 0)))).inputs.tolist() == [[7, 7], [7, 7]]


def test_a_table_that_is_none_or_of_other_bins_is_left_out() -> None:
    looks = Looks()
    one(looks, 1, status("a"), status("b"))
    seen = one(looks, 2, status("a", inputs=((1, 2), (3,))), status("b", inputs=((1, 2), (3, 4))))
    assert seen.inputs.tolist() == [[1, 2], [3, 4]]
    assert seen.latents.shape == (0, 0)
