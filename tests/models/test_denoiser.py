"""Who cleans a value: nobody, to the bit; the autoencoder; or a U-Net."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import ModelError
from stream_ae.flow.window import windows_of
from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.models.denoiser import Denoiser, SideNetwork, unmeasured
from stream_ae.models.detector import Detector
from stream_ae.models.serialization import load, save
from stream_ae.models.unet import UNet, unet_config
from stream_ae.records import Float32


def _choices(*by: CleanedBy) -> tuple[ChannelChoice, ...]:
    return tuple(ChannelChoice(by=one, fill="autoencoder", reason="", figures={}) for one in by)


@pytest.fixture(scope="module")
def rows() -> Float32:
    sizes = np.array([1.0, 10.0, 100.0])
    return np.asarray(np.random.default_rng(0).normal(5, 1, (64, 3)) * sizes, np.float32)


@pytest.fixture(scope="module")
def beside(detector: Detector) -> Detector:
    """With a U-Net that has learnt nothing, for the last channel; the first is left alone."""
    torch.manual_seed(0)
    config = unet_config(3, 16)
    side = SideNetwork(config, UNet(config).requires_grad_(False).eval(), blind=False)
    return detector.beside(Denoiser.of(_choices("identity", "autoencoder", "unet"), side))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_channel_that_is_left_alone_comes_out_to_the_bit_whatever_it_holds(
    detector: Detector, data: st.DataObject
) -> None:
    alone = detector.choosing(_choices("identity", "identity", "identity"))
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    flat = data.draw(st.lists(values, min_size=3 * 16, max_size=3 * 16))
    windows = np.array(flat, np.float32).reshape(1, 3, 16)
    np.testing.assert_array_equal(alone.infer(windows).x_hat, windows[..., -1])


def test_a_missing_value_of_a_channel_that_is_left_alone_is_filled_in(detector: Detector, rows: Float32) -> None:
    windows = windows_of(rows, 16).copy()
    windows[:, 1, -1] = np.nan
    answer = detector.choosing(_choices("identity", "identity", "identity")).infer(windows)
    np.testing.assert_array_equal(answer.x_hat[:, [0, 2]], windows[:, [0, 2], -1])
    np.testing.assert_array_equal(answer.x_hat[:, 1], answer.compared[:, 1])
    assert np.isfinite(answer.x_hat).all()


def test_an_infinite_value_is_not_left_alone(detector: Detector, rows: Float32) -> None:
    windows = windows_of(rows, 16)[:4].copy()
    windows[:, 1, -1] = np.inf
    assert np.isfinite(detector.choosing(_choices("identity", "identity", "identity")).infer(windows).x_hat).all()


def test_the_score_and_what_it_is_explained_by_do_not_depend_on_the_denoiser(
    detector: Detector, beside: Detector, rows: Float32
) -> None:
    windows = windows_of(rows, 16).copy()
    plain, other = (
        detector.choosing(_choices("autoencoder", "autoencoder", "autoencoder")).infer(windows),
        beside.infer(windows),
    )
    np.testing.assert_array_equal(plain.score, other.score)
    np.testing.assert_array_equal(plain.compared, other.compared)
    np.testing.assert_array_equal(plain.x_hat, plain.compared)


def test_each_channel_is_cleaned_by_the_one_that_was_chosen(beside: Detector, rows: Float32) -> None:
    windows = windows_of(rows, 16).copy()
    answer = beside.infer(windows)
    autoencoder, unet = beside.estimates(windows)
    np.testing.assert_array_equal(answer.x_hat[:, 0], windows[:, 0, -1])
    np.testing.assert_array_equal(answer.x_hat[:, 1], autoencoder[:, 1])
    np.testing.assert_array_equal(answer.x_hat[:, 2], unet[:, 2])
    assert not np.allclose(autoencoder[:, 2], unet[:, 2])


def test_a_blind_u_net_is_not_shown_the_value_that_it_estimates(beside: Detector, rows: Float32) -> None:
    assert beside.denoiser is not None
    assert beside.denoiser.network is not None
    blind = beside.beside(replace(beside.denoiser, network=replace(beside.denoiser.network, blind=True)))
    windows = windows_of(rows, 16).copy()
    changed = windows.copy()
    changed[..., -1] += 3.0
    np.testing.assert_array_equal(blind.estimates(windows)[1], blind.estimates(changed)[1])
    assert not np.allclose(beside.estimates(windows)[1], beside.estimates(changed)[1])


def test_where_the_u_net_has_no_finite_answer_the_autoencoder_has_the_say(beside: Detector, rows: Float32) -> None:
    assert beside.denoiser is not None
    config = unet_config(3, 16)
    broken = UNet(config).requires_grad_(False).eval()
    torch.nn.init.constant_(broken.last.weight, torch.nan)
    mute = beside.beside(replace(beside.denoiser, network=SideNetwork(config, broken, blind=False)))
    answer = mute.infer(windows_of(rows, 16).copy())
    np.testing.assert_array_equal(answer.x_hat[:, 2], answer.compared[:, 2])


def test_choices_figures_and_the_u_net_travel_in_the_folder(beside: Detector, rows: Float32, tmp_path: Path) -> None:
    chosen = beside.choosing(
        [
            ChannelChoice(by=one.by, fill="unet", reason="measured", figures={"noise_power": 0.5})
            for one in beside.choices
        ]
    )
    save(chosen, tmp_path / "version")
    again = load(tmp_path / "version")
    windows = windows_of(rows, 16).copy()
    windows[5:, 0, -2:] = np.nan
    assert again.choices == chosen.choices
    np.testing.assert_array_equal(again.infer(windows).x_hat, chosen.infer(windows).x_hat)


def test_choices_that_do_not_fit_are_refused_when_loading(detector: Detector, tmp_path: Path) -> None:
    for choices in (_choices("identity"), _choices("unet", "identity", "identity")):
        save(detector.beside(Denoiser.of(choices)), tmp_path / "version")
        with pytest.raises(ModelError, match="choices of the denoiser"):
            load(tmp_path / "version")


def test_a_version_without_a_choice_is_cleaned_by_its_autoencoder(detector: Detector, rows: Float32) -> None:
    windows = windows_of(rows, 16).copy()
    before, after = replace(detector, denoiser=None), detector.choosing(unmeasured(3, "asked for"))
    np.testing.assert_array_equal(before.infer(windows).x_hat, after.infer(windows).x_hat)
