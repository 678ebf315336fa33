"""The start of a stream is no event of its own, and a gross fault there still is one."""

from pathlib import Path

import numpy as np
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.models import serialization
from stream_ae.records import Float32
from stream_ae.training.start import begun_within

STREAMS = 60


def _fast(count: int, seed: int) -> Float32:
    """Swings that a window of 32 sees several of."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi)
    waves = np.sin(phase + np.arange(count)[:, None] / np.array([0.8, 1.3, 2.1]))
    rows: Float32 = (waves + generator.normal(0, 0.05, waves.shape)).astype(np.float32)
    return rows


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(threads=1, max_epochs=6).fit(_fast(6000, 0))


def test_few_streams_begin_with_a_flag_though_their_first_scores_are_high(fitted: AutoencoderDetector) -> None:
    starts = [_fast(31, seed) for seed in range(1, STREAMS)]
    scores = [fitted.decision_function(x) for x in starts]
    assert np.mean(np.concatenate(scores) > fitted.threshold_) > 0.03
    # 0.5 % of rows are asked for; 1,800 rows of 59 streams, in each of which they come together.
    assert np.mean([fitted.predict(x) for x in starts]) < 0.015


def test_a_gross_fault_in_the_first_rows_is_flagged(fitted: AutoencoderDetector) -> None:
    found = 0
    for seed in range(1, 11):
        x = _fast(31, seed)
        x[15] += 40.0
        found += int(fitted.predict(x)[15])
    assert found >= 9


def test_from_the_first_full_window_on_the_usual_threshold_counts(fitted: AutoencoderDetector) -> None:
    x = _fast(400, 3)
    np.testing.assert_array_equal(fitted.predict(x)[31:], fitted.decision_function(x)[31:] > fitted.threshold_)


def test_the_start_threshold_is_a_part_of_the_version(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    assert fitted.detector_.start_threshold > fitted.threshold_
    fitted.save(tmp_path)
    assert serialization.load(tmp_path).start_threshold == fitted.detector_.start_threshold


def test_a_window_that_begins_with_its_streams_first_sample_is_filled_with_it() -> None:
    windows = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    begun = begun_within(windows, np.array([0, 2]))
    np.testing.assert_array_equal(begun[0], windows[0])
    assert begun[1].tolist() == [[8, 8, 8], [11, 11, 11]]
