import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.models.normaliser import CLIP, Normaliser
from stream_ae.records import Float32
from stream_ae.training.dataset import split
from stream_ae.training.normalise import fitted_normaliser


def _fitted(rows: Float32, window: int = 8) -> Normaliser:
    return fitted_normaliser(split([rows], window, 0, 0.2).fit, [rows])


def _rows(seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal([0.0, 1e6], [1.0, 1e3], (400, 2)).astype(np.float32)


def test_windows_are_of_unit_size_whatever_the_units() -> None:
    rows = _rows()
    seen = _fitted(rows).apply(torch.from_numpy(rows[:400].reshape(50, 8, 2)).transpose(1, 2))
    # 400 values a channel: the estimate of 1 is within 4 % (one sigma).
    assert ((seen.x.std((0, 2)) - 1.0).abs() < 0.2).all()


def test_restoring_gives_the_input_back() -> None:
    rows, normaliser = _rows(), _fitted(_rows())
    windows = torch.from_numpy(rows[:80].reshape(10, 8, 2)).transpose(1, 2)
    seen = normaliser.apply(windows)
    np.testing.assert_allclose(normaliser.restore(seen.x, seen.base), windows, rtol=1e-5, atol=1e-6)


def test_a_channel_that_never_moves_has_a_scale_of_its_own_size() -> None:
    rows = np.tile(np.array([0.0, 5.0, -2e6], np.float32), (400, 1))
    assert _fitted(rows).scale[:, 0].tolist() == [1.0, np.float32(0.05), np.float32(2e4)]


def test_a_channel_without_values_is_still_finite() -> None:
    rows = _rows()
    rows[:, 0] = np.nan
    normaliser = _fitted(rows)
    assert all(
        bool(torch.isfinite(part).all())
        for part in (normaliser.centre, normaliser.scale, normaliser.low, normaliser.high)
    )


def test_a_wild_value_does_not_bend_the_base() -> None:
    rows, normaliser = _rows(), _fitted(_rows())
    windows = torch.from_numpy(rows[None, :8].copy()).transpose(1, 2)
    calm = normaliser.apply(windows).base
    windows[0, 0, 3] = 1e30
    wild = normaliser.apply(windows)
    # It counts as the upper bound: at most twice the range beyond, an eighth of which reaches the mean.
    assert abs(float(wild.base[0, 0] - calm[0, 0])) < 3.0
    assert float(wild.x.abs().max()) <= CLIP


@given(st.floats(-1e6, 1e6), st.floats(0.0, 1e6))
@settings(max_examples=30, deadline=None)
def test_any_level_and_spread_gives_a_usable_normaliser(level: float, spread: float) -> None:
    rows = (level + spread * np.sin(np.arange(200))).astype(np.float32)[:, None]
    normaliser = _fitted(rows)
    assert float(normaliser.scale) > 0
    assert float(normaliser.low) < float(normaliser.centre) < float(normaliser.high)
