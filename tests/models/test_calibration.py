import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.errors import ModelError
from stream_ae.models.calibration import TailScale
from stream_ae.models.config import TailConfig


def _scale(shape: float) -> TailScale:
    return TailScale(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0]), shape, sigma=0.5)


def test_levels_between_knots_are_interpolated() -> None:
    assert _scale(0.0).level(np.array([0.5, 1.5, 3.0])).tolist() == [0.0, 0.5, 1.5]


def test_an_exponential_tail_is_straight_on_this_scale() -> None:
    # One sigma beyond the last knot is a factor e rarer.
    assert _scale(0.0).level(np.array([4.5]))[0] == pytest.approx(2.0 + 1.0 / np.log(10.0))


def test_infinity_has_an_infinite_level() -> None:
    assert _scale(0.2).level(np.array([np.inf])).tolist() == [np.inf]


@given(st.floats(0.0, 0.5), st.lists(st.floats(0.0, 1e30), min_size=2, max_size=20))
def test_a_higher_score_is_never_a_lower_level(shape: float, raw: list[float]) -> None:
    levels = _scale(shape).level(np.sort(np.array(raw)))
    assert np.isfinite(levels).all()
    assert (np.diff(levels) >= 0).all()


def test_a_scale_survives_its_configuration() -> None:
    raw = np.linspace(0, 50, 101)
    again = TailScale.of(_scale(0.3).config(), "here")
    assert (again.level(raw) == _scale(0.3).level(raw)).all()


@pytest.mark.parametrize(
    "config",
    [
        TailConfig(knots=[], levels=[], shape=0.0, sigma=1.0),
        TailConfig(knots=[1.0, 1.0], levels=[0.0, 1.0], shape=0.0, sigma=1.0),
        TailConfig(knots=[0.0, 1.0], levels=[1.0, 0.0], shape=0.0, sigma=1.0),
        TailConfig(knots=[0.0, 1.0], levels=[0.0], shape=0.0, sigma=1.0),
        TailConfig(knots=[0.0, float("inf")], levels=[0.0, 1.0], shape=0.0, sigma=1.0),
        TailConfig(knots=[0.0], levels=[0.0], shape=0.0, sigma=0.0),
        TailConfig(knots=[0.0], levels=[0.0], shape=-0.1, sigma=1.0),
    ],
)
def test_a_curve_that_does_not_rise_is_refused(config: TailConfig) -> None:
    with pytest.raises(ModelError, match="scoring.newest"):
        TailScale.of(config, "scoring.newest")
