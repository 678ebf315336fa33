"""What is learnt of a stream from its recent rows."""

from functools import cache

import msgspec
import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.flow.profiles import Cleaned, Profiles, Served
from stream_ae.flow.window import windows_of
from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Float64
from stream_ae.settings import ProfileKind, TrainingSettings
from stream_ae.training import train
from stream_ae.training.adapt import FLOOR_BELOW_FLEET, LEAST_ROWS, adapted

RATE = 0.01


def rows(count: int = 1000, seed: int = 0, *, noise: float = 0.05, centre: float = 0.0, scale: float = 1.0) -> Float32:
    generator = np.random.default_rng(seed)
    waves = np.sin(np.arange(count)[:, None] / np.array([3.0, 5.0])) + generator.normal(0, noise, (count, 2))
    moved: Float32 = (waves * scale + centre).astype(np.float32)
    return moved


@cache
def detector() -> Detector:
    options = TrainingSettings(window=8, max_epochs=4, threads=1, false_alarm_rate=RATE)
    return train([rows(2000)], ("a", "b"), options).detector


def learnt(x: Float32, kind: ProfileKind = "threshold") -> Profiles:
    return adapted(detector(), {"s": [x]}, kind, RATE)


def scores(x: Float32, profiles: Profiles) -> Float64:
    served = Served(detector(), profiles)
    windows = windows_of(x, 8)
    return detector().infer(served.to_model(windows, np.ones(len(x), np.int64))).score


def test_the_threshold_is_what_the_asked_share_of_recent_rows_exceeds() -> None:
    x = rows(seed=1, noise=0.15)
    profiles = learnt(x)
    # The first seven windows are padded and do not count.
    assert np.mean(scores(x, profiles)[7:] > profiles.threshold[0]) == pytest.approx(RATE, abs=0.001)
    assert profiles.threshold[0] > detector().threshold


def test_flagged_rows_count_so_that_a_machine_that_has_drifted_stops_being_flagged() -> None:
    drifted = rows(seed=1, centre=4.0)
    profiles = learnt(drifted)
    assert np.mean(scores(drifted, profiles) > detector().threshold) > 0.5
    assert np.mean(scores(rows(seed=2, centre=4.0), profiles) > profiles.threshold[0]) < 0.05


def test_a_calm_span_lowers_the_threshold_no_further_than_the_floor() -> None:
    calm = rows(seed=1, noise=0.0)
    assert learnt(calm).threshold[0] == pytest.approx(detector().threshold - FLOOR_BELOW_FLEET)


def test_too_few_rows_make_no_profile_and_rows_without_a_value_do_not_count() -> None:
    empty = rows(LEAST_ROWS)
    empty[-1] = np.nan
    streams = {"long": [rows(LEAST_ROWS)], "in parts": [rows(LEAST_ROWS - 50), rows(50)], "short": [empty]}
    assert adapted(detector(), streams, "threshold", RATE).streams == ("in parts", "long")
    with pytest.raises(ConfigError, match=r"no stream has 200 rows .* has 199"):
        adapted(detector(), {"short": [empty]}, "threshold", RATE)


def test_with_the_kind_threshold_values_stay_where_they_are() -> None:
    profiles = learnt(rows(centre=4.0, scale=5.0))
    np.testing.assert_array_equal(profiles.centre[0], profiles.model_centre)
    np.testing.assert_array_equal(profiles.scale[0], profiles.model_scale)


def test_with_the_kind_full_a_stream_at_another_level_and_scale_is_answered_as_one_that_the_model_knows() -> None:
    strange = rows(seed=1, centre=4000.0, scale=5.0)
    full, plain = learnt(strange, "full"), learnt(strange)
    np.testing.assert_allclose(full.centre[0], 4000.0, atol=2.0)
    np.testing.assert_allclose(full.scale[0] / full.model_scale, 5.0, rtol=0.5)
    assert scores(strange, full).mean() < scores(strange, plain).mean() / 2


def test_a_stream_that_hardly_differs_keeps_the_models_centre_and_scale_exactly() -> None:
    profiles = learnt(rows(seed=1, centre=0.1, scale=1.2), "full")
    np.testing.assert_array_equal(profiles.centre[0], profiles.model_centre)
    np.testing.assert_array_equal(profiles.scale[0], profiles.model_scale)


def test_a_channel_that_never_moved_or_never_had_a_value_keeps_the_models_scale() -> None:
    x = rows(seed=1, centre=50.0)
    x[:, 0], x[:, 1] = 50.0, np.nan
    profiles = learnt(x, "full")
    np.testing.assert_array_equal(profiles.scale[0], profiles.model_scale)
    assert profiles.centre[0].tolist() == [50.0, profiles.model_centre[1]]


@cache
def noise_remover() -> Detector:
    options = TrainingSettings(window=16, threads=1)
    return train([rows(6000, noise=0.5)], ("a", "b"), options).detector


def test_a_stream_that_the_networks_choice_does_harm_to_is_left_alone() -> None:
    model = noise_remover()
    assert [choice.by for choice in model.choices] == ["autoencoder", "autoencoder"]
    streams = {"alike": [rows(3000, seed=1, noise=0.5)], "calm": [rows(seed=2, noise=0.01)]}
    profiles = adapted(model, streams, "threshold", RATE)
    assert profiles.cleaned.tolist() == [[Cleaned.AS_CHOSEN] * 2, [Cleaned.LEFT_ALONE] * 2]


def test_a_noisy_stream_is_cleaned_where_the_version_leaves_it_alone() -> None:
    model = noise_remover()
    alone = model.choosing([msgspec.structs.replace(choice, by="identity") for choice in model.choices])
    profiles = adapted(alone, {"noisy": [rows(3000, seed=1, noise=0.5)]}, "threshold", RATE)
    assert profiles.cleaned.tolist() == [[Cleaned.BY_AUTOENCODER] * 2]


def test_a_choice_that_was_settled_without_measuring_stays() -> None:
    options = TrainingSettings(window=16, max_epochs=2, threads=1, denoiser="autoencoder")
    model = train([rows(600, noise=0.5)], ("a", "b"), options).detector
    assert not adapted(model, {"calm": [rows(seed=2, noise=0.0)]}, "threshold", RATE).cleaned.any()


def test_too_few_values_to_compare_on_leave_the_versions_choice() -> None:
    x = rows(noise=0.01)
    x[60:, 0] = np.nan
    cleaned = adapted(noise_remover(), {"s": [x]}, "threshold", RATE).cleaned
    assert cleaned.tolist() == [[Cleaned.AS_CHOSEN, Cleaned.LEFT_ALONE]]


def test_profiles_know_the_model_that_they_were_learnt_with() -> None:
    assert learnt(rows()).model == detector().identity
    assert learnt(rows()).fits(detector())


def test_the_same_rows_give_the_same_profiles() -> None:
    np.testing.assert_array_equal(learnt(rows(seed=3), "full").threshold, learnt(rows(seed=3), "full").threshold)
