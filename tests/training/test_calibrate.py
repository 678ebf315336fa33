import numpy as np
import pytest

from stream_ae.flow.window import windows_of
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training import train
from stream_ae.training.calibrate import fitted_tail


def _threshold(raw: np.ndarray[tuple[int], np.dtype[np.float64]], rate: float) -> float:
    """The raw score whose level is that of `rate`, by bisection."""
    scale, low, high = fitted_tail(raw).scale, float(raw.min()), float(raw.max()) * 100
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if scale.level(np.array([middle]))[0] > -np.log10(rate) else (middle, high)
    return low


def test_with_enough_scores_the_threshold_is_their_quantile() -> None:
    raw = np.random.default_rng(0).exponential(size=10_000)
    # Between two knots the curve is straight, the quantiles are not: well below one in a hundred apart.
    assert _threshold(raw, 0.005) == pytest.approx(float(np.quantile(raw, 0.995)), rel=0.01)


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_beyond_the_data_a_pareto_tail_holds_the_rate(shape: float) -> None:
    generator = np.random.default_rng(1)
    draw = generator.exponential if shape == 0.0 else lambda size: generator.pareto(1 / shape, size)
    rate = 1e-4
    threshold = _threshold(draw(size=20_000), rate)
    measured = float((draw(size=1_000_000) > threshold).mean())
    # FACTS: 1.1-1.4 times the asked rate; 20,000 scores hold only 2 above it, so a factor of 2.5 either way.
    assert rate / 2.5 < measured < rate * 2.5


def test_too_few_excesses_fall_back_to_an_exponential_tail_and_say_so() -> None:
    tail = fitted_tail(np.random.default_rng(0).exponential(size=1000))
    assert tail.guessed
    assert tail.scale.shape == 0.0
    # An exponential's mean excess is its scale, 1; 100 scores give it within 10 % (one sigma).
    assert tail.scale.sigma == pytest.approx(1.0, rel=0.3)


def test_a_heavy_top_is_noticed() -> None:
    generator = np.random.default_rng(0)
    assert fitted_tail(generator.pareto(1.0, 20_000)).heavy
    assert not fitted_tail(generator.exponential(size=20_000)).heavy


@pytest.mark.parametrize("count", [1, 5, 12, 1000, 20_000])
def test_scores_without_spread_still_give_a_curve_that_rises(count: int) -> None:
    level = fitted_tail(np.full(count, 3.0)).scale.level(np.array([2.0, 3.0, 3.1, 10.0, 1e6]))
    assert np.isfinite(level).all()
    assert (np.diff(level[1:]) > 0).all()


def _noise(rows: int, seed: int) -> Float32:
    generator = np.random.default_rng(seed)
    return (np.sin(np.arange(rows)[:, None] / np.arange(3, 6)) + generator.normal(0, 0.2, (rows, 3))).astype(np.float32)


@pytest.mark.parametrize("rate", [0.05, 0.005])
def test_about_as_many_normal_rows_are_flagged_as_asked_for(rate: float) -> None:
    options = TrainingSettings(window=8, max_epochs=3, threads=1, false_alarm_rate=rate)
    trained = train([_noise(20_000, seed=0)], ("a", "b", "c"), options)
    answer = trained.detector.infer(windows_of(_noise(20_000, seed=1), 8))
    flagged = float((answer.score > trained.detector.threshold).mean())
    # 4,000 calibration windows overlap: at 0.005 about 20 lie above, in clusters; a factor of 2 is three sigma.
    assert rate / 2 < flagged < rate * 2
    assert trained.detector.threshold == pytest.approx(-np.log10(rate))
    assert trained.report.warnings == ()


def test_a_rate_too_small_for_the_data_is_warned_about() -> None:
    options = TrainingSettings(window=8, max_epochs=1, threads=1, false_alarm_rate=0.001)
    (warning,) = train([_noise(1000, seed=0)], ("a", "b", "c"), options).report.warnings
    assert "200 held-out windows are too few" in warning
    assert "10000 held-out rows" in warning
