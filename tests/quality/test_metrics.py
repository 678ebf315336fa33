"""The ruler measures what it says."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quality import data
from tests.quality.metrics import at_threshold, auc_pr, best_range_f1, range_f1, vus_pr

LABEL = np.zeros(1000, np.bool_)
LABEL[300:340] = LABEL[700:720] = True
THEIRS = data.ROOT.parent / "tools" / "tsmetrics.py"


def test_a_perfect_score_gets_one() -> None:
    score = LABEL.astype(np.float64)
    assert auc_pr(LABEL, score) == pytest.approx(1.0)
    assert best_range_f1(LABEL, score) == pytest.approx(1.0)
    assert vus_pr(LABEL, score, 0) == pytest.approx(1.0)


def test_a_random_score_gets_about_the_share_of_anomalies() -> None:
    score = np.random.default_rng(0).random(1000)
    assert auc_pr(LABEL, score) == pytest.approx(0.06, abs=0.03)


def test_being_a_little_early_costs_little_with_a_buffer() -> None:
    early = np.roll(LABEL, -5).astype(np.float64)
    assert vus_pr(LABEL, early, 0) < 0.85 < vus_pr(LABEL, early, 40)


def test_a_range_is_found_once_however_many_rows_of_it_are_flagged() -> None:
    flags = np.zeros(1000, np.bool_)
    flags[310:315] = flags[320] = flags[500] = True
    found = at_threshold(LABEL, flags)
    assert (found.hit, found.events) == (1, 2)
    assert found.false_alarm_rate == pytest.approx(1 / 940)
    assert found.false_events == pytest.approx(1 / 940 * 10_000)


def test_pieces_count_less_than_a_whole() -> None:
    whole, pieces = np.zeros(1000, np.bool_), np.zeros(1000, np.bool_)
    whole[300:320] = True
    pieces[300:340:2] = True
    assert range_f1(LABEL, pieces) < range_f1(LABEL, whole)


@given(st.integers(0, 1000), st.integers(0, 40))
def test_the_ruler_agrees_with_the_one_that_it_was_made_after(seed: int, buffer: int) -> None:
    if not THEIRS.exists():
        pytest.skip(f"no {THEIRS}")
    spec = importlib.util.spec_from_file_location("tsmetrics", THEIRS)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    generator = np.random.default_rng(seed)
    label = np.repeat(generator.random(50) < 0.2, 10)
    score = generator.random(500).round(2)
    if not label.any():
        label[:5] = True
    assert vus_pr(label, score, buffer) == pytest.approx(theirs.vus_pr(label, score, buffer), abs=1e-12)
    assert auc_pr(label, score) == pytest.approx(theirs.auc_pr(label, score), abs=1e-12)
    assert best_range_f1(label, score) == pytest.approx(theirs.best_range_f1(label, score), abs=1e-12)
