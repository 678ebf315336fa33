"""Every member of the family: trained, saved, served and, where there is a prior, sampled from."""

from pathlib import Path

import numpy as np
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError, ModelError
from stream_ae.settings import ModelKind
from tests.models.conftest import signal

KINDS: list[ModelKind] = ["dense", "conv1d", "variational", "conv1d-variational"]


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest) -> AutoencoderDetector:
    return AutoencoderDetector(model=request.param, window=16, denoiser="autoencoder").fit(signal(1500))


def test_it_finds_a_spike_and_takes_noise_away(fitted: AutoencoderDetector) -> None:
    clean, x = signal(300, seed=1), signal(300, seed=1)
    x[200, 1] += 60.0  # ten times the channel's swing
    assert fitted.decision_function(x)[200] > fitted.detector_.threshold
    assert np.argmax(fitted.explain(x)[200]) == 1
    assert fitted.predict(clean).mean() < 0.1
    off = np.abs(fitted.denoise(x)[200, 1] - clean[200, 1])
    assert off < 30.0


def test_scores_do_not_change_from_call_to_call(fitted: AutoencoderDetector) -> None:
    x = signal(100, seed=2)
    assert np.array_equal(fitted.decision_function(x), fitted.decision_function(x))


def test_a_saved_one_says_the_same_and_names_its_kind(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    x = signal(100, seed=2)
    fitted.save(tmp_path)
    loaded = AutoencoderDetector.load(tmp_path)
    assert loaded.model == fitted.model
    assert np.array_equal(loaded.decision_function(x), fitted.decision_function(x))
    assert np.array_equal(loaded.decode(loaded.encode(x)), fitted.decode(fitted.encode(x)))


def test_samples_look_like_the_data_where_there_is_a_prior(fitted: AutoencoderDetector) -> None:
    if not fitted.model.endswith("variational"):
        with pytest.raises(ModelError, match="not variational"):
            fitted.sample(1)
        return
    windows, x = fitted.sample(500, seed=3), signal(1500)
    assert windows.shape == (500, 3, 16)
    assert np.array_equal(windows, fitted.sample(500, seed=3))
    # Each channel swings around its own level, by no less than half and no more than twice of what it does.
    np.testing.assert_allclose(windows.mean((0, 2)), x.mean(0), atol=0.3 * float(x.std(0).max()))
    swing = windows.std((0, 2)) / x.std(0)
    assert (swing > 0.5).all()
    assert (swing < 2.0).all()


def test_windows_between_two_codes_go_from_one_to_the_other_where_there_is_a_prior(
    fitted: AutoencoderDetector,
) -> None:
    codes = fitted.encode(signal(100, seed=2))
    if not fitted.model.endswith("variational"):
        with pytest.raises(ModelError, match="not variational"):
            fitted.interpolate(codes[40], codes[47], 5)
        return
    windows, ends = fitted.interpolate(codes[40], codes[47], 5), fitted.decode(codes[[40, 47]])
    assert windows.shape == (5, 3, 16)
    # Decoded in a batch of another size, which rounds differently.
    np.testing.assert_allclose(windows[[0, -1]], ends, rtol=1e-3, atol=1e-3)
    way = np.abs(np.diff(windows, axis=0)).sum((1, 2))
    assert (way > 0).all()
    # No step is most of the way: it is a path and not a jump.
    assert way.max() < 0.6 * way.sum()


@pytest.mark.parametrize(("cut", "steps"), [(1, 5), (0, 1)])
def test_codes_of_another_size_or_too_few_steps_are_refused(cut: int, steps: int) -> None:
    fitted = AutoencoderDetector(model="variational", window=8, max_epochs=1).fit(signal(300))
    code = fitted.encode(signal(10))[0]
    with pytest.raises(ConfigError, match=r"two codes of shape \(19,\)"):
        fitted.interpolate(code, code[cut:], steps)


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="conv1d-variational"):
        AutoencoderDetector(model="transformer").fit(signal(300))  # type: ignore[arg-type]
