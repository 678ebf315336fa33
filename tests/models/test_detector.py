"""What a detector says of windows, whatever they hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import ModelError
from stream_ae.flow.model import ServedModel
from stream_ae.flow.window import windows_of
from stream_ae.models.autoencoder import build
from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Inference, ModelIdentity
from stream_ae.training.dataset import checked

# A matrix product of another size adds up in another order.
ROUNDING = 1e-4


@pytest.fixture(scope="session")
def windows(detector: Detector) -> Float32:
    generator = np.random.default_rng(1)
    waves = np.sin(np.arange(200)[:, None] / np.arange(3, 6)) + 0.1 * generator.standard_normal((200, 3))
    sizes = 10.0 ** np.arange(3)
    rows = checked([(waves * sizes + 5.0 * sizes).astype(np.float32)], detector.channels, detector.window)[0]
    return windows_of(rows, detector.window).copy()


def _sound(answer: Inference, windows: Float32) -> None:
    assert answer.x_hat.shape == answer.share.shape == windows.shape[:2]
    assert np.isfinite(answer.x_hat).all()
    assert not np.isnan(answer.score).any()
    assert ((answer.p_value >= 0) & (answer.p_value <= 1)).all()
    np.testing.assert_allclose(answer.share.sum(1), 1.0, rtol=1e-5)


def test_a_detector_is_a_served_model(detector: Detector) -> None:
    served: ServedModel = detector
    assert (served.channels, served.window, served.lookahead) == (("a", "b", "c"), 16, 0)


def test_normal_windows_are_denoised_in_their_own_units(detector: Detector, windows: Float32) -> None:
    answer = detector.infer(windows)
    _sound(answer, windows)
    spread = windows[..., -1].std(0)
    assert (np.abs(answer.x_hat - windows[..., -1]).mean(0) < 0.5 * spread).all()
    assert answer.x_hat.dtype == answer.share.dtype == np.float32


def test_an_answer_does_not_depend_on_the_other_windows(detector: Detector, windows: Float32) -> None:
    mixed = windows.copy()
    mixed[::3, 1, 4:] = np.nan
    mixed[::5] = 1e30
    together = detector.infer(mixed)
    for i in (0, 1, 2, 50, 199):
        alone = detector.infer(mixed[i : i + 1])
        np.testing.assert_allclose(alone.x_hat[0], together.x_hat[i], rtol=ROUNDING)
        np.testing.assert_allclose(alone.score[0], together.score[i], rtol=1e-2, atol=ROUNDING)


def test_the_windows_are_left_as_they_were(detector: Detector, windows: Float32) -> None:
    given_windows = np.ascontiguousarray(windows.transpose(0, 2, 1)).transpose(0, 2, 1)
    given_windows[3, 1, :5] = np.nan
    before = given_windows.copy()
    detector.infer(given_windows)
    np.testing.assert_array_equal(given_windows, before)


def test_a_spike_is_an_anomaly_and_its_channel_is_named(detector: Detector, windows: Float32) -> None:
    spiked = windows[100:101].copy()
    spiked[0, 1, -1] += 30.0
    before, after = detector.infer(windows[100:101]), detector.infer(spiked)
    assert before.score[0] < detector.threshold < after.score[0]
    assert after.p_value[0] < before.p_value[0]
    assert after.share[0].argmax() == 1


def test_a_missing_value_is_filled_in_near_the_truth(detector: Detector, windows: Float32) -> None:
    holes = windows[60:160].copy()
    truth, holes[:, 2, -1] = holes[:, 2, -1].copy(), np.nan
    answer = detector.infer(holes)
    _sound(answer, holes)
    assert np.abs(answer.x_hat[:, 2] - truth).mean() < truth.std()
    # What was not observed is not to blame, unless it was before, within the smoothing span.
    assert (answer.score < detector.threshold).mean() > 0.9


@pytest.mark.parametrize("value", [np.nan, 1e30, -1e30, np.inf, -np.inf, 0.0, 3.4e38])
@pytest.mark.parametrize("where", ["window", "channel", "value"])
def test_nothing_makes_it_answer_nan(detector: Detector, windows: Float32, value: float, where: str) -> None:
    odd = windows[:4].copy()
    channels, samples = {
        "window": (slice(None), slice(None)),
        "channel": (slice(1, 2), slice(None)),
        "value": (slice(1, 2), slice(-1, None)),
    }[where]
    odd[:, channels, samples] = value
    _sound(detector.infer(odd), odd)


@pytest.mark.parametrize("value", [1e30, -1e30, np.inf])
def test_a_value_that_cannot_be_is_an_anomaly(detector: Detector, windows: Float32, value: float) -> None:
    odd = windows[50:51].copy()
    odd[0, 0, -1] = value
    assert detector.infer(odd).score[0] > detector.threshold


def test_a_window_without_any_value_is_no_anomaly(detector: Detector) -> None:
    nothing = np.full((2, 3, 16), np.nan, np.float32)
    answer = detector.infer(nothing)
    assert answer.score.tolist() == [0.0, 0.0]
    assert answer.p_value.tolist() == [1.0, 1.0]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_float32_is_answered(detector: Detector, data: st.DataObject) -> None:
    values = st.one_of(st.just(float("nan")), st.floats(width=32))
    flat = data.draw(st.lists(values, min_size=3 * 16, max_size=3 * 16))
    windows = np.array(flat, np.float32).reshape(1, 3, 16)
    _sound(detector.infer(windows), windows)


def test_codes_decode_to_what_the_network_saw(detector: Detector, windows: Float32) -> None:
    codes = detector.encode(windows)
    assert codes.shape == (len(windows), detector.code_size)
    decoded = detector.decode(codes)
    np.testing.assert_allclose(decoded[..., -1], detector.infer(windows).compared, rtol=ROUNDING)


def test_answers_come_with_codes_where_they_are_wanted_and_the_network_runs_once(
    detector: Detector, windows: Float32
) -> None:
    runs: list[int] = []
    encoder = detector.network.autoencoder.encoder
    hook = encoder.register_forward_hook(lambda *_: runs.append(1))
    try:
        plain, coded = detector.infer(windows), detector.with_codes().infer(windows)
    finally:
        hook.remove()
    assert len(runs) == 2
    assert plain.code is None
    assert coded.code is not None
    np.testing.assert_array_equal(coded.code, detector.encode(windows))
    np.testing.assert_array_equal(coded.score, plain.score)


def test_wrong_shapes_are_refused(detector: Detector, windows: Float32) -> None:
    with pytest.raises(ModelError, match=r"\(200, 2, 16\)"):
        detector.infer(windows[:, :2])
    with pytest.raises(ModelError, match=r"\(5, 2\)"):
        detector.decode(np.zeros((5, 2), np.float32))


def test_an_identity_is_attached_without_copying(detector: Detector) -> None:
    named = detector.with_identity(ModelIdentity("pump", "17", "ab"))
    assert named.identity.version == "17"
    assert named.network is detector.network


def test_a_network_that_fails_as_a_whole_says_so(detector: Detector, windows: Float32) -> None:
    with pytest.raises(ModelError, match="no window of the batch"):
        _with_weights(detector, "decoder.last.bias", slice(None), float("nan")).infer(windows[:2])


def test_windows_that_the_network_cannot_answer_are_anomalies(detector: Detector, windows: Float32) -> None:
    # A weight so large that only windows whose feature is on overflow.
    broken = _with_weights(detector, "encoder.layers.0.weight", slice(None), float(np.finfo(np.float32).max))
    both = windows[:2].copy()
    both[0] = detector.network.normaliser.centre.numpy()
    answer = broken.infer(both)
    _sound(answer, both)
    assert np.isfinite(answer.score[0])
    assert (answer.score[1], answer.p_value[1]) == (np.inf, 0.0)


def _with_weights(detector: Detector, name: str, part: slice, value: float) -> Detector:
    """A copy with some weights replaced."""
    network = detector.network
    state = {key: tensor.clone() for key, tensor in network.autoencoder.state_dict().items()}
    state[name][part] = torch.tensor(value)
    autoencoder = build(network.config)
    autoencoder.load_state_dict(state)
    return replace(detector, network=replace(network, autoencoder=autoencoder))
