"""Histograms that can be added, and what is read from them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.histogram import SCORE_BINS, Bins, merged

SCORES = st.lists(st.floats(), max_size=50)


@given(SCORES, SCORES)
def test_merged_histograms_are_the_histogram_of_the_union(one: list[float], other: list[float]) -> None:
    assert merged((SCORE_BINS.counts(one), SCORE_BINS.counts(other))) == SCORE_BINS.counts(one + other)


@given(SCORES)
def test_every_value_is_counted_once(values: list[float]) -> None:
    assert sum(SCORE_BINS.counts(values)) == len(values)


@given(st.floats(allow_nan=False))
def test_one_value_is_placed_where_it_is_counted(value: float) -> None:
    assert SCORE_BINS.counts([value])[SCORE_BINS.place(value)] == 1


def test_an_edge_belongs_to_the_bin_above_it_and_what_is_not_finite_to_the_last() -> None:
    assert Bins((0.0, 1.0)).counts([-math.inf, -1.0, 0.0, 0.999]) == (4, 0)
    assert Bins((0.0, 1.0)).counts([1.0, 5.0, math.inf, math.nan]) == (0, 4)


def test_nothing_is_a_histogram_too() -> None:
    assert SCORE_BINS.counts([]) == SCORE_BINS.nothing
    assert merged([]) == ()


def test_a_quantile_lies_within_its_bin() -> None:
    bins = Bins((0.0, 1.0, 3.0, 5.0))
    assert bins.quantile((10, 0, 0, 0), 0.5) == 0.5
    assert bins.quantile((5, 10, 0, 0), 1.0) == 3.0
    assert bins.quantile((0, 4, 0, 4), 0.25) == 2.0
    assert bins.quantile((1, 0, 0, 9), 0.5) == 5.0


def test_the_median_of_calibrated_scores_is_found_to_a_hundredth() -> None:
    scores = -np.log10(np.random.default_rng(0).uniform(size=100_000))
    # P(score > s) = 10^-s; within the first bins it is not spread evenly, which costs this much.
    assert SCORE_BINS.quantile(SCORE_BINS.counts(scores), 0.5) == pytest.approx(math.log10(2), abs=0.02)
