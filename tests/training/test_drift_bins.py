"""Bins of normal samples: quantiles, values that stand still, missing ones, and how much stretches of time differ."""

import numpy as np
import pytest

from stream_ae.marginals import Marginals, stability_index
from stream_ae.records import Float32, Float64
from stream_ae.settings import TrainingSettings
from stream_ae.training import train
from stream_ae.training.drift_bins import LEAST_SHARE, edges_of, marginals_of

NAN = np.float32("nan")
GENERATOR = np.random.default_rng(0)
STRETCH = np.arange(8000) * 4 // 8000


def noise(rows: int, off: float = 0.0) -> Float32:
    return np.asarray(GENERATOR.normal(off, 1.0, rows), np.float32)


def found_in(values: Float32) -> Marginals:
    return marginals_of(("x",), values[:, None], STRETCH[: len(values)])


def index(marginals: Marginals, values: Float32) -> Float64:
    return stability_index(marginals.counts(values.reshape(-1, 1)), marginals.shares)


def test_bins_are_quantiles_and_their_shares_sum_to_1() -> None:
    (one,) = found_in(noise(8000)).each
    assert len(one.edges) == 9
    assert one.shares == pytest.approx(
        (0.01, 0.09, 0.1, 0.15, 0.15, 0.15, 0.15, 0.1, 0.09, 0.01, LEAST_SHARE), abs=0.002
    )
    assert sum(one.shares) == pytest.approx(1.0)
    assert one.usual < 0.02


def test_a_channel_that_stands_at_the_largest_number_has_finite_edges() -> None:
    largest = np.finfo(np.float32).max
    assert edges_of(np.full(3, largest)) == (float(largest),)
    marginals = found_in(np.full(8000, largest))
    assert index(marginals, np.full(100, largest)) < 0.01
    assert index(marginals, np.zeros(100, np.float32)) > 1.0


def test_other_normal_samples_are_no_drift_and_a_shift_of_a_deviation_is() -> None:
    marginals = found_in(noise(8000))
    assert index(marginals, noise(2000)) < 0.05
    assert index(marginals, noise(2000, off=1.0)) > 0.5


def test_what_leaves_the_range_that_was_seen_has_a_higher_index_than_what_stays_at_one_end_of_it() -> None:
    marginals = found_in(noise(8000))
    within = np.full(2000, marginals.each[0].edges[1] + 0.01, np.float32)
    assert index(marginals, noise(2000, off=10.0)) > index(marginals, within) + 2


@pytest.mark.parametrize("moved", [4.9, 5.0001])
def test_a_channel_that_stood_still_drifts_when_a_tenth_of_it_moves_either_way(moved: float) -> None:
    still = np.full(8000, 5.0, np.float32)
    marginals = found_in(still)
    # Not 0: what was never seen is expected in 1 of 1000.
    assert index(marginals, still[:2000]) < 0.03
    still[:200] = moved
    assert index(marginals, still[:2000]) > 0.25


def test_a_switch_has_a_bin_for_each_of_its_values() -> None:
    marginals = found_in(np.asarray(GENERATOR.integers(0, 2, 8000), np.float32))
    off, on = (marginals.counts(np.full((1, 1), value, np.float32)).argmax() for value in (0.0, 1.0))
    assert marginals.shares[0, [off, on]] == pytest.approx([0.5, 0.5], abs=0.02)


def test_missing_values_are_expected_as_often_as_they_were() -> None:
    values = noise(8000)
    values[GENERATOR.random(8000) < 0.3] = NAN
    marginals = found_in(values)
    assert marginals.shares[0, -1] == pytest.approx(0.3, abs=0.02)
    assert index(marginals, values[:2000]) < 0.05
    assert index(marginals, np.where(GENERATOR.random(2000) < 0.8, NAN, values[:2000])) > 0.5


def test_a_channel_that_never_had_a_value_drifts_when_it_has_one() -> None:
    nothing = np.full(8000, NAN, np.float32)
    assert edges_of(nothing) == ()
    marginals = found_in(nothing)
    assert index(marginals, nothing[:2000]) < 0.01
    assert index(marginals, noise(2000)) > 1


def test_a_channel_that_wanders_is_usually_far_from_the_whole() -> None:
    wandering = np.cumsum(noise(8000))
    assert found_in(np.asarray(wandering, np.float32)).each[0].usual > 1


def test_a_trained_version_knows_all_its_rows_and_codes() -> None:
    rows = np.arange(1200)
    waves = np.stack((np.sin(rows / 5), rows >= 960), axis=1).astype(np.float32)
    waves += GENERATOR.normal(0, 0.01, waves.shape).astype(np.float32)
    waves[:300, 0] = NAN
    options = TrainingSettings(window=16, max_epochs=1, denoiser="autoencoder")
    bins = train([waves], ("wave", "late"), options).detector.drift_bins
    assert bins is not None
    wave, late = bins.inputs.each
    assert (wave.name, late.name) == ("wave", "late")
    assert wave.shares[-1] == pytest.approx(0.25, abs=0.01)
    # Also what only the held-out fifth holds.
    assert late.edges[-1] > 0.9
    assert [one.name for one in bins.latents.each] == [str(number) for number in range(16)]
