"""The ruler of denoising itself: noise of the power it says, filters that do what they are for, people that differ."""

import numpy as np
import pytest

from stream_ae.records import Float64
from tests.quality.classical import best_of, wavelet
from tests.quality.ecg import NOISES, RATE_HZ, Row, noise, people, snr_db, table


def _waves() -> Float64:
    """(N, 2) twenty seconds of two sines of 1.3 and 5 Hz."""
    time_s = np.arange(20 * RATE_HZ) / RATE_HZ
    return np.asarray(np.sin(2 * np.pi * time_s[:, None] * np.array([1.3, 5.0])), np.float64)


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_the_power_that_its_name_says_and_repeats(name: str) -> None:
    clean = _waves()
    drawn = noise(name, clean, seed=3)
    ratio = 10 * np.log10(np.square(clean).mean(0) / np.square(drawn).mean(0))
    np.testing.assert_allclose(ratio, NOISES[name], atol=1e-6)
    np.testing.assert_array_equal(drawn, noise(name, clean, seed=3))


def test_the_wavelet_transform_without_a_threshold_gives_back_what_went_in() -> None:
    clean = _waves()
    np.testing.assert_allclose(wavelet(clean, factor=0.0, levels=4), clean, atol=1e-9)


def test_the_best_filter_takes_noise_away() -> None:
    clean = _waves()
    noisy = clean + noise("gaussian 6 dB", clean, seed=0)
    best, name = best_of(noisy, RATE_HZ, lambda found: snr_db(clean, found))
    assert best > 12.0
    assert name in ("wavelet", "band-pass")


def test_people_differ_from_the_one_they_are_made_of() -> None:
    clean = _waves()
    for person in people(clean).values():
        assert person.shape[1] == 2
        assert not np.allclose(person[:1000], clean[:1000])


def test_the_table_has_a_line_for_each_noise_with_means_over_seeds() -> None:
    rows = [Row(seed, "drift 3 dB", 3.0, out, 9.7, "band-pass") for seed, out in ((0, 17.0), (1, 18.0))]
    assert table(rows).splitlines()[-1] == "| drift 3 dB | 3.0 | 9.7 (band-pass) | 17.5 | 1.0 |"
