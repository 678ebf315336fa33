"""The rulers for codes and samples measure what they say."""

import io

import numpy as np
import pytest
from PIL import Image

from stream_ae.records import Float32
from tests.quality.compression import jpeg_curve, quantised, scan_size
from tests.quality.frechet import frechet
from tests.quality.generative import r2, slant, thickness


def _bar(width: float, lean: float) -> Float32:
    """(1, 1, 28, 28) a bar of so many pixels, `lean` columns to the right for each row down."""
    rows, columns = np.indices((28, 28)) - 13.5
    away = np.abs(columns - lean * rows) - width / 2
    return np.where(np.abs(rows) < 9, np.clip(0.5 - away, 0.0, 1.0), 0.0).astype(np.float32)[None, None]


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3])
def test_slant_is_how_far_a_bar_leans(lean: float) -> None:
    assert slant(_bar(3.0, lean))[0] == pytest.approx(lean, abs=0.02)


def test_thickness_grows_with_the_bar_and_hardly_with_its_slant() -> None:
    thin, thick, leaning = (float(thickness(_bar(*bar))[0]) for bar in ((2.0, 0.0), (4.0, 0.0), (4.0, 0.3)))
    # The ends of a bar are outline too, so it seems thinner than it is.
    assert 0.7 * 2.0 < thin < 0.6 * thick
    assert thick == pytest.approx(4.0, rel=0.25)
    assert leaning == pytest.approx(thick, rel=0.1)


def test_an_empty_image_has_neither_slant_nor_thickness() -> None:
    empty = np.zeros((1, 1, 28, 28), np.float32)
    assert (slant(empty)[0], thickness(empty)[0]) == (0.0, 0.0)


def test_distance_grows_with_a_shift_and_with_a_missing_variety() -> None:
    x = np.random.default_rng(0).standard_normal((4000, 5))
    assert frechet(x[:2000], x[2000:]) < 0.05
    assert frechet(x, x + 1.0) == pytest.approx(5.0)
    # Half the spread: (1 - 1/2)^2 for each of five dimensions.
    assert frechet(x, x / 2) == pytest.approx(1.25, rel=0.05)


def test_features_that_never_move_are_no_harm() -> None:
    x = np.random.default_rng(0).standard_normal((100, 3))
    x[:, 1] = 4.0
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-6)


def test_r2_is_1_for_what_is_linear_and_0_for_noise() -> None:
    generator = np.random.default_rng(0)
    x, noise = generator.standard_normal((2, 500, 3))
    halves = x[:250], x[250:]
    assert r2(halves, (2.0 * halves[0][:, 0] + 1.0, 2.0 * halves[1][:, 0] + 1.0)) == pytest.approx(1.0)
    assert r2(halves, (noise[:250, 0], noise[250:, 0])) < 0.1


def test_more_bits_lose_less() -> None:
    codes = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    off = [float(np.abs(quantised(codes, codes, depth) - codes).max()) for depth in (4, 8)]
    assert off[0] > 10 * off[1] > 0


def test_the_scan_of_a_jpeg_is_its_file_without_the_headers() -> None:
    flat, noise = np.full((28, 28), 100, np.uint8), np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    for image, least, most in ((flat, 1, 20), (noise, 200, 1500)):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "JPEG", quality=75)
        assert least <= scan_size(out.getvalue()) <= most
        assert len(out.getvalue()) - scan_size(out.getvalue()) > 200


def test_a_better_jpeg_is_larger() -> None:
    levels, sizes, scans = jpeg_curve(np.random.default_rng(0).random((3, 1, 28, 28)).astype(np.float32))
    assert levels[-1] > levels[0] + 5
    assert sizes[-1] > sizes[0]
    assert (scans < sizes).all()
