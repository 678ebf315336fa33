"""AutoencoderDetector: names and manners of scikit-learn, the very model that workers serve."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone

from stream_ae import AutoencoderDetector
from stream_ae.errors import ConfigError

Rows = NDArray[np.float64]


def _rows(count: int = 600, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    waves: Rows = np.sin(np.arange(count)[:, None] / np.array([3.0, 5.0]))
    return waves + generator.normal(0, 0.05, (count, 2))


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(window=8, max_epochs=4, threads=1).fit(_rows())


def test_the_five_questions_have_answers_of_the_right_shape(fitted: AutoencoderDetector) -> None:
    x = _rows(100, seed=1)
    scores, flags = fitted.decision_function(x), fitted.predict(x)
    assert scores.shape == flags.shape == (100,)
    assert scores.dtype == np.float64
    assert set(flags.tolist()) <= {0, 1}
    np.testing.assert_allclose(fitted.explain(x).sum(1), 1.0, rtol=1e-5)
    assert fitted.denoise(x).shape == x.shape
    assert fitted.decode(fitted.encode(x)).shape == (100, 2, 8)


def test_an_anomaly_is_found_and_its_channel_named(fitted: AutoencoderDetector) -> None:
    x = _rows(100, seed=1)
    x[60, 1] += 5.0
    assert fitted.predict(x)[60] == 1
    assert fitted.explain(x)[60].argmax() == 1
    assert fitted.decision_function(x)[:60].max() < fitted.decision_function(x)[60]


@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_score_uses_no_row_beyond_its_lookahead(lookahead: int) -> None:
    detector = AutoencoderDetector(window=8, lookahead=lookahead, max_epochs=1, threads=1).fit(_rows())
    x = _rows(100, seed=1)
    changed = x.copy()
    changed[50 + lookahead :] = 99.0
    # A batch of other content may round differently.
    np.testing.assert_allclose(
        detector.decision_function(changed)[:50], detector.decision_function(x)[:50], rtol=1e-3, atol=1e-4
    )


def test_scores_are_finite_whatever_comes(fitted: AutoencoderDetector) -> None:
    x = _rows(60, seed=1)
    x[10], x[20], x[30, 0], x[40, 1] = np.nan, 1e300, np.inf, -1e30
    assert np.isfinite(fitted.decision_function(x)).all()
    assert np.isfinite(fitted.denoise(x)).all()
    assert fitted.predict(x)[[20, 30, 40]].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_denoising_keeps_the_type_of_floats(fitted: AutoencoderDetector, dtype: type) -> None:
    assert fitted.denoise(_rows(20).astype(dtype)).dtype == dtype


def test_denoising_whole_numbers_gives_float32(fitted: AutoencoderDetector) -> None:
    assert fitted.denoise(np.ones((20, 2), np.int64)).dtype == np.float32


def test_denoising_takes_noise_away() -> None:
    clean = np.sin(np.arange(3000)[:, None] / np.array([3.0, 5.0]))
    noisy = clean + np.random.default_rng(0).normal(0, 0.3, clean.shape)
    detector = AutoencoderDetector(window=16, threads=1).fit(noisy[:2000])
    after, before = detector.denoise(noisy[2000:]) - clean[2000:], noisy[2000:] - clean[2000:]
    assert float(np.std(after)) < 0.8 * float(np.std(before))


def test_one_dimension_is_one_channel() -> None:
    x = _rows()[:, 0]
    detector = AutoencoderDetector(window=8, max_epochs=1, threads=1).fit(x)
    assert detector.denoise(x).shape == x.shape
    assert detector.explain(x).shape == (600, 1)
    np.testing.assert_array_equal(detector.decision_function(x), detector.decision_function(x[:, None]))


def test_no_rows_give_no_answers(fitted: AutoencoderDetector) -> None:
    nothing = np.empty((0, 2))
    assert fitted.decision_function(nothing).shape == fitted.predict(nothing).shape == (0,)
    assert fitted.denoise(nothing).shape == fitted.explain(nothing).shape == (0, 2)
    assert fitted.encode(nothing).shape == (0, fitted.detector_.code_size)


def test_a_loaded_detector_answers_the_same(fitted: AutoencoderDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "version")
    again = AutoencoderDetector.load(tmp_path / "version")
    x = _rows(50, seed=2)
    np.testing.assert_array_equal(again.decision_function(x), fitted.decision_function(x))
    assert again.window == 8
    assert again.false_alarm_rate == pytest.approx(0.005)


def test_scikit_learn_clones_it_unfitted() -> None:
    detector = AutoencoderDetector(window=8, seed=3, max_epochs=1).fit(_rows())
    copy = clone(detector)
    assert copy.get_params() == detector.get_params()
    with pytest.raises(ConfigError, match="call fit"):
        copy.predict(_rows())


def test_parameters_can_be_set_by_name() -> None:
    assert AutoencoderDetector().set_params(window=16).get_params()["window"] == 16
    with pytest.raises(ConfigError, match="unknown parameter 'windows'"):
        AutoencoderDetector().set_params(windows=16)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [({"window": 1}, "window"), ({"lookahead": 99}, "lookahead 99"), ({"model": "magic"}, "'magic'")],
)
def test_wrong_parameters_are_refused_when_fitting(parameters: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AutoencoderDetector().set_params(**parameters).fit(_rows())


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.zeros((5, 3)), "3 columns"),
        (np.zeros((5, 2, 2)), r"shape \(5, 2, 2\)"),
        (np.array([["a", "b"]]), "not numbers"),
        (np.float64(3.0), r"shape \(\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fitted: AutoencoderDetector, x: Rows, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        fitted.decision_function(x)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import stream_ae, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import stream_ae

    with pytest.raises(AttributeError, match="'nothing'"):
        stream_ae.nothing  # noqa: B018
