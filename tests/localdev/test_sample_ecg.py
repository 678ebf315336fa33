import numpy as np
import pytest

from stream_ae.localdev import sample_ecg


def test_ninety_seconds_of_two_leads_are_in_the_package() -> None:
    clean = sample_ecg.load()
    assert clean.shape == (90 * sample_ecg.RATE_HZ, len(sample_ecg.CHANNELS))
    # QRS complexes of about a millivolt, some 70 a minute.
    assert 0.5 < np.abs(clean[:, 0]).max() < 3.0
    beats = np.flatnonzero(np.diff((clean[:, 0] > 0.5).astype(int)) == 1)
    assert 90 < len(beats) < 130


def test_noise_has_the_ratio_that_was_asked_for_and_repeats() -> None:
    clean = sample_ecg.load()
    given = sample_ecg.noisy(clean, 6.0)
    # 32,400 draws: within 0.8 % (one sigma), 0.03 dB.
    assert sample_ecg.snr_db(clean, given) == pytest.approx(6.0, abs=0.1)
    np.testing.assert_array_equal(given, sample_ecg.noisy(clean, 6.0))


def test_times_are_one_sample_apart_and_end_when_told() -> None:
    times = sample_ecg.timestamps(361, 5000)
    assert (times[0], times[-1]) == (4000, 5000)
    assert set(np.diff(times).tolist()) == {2, 3}
