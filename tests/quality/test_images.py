"""The rulers for images measure what they say."""

import numpy as np
import pytest

from stream_ae.localdev.sample_frames import auroc
from tests.quality.images import CORRUPTIONS, DEFECTS, psnr


def test_auroc_is_the_chance_that_an_anomaly_scores_above_a_normal_one() -> None:
    label = np.array([False, False, True, True])
    assert auroc(label, np.array([1.0, 2.0, 3.0, 4.0])) == 1.0
    assert auroc(label, np.array([1.0, 3.0, 2.0, 4.0])) == 0.75
    assert auroc(label, np.zeros(4)) == 0.5


def test_psnr_over_all_images_listens_to_the_worst_and_that_of_each_to_all_alike() -> None:
    clean = np.zeros((2, 1, 2, 2), np.float32)
    estimate = clean + np.array([0.1, 0.001], np.float32)[:, None, None, None]
    over_all, of_each = psnr(clean, estimate)
    assert over_all == pytest.approx(23.0, abs=0.05)
    assert of_each == pytest.approx(40.0, abs=0.05)


@pytest.mark.parametrize(("name", "psnr_in"), [("gaussian .25", 12.0), ("gaussian .50", 6.0)])
def test_noise_has_the_size_that_its_name_says(name: str, psnr_in: float) -> None:
    clean = np.zeros((50, 1, 28, 28), np.float32)
    noisy = CORRUPTIONS[name](clean, np.random.default_rng(0))
    assert psnr(clean, noisy)[0] == pytest.approx(psnr_in, abs=0.1)


def test_a_missing_block_is_64_pixels_of_each_image() -> None:
    clean = np.zeros((20, 1, 28, 28), np.float32)
    spoilt = CORRUPTIONS["missing 8 x 8"](clean, np.random.default_rng(0))
    assert np.isnan(spoilt).sum((1, 2, 3)).tolist() == [64] * 20
    assert not np.isnan(clean).any()


def test_defects_are_small_and_leave_the_original() -> None:
    image = np.zeros((28, 28), np.float32)
    image[5:20, 12:15] = 1.0
    before = image.copy()
    for defect in DEFECTS.values():
        changed = defect(image, np.random.default_rng(0)) != image
        assert 0 < changed.sum() <= 49
    np.testing.assert_array_equal(image, before)
