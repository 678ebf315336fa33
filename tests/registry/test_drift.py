"""Drift: an index that is 0 for what calibration promised, and a state that does not flutter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.histogram import SCORE_BINS, Counts
from stream_ae.marginals import stability_index
from stream_ae.records import Float64
from stream_ae.registry.drift import (
    DriftState,
    DriftWatch,
    RetrainTrigger,
    expected_shares,
    score_drift,
)
from stream_ae.settings import MonitorSettings

EXPECTED = expected_shares()
COUNTS = st.lists(st.integers(0, 10**9), min_size=len(SCORE_BINS), max_size=len(SCORE_BINS))
SETTINGS = MonitorSettings(drift_psi=0.25, drift_looks=3, drift_samples=100)
QUIET: Counts = tuple(round(1000 * share) for share in EXPECTED)
DRIFTED: Counts = (300, 100, 100, 100, 100, 100, 100, 100, 50, 50)
# Of an index between half of the limit and the limit.
BETWEEN: Counts = (320, 200, 230, 150, 60, 20, 10, 10, 0, 0)


def test_the_expected_shares_are_those_of_tail_probabilities_and_sum_to_1() -> None:
    assert EXPECTED.sum() == pytest.approx(1.0)
    assert EXPECTED[-1] == pytest.approx(1e-6)
    assert EXPECTED[:3].sum() == pytest.approx(0.9)


@given(COUNTS)
def test_the_index_is_finite_and_never_below_0(counts: list[int]) -> None:
    assert 0 <= stability_index(counts, EXPECTED) < math.inf


@given(st.floats(0, 1e9))
def test_the_index_of_what_is_expected_is_0(samples: float) -> None:
    assert stability_index((samples * EXPECTED).tolist(), EXPECTED) == pytest.approx(0.0, abs=1e-12)


def test_the_index_is_the_one_of_the_textbook() -> None:
    shares: Float64 = np.array([0.5, 0.5])
    # (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5), of so many samples that the prior counts for nothing.
    assert stability_index([8_000_000, 2_000_000], shares) == pytest.approx(0.41589, abs=1e-4)


def test_scores_as_calibrated_are_far_from_drift_already_at_2000_samples() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        scores = -np.log10(generator.uniform(size=2000))
        assert score_drift(SCORE_BINS.counts(scores)) < 0.03


def test_a_few_anomalies_are_no_drift_however_high_they_are() -> None:
    quiet = SCORE_BINS.counts(-np.log10(np.random.default_rng(0).uniform(size=1950)))
    assert score_drift((*quiet[:-1], quiet[-1] + 50)) < 0.1


def test_scores_that_are_a_third_higher_all_over_are_some_drift_and_doubled_ones_are_drift() -> None:
    scores = -np.log10(np.random.default_rng(0).uniform(size=2000))
    assert score_drift(SCORE_BINS.counts(scores * 4 / 3)) == pytest.approx(0.1, abs=0.04)
    assert score_drift(SCORE_BINS.counts(scores * 2)) > 0.25


def states(watch: DriftWatch, *looks: Counts) -> list[DriftState]:
    return [watch.look(scores).state for scores in looks]


def test_drift_must_hold_for_looks_in_a_row() -> None:
    watch = DriftWatch(SETTINGS)
    assert states(watch, QUIET, DRIFTED, DRIFTED, QUIET, DRIFTED, DRIFTED) == [DriftState.QUIET] * 6
    looked = watch.look(DRIFTED)
    assert (looked.state, looked.changed, looked.samples) == (DriftState.DRIFTING, True, sum(DRIFTED))
    assert not watch.look(DRIFTED).changed


def test_drift_ends_below_half_of_the_limit_only() -> None:
    assert 0.125 < score_drift(BETWEEN) < 0.25
    watch = DriftWatch(SETTINGS)
    assert states(watch, DRIFTED, DRIFTED, DRIFTED, BETWEEN, QUIET, BETWEEN) == [
        *(DriftState.UNKNOWN, DriftState.UNKNOWN, DriftState.DRIFTING, DriftState.DRIFTING),
        *(DriftState.QUIET, DriftState.QUIET),
    ]


def test_too_few_samples_say_nothing_and_are_gathered_over_looks() -> None:
    watch = DriftWatch(SETTINGS)
    few = (8, 0, 0, 0, 0, 0, 0, 0, 16, 16)
    assert [math.isnan(watch.look(few).psi) for _ in range(3)] == [True, True, False]
    assert watch.look(few).samples == 120


def test_looks_without_scores_do_not_count() -> None:
    watch = DriftWatch(SETTINGS)
    nothing = SCORE_BINS.nothing
    assert states(watch, DRIFTED, nothing, nothing, nothing, DRIFTED) == [DriftState.UNKNOWN] * 5
    assert states(watch, DRIFTED, nothing) == [DriftState.DRIFTING] * 2


def test_a_long_quiet_past_does_not_hide_drift() -> None:
    watch = DriftWatch(SETTINGS)
    states(watch, *[QUIET] * 1000)
    assert watch.look(DRIFTED).psi == pytest.approx(score_drift(DRIFTED))


def test_a_drift_is_answered_once_and_after_the_cooldown_of_the_one_before() -> None:
    trigger = RetrainTrigger(MonitorSettings(retrain_on_drift=True, retrain_cooldown_s=10))
    assert trigger.due("a", 0)
    trigger.started("a", 0)
    assert not trigger.due("a", 60_000)
    assert not trigger.due("b", 9_999)
    assert trigger.due("b", 10_000)
    trigger.rearm("a")
    assert not trigger.due("a", 9_999)
    assert trigger.due("a", 10_000)


def test_a_retraining_before_a_restart_counts_for_the_cooldown() -> None:
    trigger = RetrainTrigger(MonitorSettings(retrain_on_drift=True, retrain_cooldown_s=10))
    trigger.recall(5_000)
    assert not trigger.due("a", 14_999)
    assert trigger.due("a", 15_000)


def test_drift_is_only_told_of_unless_retraining_is_asked_for() -> None:
    assert not RetrainTrigger(MonitorSettings()).due("a", 0)


def test_a_retraining_that_a_monitor_with_a_clock_ahead_started_holds_nothing_up() -> None:
    trigger = RetrainTrigger(MonitorSettings(retrain_on_drift=True, retrain_cooldown_s=10))
    trigger.recall(1_000_000_000)
    assert trigger.due("aa", 5_000)
    trigger.started("aa", 5_000)
    assert not trigger.due("bb", 6_000)
