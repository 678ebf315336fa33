"""Do no harm: what cleans a channel has to beat leaving it alone."""

import numpy as np
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError
from stream_ae.records import Float32, Float64
from stream_ae.settings import TrainingSettings
from stream_ae.training import Trained, train
from stream_ae.training.choose import chosen_for, told
from stream_ae.training.noise_power import noise_power

OPTIONS = TrainingSettings(window=16, threads=1, max_epochs=8)


def _sines(rows: int, period: float = 5.0) -> Float64:
    """(N, 2), variance 0.5 each."""
    return np.asarray(np.sin(np.arange(rows)[:, None] / np.array([period * 0.6, period])), np.float64)


def _noisy(clean: Float64, deviation: float, seed: int = 0) -> Float32:
    noise = np.random.default_rng(seed).normal(0, deviation, clean.shape)
    return np.asarray(clean + noise, np.float32)


def _trained(rows: Float32, **changes: object) -> Trained:
    return train([rows], ("a", "b"), OPTIONS.model_copy(update=changes))


def _error(trained: Trained, given: Float32, clean: Float64) -> float:
    """Mean squared error after denoising over that before it."""
    detector = AutoencoderDetector()
    detector.detector_, detector.profile_ = trained.detector, None
    return float(np.square(detector.denoise(given) - clean).mean() / np.square(given - clean).mean())


@pytest.mark.parametrize("deviation", [0.05, 0.5])
def test_white_noise_in_sines_is_measured(deviation: float) -> None:
    rows = _noisy(_sines(8000), deviation)
    # The least of seven bands of medians over some 250 segments lies a little low.
    assert noise_power([rows]) == pytest.approx([deviation**2] * 2, rel=0.25)


@pytest.mark.parametrize("kind", ["sine", "walk", "constant", "silent", "short"])
def test_what_has_no_noise_measures_none(kind: str) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(4000, 1)), axis=0)
    rows = {
        "sine": _sines(4000)[:, :1],
        "walk": np.cumsum(walk, axis=0),
        "constant": np.full((4000, 1), 7.1),
        "silent": np.full((4000, 1), np.nan),
        "short": walk[:40],
    }[kind]
    variance = float(np.nanvar(rows)) if kind != "silent" else 1.0
    assert noise_power([np.asarray(rows, np.float32)])[0] <= 1e-4 * variance


def test_a_signal_without_noise_is_left_alone_and_comes_out_as_it_came_in() -> None:
    rows = np.asarray(_sines(3000), np.float32)
    trained = _trained(rows)
    assert [choice.by for choice in trained.detector.choices] == ["identity", "identity"]
    detector = AutoencoderDetector()
    detector.detector_, detector.profile_ = trained.detector, None
    np.testing.assert_array_equal(detector.denoise(rows), rows)


def test_noise_that_the_autoencoder_can_take_away_is_taken_away() -> None:
    trained = _trained(_noisy(_sines(3000), 0.5))
    assert [choice.by for choice in trained.detector.choices] == ["autoencoder", "autoencoder"]
    clean = _sines(1000)
    assert _error(trained, _noisy(clean, 0.5, seed=1), clean) < 0.7


def test_each_channel_is_chosen_for_by_itself() -> None:
    clean = _sines(3000)
    trained = _trained(np.c_[_noisy(clean, 0.5)[:, 0], clean[:, 1]].astype(np.float32))
    assert [choice.by for choice in trained.detector.choices] == ["autoencoder", "identity"]
    assert trained.report.metrics() | {"channels_by_identity": 1.0, "channels_by_autoencoder": 1.0} == (
        trained.report.metrics()
    )
    said = told(trained.detector.channels, trained.detector.choices)
    assert said.startswith("a: autoencoder, masked loss ")
    assert "b: identity, " in said


def test_what_was_measured_is_told() -> None:
    choice = _trained(_noisy(_sines(3000), 0.5)).detector.choices[0]
    assert choice.figures["masked_loss_autoencoder"] < 2 * choice.figures["noise_power"]
    assert "below twice the noise" in choice.reason


def test_asked_for_nothing_or_the_autoencoder_nothing_is_measured() -> None:
    rows = _noisy(_sines(600), 0.5)
    for denoiser, by in (("none", "identity"), ("autoencoder", "autoencoder")):
        trained = _trained(rows, denoiser=denoiser, max_epochs=1)
        assert {(choice.by, *choice.figures) for choice in trained.detector.choices} == {(by,)}


def test_a_stream_that_the_network_does_not_know_is_left_alone() -> None:
    trained = _trained(_noisy(_sines(3000), 0.5))
    # Another frequency, and less noise than the network does harm.
    stranger = _noisy(_sines(3000, period=1.3), 0.1)
    assert _error(trained, stranger, _sines(3000, period=1.3)) > 1.0
    again = chosen_for(trained.detector, [stranger])
    assert [choice.by for choice in again.choices] == ["identity", "identity"]
    assert [choice.by for choice in trained.detector.choices] == ["autoencoder", "autoencoder"]


def test_a_blind_u_net_takes_noise_away_with_noisy_data_alone() -> None:
    clean = _sines(4000)
    trained = _trained(_noisy(clean, 0.5), denoiser="unet", window=32, lookahead=16, denoiser_steps=300, max_epochs=1)
    assert "unet" in [choice.by for choice in trained.detector.choices]
    assert _error(trained, _noisy(clean, 0.5, seed=1)[:1000], clean[:1000]) < 0.7


def test_a_u_net_learns_from_clean_data_what_noise_is() -> None:
    clean = _sines(4000)
    options = {"denoiser": "unet", "clean": True, "window": 32, "lookahead": 16, "denoiser_steps": 300}
    trained = _trained(np.asarray(clean, np.float32), max_epochs=1, **options)
    assert [choice.by for choice in trained.detector.choices] == ["unet", "unet"]
    assert trained.detector.choices[0].figures["gain_gaussian_0_db"] > 3.0
    assert _error(trained, _noisy(clean, 0.5, seed=1)[:1000], clean[:1000]) < 0.5


def test_the_same_seed_gives_the_same_u_net() -> None:
    rows = _noisy(_sines(600), 0.5)
    once, again = (_trained(rows, denoiser="unet", denoiser_steps=5, max_epochs=1).detector for _ in range(2))
    windows = rows[:32].reshape(2, 16, 2).transpose(0, 2, 1).copy()
    np.testing.assert_array_equal(once.estimates(windows)[1], again.estimates(windows)[1])
    assert once.choices == again.choices


def test_choosing_anew_needs_the_same_channels() -> None:
    detector = AutoencoderDetector(window=8, max_epochs=1, threads=1).fit(_sines(600))
    assert detector.choose_denoiser(_sines(600)) is detector
    with pytest.raises(ConfigError, match="3 columns"):
        detector.choose_denoiser(np.zeros((600, 3)))
