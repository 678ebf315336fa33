"""Components of a training set."""

import numpy as np
import pytest

from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training import train
from stream_ae.training.dataset import HeldOut
from stream_ae.training.linear import EXPLAINED, MOST_COMPONENTS, fitted_linear


def _related(rows: int, seed: int = 0) -> Float32:
    """Four channels that are mixtures of one slow wave, with noise; the last never moves."""
    generator = np.random.default_rng(seed)
    wave = np.sin(np.arange(rows) / 50)[:, None] * [1.0, -2.0, 0.5, 0.0]
    noise = generator.normal(0, 0.05, (rows, 4)) * [1.0, 1.0, 1.0, 0.0]
    return np.asarray(wave + noise + [0.0, 10.0, 5.0, 7.0], np.float32)


def test_channels_that_move_together_take_one_component() -> None:
    view = fitted_linear(HeldOut([_related(2000)], [0]).windows(16, 0), lookahead=0, seed=0)
    assert view.span == 8
    assert view.components.shape == (32, 1)
    np.testing.assert_allclose(view.components.T @ view.components, np.eye(1), atol=1e-5)


def test_channels_without_relation_take_enough_components_or_as_many_as_there_may_be() -> None:
    noise = np.random.default_rng(0).normal(size=(3000, 10)).astype(np.float32)
    few = fitted_linear(HeldOut([noise[:, :2]], [0]).windows(16, 0), lookahead=0, seed=0)
    many = fitted_linear(HeldOut([noise], [0]).windows(32, 0), lookahead=0, seed=0)
    # White noise: each of 16 directions explains the same.
    assert few.components.shape[1] == pytest.approx(16 * EXPLAINED, abs=2)
    assert many.components.shape[1] == MOST_COMPONENTS


def test_a_shift_that_lasts_longer_than_a_window_is_still_an_anomaly() -> None:
    options = TrainingSettings(window=16, max_epochs=2, threads=1)
    detector = train([_related(3000)], ("a", "b", "c", "d"), options).detector
    shifted = _related(400, seed=1)
    # Within what the channel shows at other times, but not together with the others: and 200 samples long.
    shifted[100:300, 1] = 10.0
    wrong = np.abs(np.sin(np.arange(400) / 50)) > 0.5
    settled = np.zeros(400, np.bool_)
    settled[120:300] = wrong[120:300]
    windows = HeldOut([shifted], [0]).windows(16, 0)
    score = detector.infer(windows.windows(np.arange(400))).score
    assert (score[settled] > detector.threshold).mean() > 0.95
    assert (score[:100] > detector.threshold).mean() < 0.05


def test_a_constant_channel_that_moves_is_found_and_named() -> None:
    options = TrainingSettings(window=16, max_epochs=2, threads=1)
    detector = train([_related(2000)], ("a", "b", "c", "d"), options).detector
    moved = _related(40, seed=1)
    moved[30:, 3] = 8.0
    answer = detector.infer(HeldOut([moved], [0]).windows(16, 0).windows(np.arange(40)))
    assert (answer.score[31:] > detector.threshold).all()
    assert (answer.share[31:].argmax(1) == 3).all()
