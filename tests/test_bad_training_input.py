"""Data as it really comes: the detector trains on it, or refuses it in one sentence; it never answers nonsense."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_ae import AutoencoderDetector
from stream_ae.errors import StreamAEError
from stream_ae.settings import ModelKind

Rows = NDArray[np.float64]
KINDS = sorted(kind for kind in get_args(ModelKind) if kind != "auto" and not kind.startswith("conv2d"))
WINDOW = 8
HIT = 150
"""The row that the tests spoil."""


def _rows(count: int = 400, channels: int = 3, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    waves: Rows = np.sin(np.arange(count)[:, None] / np.linspace(3.0, 7.0, channels))
    return waves + generator.normal(0, 0.05, (count, channels))


def _detector(model: str, **parameters: object) -> AutoencoderDetector:
    detector = AutoencoderDetector(window=WINDOW, max_epochs=1 if model.startswith("conv1d") else 2, threads=1)
    return detector.set_params(model=model, **parameters)


def _constant(x: Rows) -> Rows:
    return np.column_stack((x, np.full(len(x), 7.0), np.zeros(len(x))))


def _all_missing(x: Rows) -> Rows:
    return np.column_stack((x, np.full(len(x), np.nan)))


def _one_channel(x: Rows) -> Rows:
    return x[:, :1]


def _sixty_percent_missing(x: Rows) -> Rows:
    return np.where(np.random.default_rng(1).random(x.shape) < 0.6, np.nan, x)


def _of_1e30(x: Rows) -> Rows:
    spoilt: Rows = x * np.array([1e30, 1.0, 1e-30])
    return spoilt


def _a_few_of_1e30(x: Rows) -> Rows:
    x = x.copy()
    x[::97, 0] = 1e30
    return x


def _on_1e30(x: Rows) -> Rows:
    spoilt: Rows = x + np.array([1e30, 0.0, 0.0])
    return spoilt


def _repeated(x: Rows) -> Rows:
    return np.repeat(x, 5, axis=0)[: len(x)]


def _twice(x: Rows) -> Rows:
    return np.concatenate((x[: len(x) // 2], x[: len(x) // 2]))


def _contaminated(share: float) -> Callable[[Rows], Rows]:
    def contaminated(x: Rows) -> Rows:
        generator = np.random.default_rng(2)
        x = x.copy()
        rows = generator.choice(len(x), round(share * len(x)), replace=False)
        x[rows, generator.integers(0, x.shape[1], len(rows))] += 10.0
        return x

    return contaminated


SPOILT: dict[str, Callable[[Rows], Rows]] = {
    "constant channels": _constant,
    "an all-missing channel": _all_missing,
    "one channel": _one_channel,
    "60 % missing": _sixty_percent_missing,
    "scales 1e30 and 1e-30": _of_1e30,
    "some values 1e30": _a_few_of_1e30,
    "a level of 1e30": _on_1e30,
    "every row five times": _repeated,
    "everything twice": _twice,
    "1 % anomalies": _contaminated(0.01),
    "5 % anomalies": _contaminated(0.05),
}


CONTAMINATED = ("1 % anomalies", "5 % anomalies")
WITH_ANOMALIES = ("some values 1e30", *CONTAMINATED)


def _hit(x: Rows, channels: list[int]) -> Rows:
    """x with one row at twenty times the usual size of these channels."""
    usual = [np.nanquantile(np.abs(x[:, c]), 0.9) if not np.isnan(x[:, c]).all() else 0.0 for c in channels]
    x = x.copy()
    x[HIT, channels] = [20.0 * (size or 1.0) for size in usual]
    return x


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_data_trains_to_finite_answers_that_an_obvious_anomaly_stands_out_of(how: str, model: str) -> None:
    # As many false alarms as there are anomalies among what is taken for normal, or they set the threshold.
    detector = _detector(model, false_alarm_rate=0.07 if how in CONTAMINATED else 0.005).fit(SPOILT[how](_rows()))
    fresh = _rows(300, seed=3) if how in WITH_ANOMALIES else SPOILT[how](_rows(300, seed=3))
    for channel in sorted({0, fresh.shape[1] - 1}):
        x = _hit(fresh, [channel])
        scores = detector.decision_function(x)
        assert np.isfinite(scores).all()
        assert np.isfinite(detector.denoise(x)).all()
        np.testing.assert_allclose(detector.explain(x).sum(1), 1.0, rtol=1e-4)
        assert scores[HIT] > np.quantile(scores[:HIT], 0.9)
        assert detector.predict(x)[HIT] == 1


def test_absurd_values_are_taken_for_missing_in_training_and_found_afterwards() -> None:
    detector = _detector("dense").fit(_a_few_of_1e30(_rows()))
    (warning,) = (text for text in detector.report_.warnings if "x0" in text)
    assert "5 values" in warning
    assert "1e30" in warning
    assert detector.predict(_a_few_of_1e30(_rows(300, seed=3)))[::97].tolist() == [1] * 4


def test_a_channel_of_two_far_levels_is_how_it_is_and_not_absurd() -> None:
    x = _rows()
    x[:150, 0] += 1e9
    assert not any("x0" in text for text in _detector("dense").fit(x).report_.warnings)


def test_an_all_missing_channel_is_said() -> None:
    assert "channel 'x3' never has a value" in _detector("dense").fit(_all_missing(_rows())).report_.warnings


@pytest.mark.parametrize("model", KINDS)
def test_five_hundred_channels_train_and_a_fault_in_a_fifth_of_them_is_found(model: str) -> None:
    detector = _detector(model, max_epochs=1).fit(_rows(300, channels=500))
    x = _hit(_rows(200, channels=500, seed=3), list(range(100)))
    scores = detector.decision_function(x)
    assert np.isfinite(scores).all()
    assert scores.argmax() in range(HIT, HIT + WINDOW)
    assert detector.predict(x)[HIT] == 1


@pytest.mark.parametrize("channels", [20, 64, 500])
@pytest.mark.parametrize("model", ["dense", "variational"])
def test_a_fault_in_one_of_many_channels_is_found(model: str, channels: int) -> None:
    detector = _detector(model).fit(_rows(channels=channels))
    assert detector.predict(_hit(_rows(200, channels=channels, seed=3), [0]))[HIT] == 1


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_any_type_of_numbers_trains(dtype: type) -> None:
    x = (_rows() * 50 + 100 if dtype not in (np.bool_, np.int8) else _rows() * 50).clip(-120, 250)
    x = (x > 0).astype(dtype) if dtype is np.bool_ else x.astype(dtype)
    detector = _detector("dense", max_epochs=1).fit(x)
    assert np.isfinite(detector.decision_function(x)).all()
    assert np.isfinite(detector.denoise(x)).all()


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (_rows().astype(object), "object, not numbers"),
        (_rows() + 1j, "complex128, not numbers"),
        (np.full((400, 2), "a"), "not numbers"),
        (_rows(3), "3 rows.*too few"),
        (_rows(5 * WINDOW), "40 rows.*too few"),
        (np.empty((0, 3)), "0 rows"),
        (np.empty((600, 0)), "no channel"),
        (np.full((600, 3), np.nan), "0 rows with at least one value"),
        (np.where(np.arange(400)[:, None] < 300, _rows(), np.nan), "newest part"),
        (_rows() * np.inf, "infinite"),
        (_rows() * 1e39, "infinite in float32"),
        (_rows() * np.array([1.0, 1e-39, 1.0]), "'x1' holds no value above .*too small"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths"),
        (_rows()[None], r"shape \(1, 400, 3\), which is taken for 1 images.*readings are \(N, C\)"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused_in_one_sentence(x: Rows, problem: str) -> None:
    with pytest.raises(StreamAEError, match=problem) as refused:
        _detector("dense").fit(x)
    assert "\n" not in str(refused.value)


def test_fewer_rows_than_the_window_are_refused_in_training_and_answered_afterwards() -> None:
    with pytest.raises(StreamAEError, match="150 rows.*window of 128.*256"):
        AutoencoderDetector(window=128).fit(_rows(150))
    detector = _detector("dense").fit(_rows())
    assert np.isfinite(detector.decision_function(_rows(3))).all()
