import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.flow.window import windows_of
from stream_ae.records import Float32
from stream_ae.training.dataset import WindowSet, checked, split


def _streams() -> list[Float32]:
    """Three streams of 100, 40 and 10 rows; values tell stream and row: 1003 is row 3 of stream 1."""
    return [(1000 * code + np.arange(rows, dtype=np.float32))[:, None] for code, rows in enumerate((100, 40, 10))]


def _targets(windows: WindowSet) -> list[float]:
    targets: list[float] = windows.windows(np.arange(len(windows)))[:, 0, -1].tolist()
    return targets


def test_windows_are_those_of_the_flow() -> None:
    windows = split(_streams(), window=4, lookahead=1, holdout_share=0.2).held_out.windows(4, 1)
    own = windows.windows(np.arange(20))
    np.testing.assert_array_equal(own, windows_of(_streams()[0], 4, 1)[80:])


def test_every_stream_is_split_in_time() -> None:
    parts = split(_streams(), window=4, lookahead=0, holdout_share=0.2)
    fit, validation, held_out = _targets(parts.fit), _targets(parts.validation), _targets(parts.held_out.windows(4, 0))
    assert sorted(fit + validation + held_out) == np.concatenate(_streams())[:, 0].tolist()
    for code in range(3):
        last_fit, first_held_out = (
            f([value for value in part if value // 1000 == code]) for f, part in ((max, fit), (min, held_out))
        )
        assert last_fit < first_held_out
    assert (len(fit), len(validation), len(held_out)) == (108, 12, 30)


def test_windows_never_reach_into_another_stream() -> None:
    fit = split(_streams(), window=4, lookahead=0, holdout_share=0.2).fit
    windows = fit.windows(np.arange(len(fit)))
    assert (windows // 1000 == windows[..., -1:] // 1000).all()


def test_gathering_costs_no_copy_of_all_windows() -> None:
    rows = np.zeros((10_000, 2), np.float32)
    fit = split([rows], window=64, lookahead=0, holdout_share=0.2).fit
    assert np.shares_memory(fit.views[0], fit.views[0][5:])
    assert fit.windows(np.array([7, 3])).transpose(0, 2, 1).flags.c_contiguous


def test_rows_without_any_value_are_no_targets() -> None:
    rows = _streams()[0].copy()
    rows[10:20] = np.nan
    parts = split([rows], window=4, lookahead=0, holdout_share=0.2)
    assert len(parts.fit) == 62
    assert not np.isnan(_targets(parts.fit)).any()


def test_a_sample_is_spread_evenly() -> None:
    fit = split(_streams(), window=4, lookahead=0, holdout_share=0.2).fit
    assert len(fit.sample(10)) == 10
    assert fit.sample(10**6) is fit


@pytest.mark.parametrize(
    ("streams", "problem"),
    [
        ([np.zeros((50, 1))], "50 rows"),
        ([], "0 rows"),
        ([np.full((500, 1), np.nan)], "0 rows"),
        ([np.zeros(500)], r"stream 0 has shape \(500,\)"),
        ([np.zeros((500, 1)), np.zeros((500, 2))], r"stream 1 has shape \(500, 2\)"),
        ([np.full((500, 1), "a")], "not numbers"),
        ([np.r_[np.zeros(499), np.inf][:, None]], "stream 0, row 499, column 0 is infinite"),
        ([np.r_[np.zeros(499), 1e300][:, None]], "infinite in float32"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(streams: list[Float32], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        checked(streams, ["a"], window=16)


def test_channels_need_different_names() -> None:
    with pytest.raises(ConfigError, match="each once"):
        checked([np.zeros((500, 2), np.float32)], ["a", "a"], window=16)
