"""What a training says of its codes: how much they compress, what it costs, and a picture of them."""

import importlib.util
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from stream_ae.settings import TrainingSettings
from stream_ae.training import Trained, train
from stream_ae.training.latent_map import compression, latent_map, principal
from stream_ae.training.picture import NAME, pictures

WINDOW = 8


@pytest.fixture(scope="module")
def trained() -> Trained:
    generator = np.random.default_rng(0)
    waves = np.sin(np.arange(800)[:, None] / np.array([3.0, 5.0, 7.0])) + generator.normal(0, 0.05, (800, 3))
    return train([waves.astype(np.float32)], ("a", "b", "c"), TrainingSettings(window=WINDOW, max_epochs=6, threads=1))


def test_compression_is_the_values_of_a_window_for_each_number_of_its_code(trained: Trained) -> None:
    metrics = trained.report.metrics()
    assert metrics["compression_ratio"] == 3 * WINDOW / trained.detector.code_size
    # Sines have a standard deviation of 0.7: a code that said nothing of them would be off by about a scale.
    assert 0.0 < metrics["compression_error"] < 0.8


def test_the_error_is_that_of_decoded_codes_where_something_was_observed(trained: Trained) -> None:
    windows = trained.held_out.windows(WINDOW, 0)
    batch = windows.windows(np.arange(len(windows)))
    detector = trained.detector
    off = np.abs(detector.decode(detector.encode(batch)) - batch) / detector.network.normaliser.scale.numpy()
    assert compression(detector, windows).error == pytest.approx(float(off.mean()), rel=1e-4)
    assert np.isfinite(trained.report.compression_error)


def test_the_map_lies_in_the_plane_of_the_largest_variance() -> None:
    generator = np.random.default_rng(0)
    plane = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]) / np.sqrt(2)
    where = generator.normal(0, 1, (500, 2)) * np.array([5.0, 2.0])
    points, explained = principal((where @ plane + generator.normal(0, 0.01, (500, 4)) + 7.0).astype(np.float32))
    np.testing.assert_allclose(np.abs(points[:, 0]), np.abs(where[:, 0] - where[:, 0].mean()), atol=0.3)
    assert explained[0] > 0.8
    assert sum(explained) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (5, 1), (5, 2)])
def test_there_are_two_components_however_small_the_codes_are(shape: tuple[int, int]) -> None:
    points, explained = principal(np.ones(shape, np.float32))
    assert points.shape == (shape[0], 2)
    assert (points == 0).all()
    assert explained == (0.0, 0.0)


def test_a_map_has_a_point_and_a_score_for_every_held_out_window(trained: Trained) -> None:
    found = latent_map(trained.detector, trained.held_out.windows(WINDOW, 0))
    assert found.points.shape == (160, 2)
    assert found.score.shape == (160,)


def test_the_picture_is_a_png(trained: Trained) -> None:
    assert list(pictures(trained)) == [NAME]
    assert pictures(trained)[NAME].startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_picture(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", not_found)
    assert pictures(trained) == {}
