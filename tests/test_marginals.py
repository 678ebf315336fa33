"""Counts of single quantities in a version's bins, and the index that compares them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.marginals import (
    MOST_CHANNELS,
    Marginal,
    Marginals,
    counted_channels,
    inputs_of,
    latents_of,
    stability_index,
)
from stream_ae.records import Float32

NAN = float("nan")
TWO = Marginals(
    (
        Marginal("a", (0.0, 1.0), (0.25, 0.25, 0.25, 0.25), 0.0),
        Marginal("b", (5.0,), (0.5, 0.25, 0.25), 0.0),
    )
)


def floats(*rows: list[float]) -> Float32:
    return np.array(rows, np.float32)


def test_values_are_counted_by_bin_and_missing_ones_in_the_last() -> None:
    values = floats([-1.0, 4.9], [0.0, 5.0], [0.5, NAN], [1.0, float("inf")], [NAN, NAN])
    assert TWO.counts(values).tolist() == [[1, 2, 1, 1], [1, 2, 0, 2]]


def test_the_expected_shares_lie_in_the_same_bins() -> None:
    assert TWO.shares.tolist() == [[0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.0, 0.25]]


@given(st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=20))
def test_every_value_is_counted_once(rows: list[list[float]]) -> None:
    counts = TWO.counts(np.array(rows, np.float32).reshape(-1, 2))
    assert counts.sum(1).tolist() == [len(rows)] * 2
    assert counts[1, 2] == 0


def test_nothing_to_count_is_a_table_without_rows() -> None:
    assert Marginals().counts(np.empty((3, 0), np.float32)).shape == (0, 2)


def test_indices_of_several_quantities_are_those_of_each_alone() -> None:
    counts = np.array([[10, 20, 30, 40], [70, 20, 0, 10]])
    together = stability_index(counts, TWO.shares)
    assert together[0] == stability_index(counts[0], TWO.shares[0])
    assert together[1] == pytest.approx(stability_index([70, 20, 10], np.array([0.5, 0.25, 0.25])))


def test_of_very_many_channels_as_many_as_fit_are_counted_evenly_spread() -> None:
    assert counted_channels(3) == [0, 1, 2]
    places = counted_channels(1000)
    assert (len(places), places[0], places[-1]) == (MOST_CHANNELS, 0, 999)
    assert set(np.diff(places).tolist()) == {7, 8}
    samples = np.arange(1000, dtype=np.float32)[None]
    assert inputs_of(samples, None)[0].tolist() == places


def test_frames_are_counted_by_mean_and_contrast_of_the_pixels_that_are_there() -> None:
    frame = floats([0, 2, 0, 2], [1, 1, 1, NAN], [NAN, NAN, NAN, NAN])
    found = inputs_of(frame.reshape(1, -1), (3, 2, 2))
    assert found[0].tolist() == pytest.approx([1, 1, NAN, 1, 0, NAN], nan_ok=True)


def test_a_large_frame_is_told_by_a_part_of_its_pixels() -> None:
    generator = np.random.default_rng(0)
    frames = generator.normal(5.0, 2.0, (2, 1, 500, 300)).astype(np.float32)
    found = inputs_of(frames.reshape(2, -1), (1, 500, 300))
    assert found == pytest.approx(np.array([[5.0, 2.0]] * 2), abs=0.15)


def test_long_codes_are_told_by_sums_that_every_dimension_moves() -> None:
    short = np.ones((2, 16), np.float32)
    assert latents_of(short) is short
    moved = latents_of(np.eye(40, dtype=np.float32))
    assert moved.shape == (40, 16)
    assert set(np.unique(moved).tolist()) == {-1.0, 1.0}
    # Two dimensions that are moved by as much do not hide each other in all sums.
    assert (moved[0] + moved[32]).any()
