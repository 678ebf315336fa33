"""A stuck sensor is left out, a machine that stands still is not, and what nothing can be learnt from is refused."""

from collections.abc import Callable

import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.records import Float32
from stream_ae.training.collect import Collected, Counts
from stream_ae.training.strange import sound

WINDOW = 8
NAMES = ("a", "b", "c")


def _waves(count: int = 3000, channels: int = 3, seed: int = 0) -> Float32:
    generator = np.random.default_rng(seed)
    waves = np.sin(np.arange(count)[:, None] / np.linspace(3.0, 7.0, channels))
    return (waves + generator.normal(0, 0.05, waves.shape)).astype(np.float32)


def _collected(*segments: Float32, frame: tuple[int, int, int] | None = None) -> Collected:
    names = NAMES[: segments[0].shape[1]] if frame is None else ("grey",)
    streams = tuple(f"s{number}" for number in range(len(segments)))
    return Collected(names, frame, streams, segments, Counts())


def test_a_sensor_that_is_stuck_is_missing_for_as_long_and_it_is_said() -> None:
    x = _waves()
    x[1000:1700, 1] = 0.25
    found = sound(_collected(x), WINDOW)
    missing = np.isnan(found.collected.segments[0])
    assert missing[1000:1700, 1].all()
    assert missing.sum() == 700
    assert not np.isnan(x).any()
    (warning,) = found.warnings
    assert warning.startswith("channel 'b' of stream 's0' stands at 0.25 for 700 samples: taken for missing")
    assert found.still == {"a": 1, "b": 1, "c": 1}


def test_sound_data_is_handed_on_as_it_is() -> None:
    collected = _collected(_waves(), _waves(400, seed=1))
    found = sound(collected, WINDOW)
    assert found.collected == collected
    assert found.warnings == ()


def _setpoint(x: Float32) -> Float32:
    """A channel that changes seldom."""
    x[:, 1] = np.repeat(np.arange(10), len(x) // 10)
    return x


def _constant(x: Float32) -> Float32:
    x[:, 1] = 4.0
    return x


def _off_at_night(x: Float32) -> Float32:
    """The machine stands still again and again."""
    for begin in range(0, len(x), 1000):
        x[begin : begin + 400] = 0.0
    return x


def _off_once(x: Float32) -> Float32:
    x[1000:2000] = 0.0
    return x


def _one_off_often(x: Float32) -> Float32:
    for begin in range(0, len(x), 600):
        x[begin : begin + 200, 1] = 0.0
    return x


def _rounded(x: Float32) -> Float32:
    return np.round(x)


@pytest.mark.parametrize("how", [_setpoint, _constant, _off_at_night, _off_once, _one_off_often, _rounded])
def test_what_stands_still_for_a_reason_is_no_stuck_sensor(how: Callable[[Float32], Float32]) -> None:
    collected = _collected(how(_waves()))
    found = sound(collected, WINDOW)
    np.testing.assert_array_equal(found.collected.segments[0], collected.segments[0])
    assert found.warnings == ()


def test_the_version_before_knows_what_is_usual_where_the_data_itself_does_not_tell() -> None:
    x = _waves()
    x[500:, 1] = 0.25
    assert sound(_collected(x), WINDOW).warnings == ()
    before = sound(_collected(_waves(seed=1)), WINDOW).still
    found = sound(_collected(x), WINDOW, before)
    assert np.isnan(found.collected.segments[0][:, 1]).sum() == 2500


def test_an_hour_in_which_nearly_everything_is_stuck_is_refused() -> None:
    x = _waves()
    x[100:] = x[100]
    before = sound(_collected(_waves(seed=1)), WINDOW).still
    with pytest.raises(ConfigError, match="3 channels that usually move stand still in 97% of .*check_data"):
        sound(_collected(x), WINDOW, before)


def test_many_stretches_are_told_of_in_a_few_lines() -> None:
    segments = [_waves(seed=seed) for seed in range(8)]
    for x in segments:
        x[500:900, 0] = 1.0
    warnings = sound(_collected(*segments), WINDOW).warnings
    assert len(warnings) == 6
    assert warnings[-1] == "3 more stretches of stuck channels are taken for missing"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [500, 3000])
def test_noise_is_refused(count: int, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(5, 2, (count, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match="the values are noise"):
        sound(_collected(noise[: count // 2], noise[count // 2 :]), WINDOW)


def test_noise_about_something_is_none() -> None:
    generator = np.random.default_rng(0)
    weak = (0.5 * _waves() + generator.normal(0, 1, (3000, 3))).astype(np.float32)
    sound(_collected(weak), WINDOW)
    alike = generator.normal(0, 1, (500, 1)) + generator.normal(0, 1, (500, 2))
    sound(_collected(alike.astype(np.float32)), WINDOW)
    absurd = _waves()
    absurd[::50, 0] = 1e30
    sound(_collected(absurd[:, :1]), WINDOW)


def test_constants_are_refused() -> None:
    with pytest.raises(ConfigError, match="none of the 3 channels ever changes"):
        sound(_collected(np.full((600, 3), 4.0, np.float32), np.full((600, 3), 5.0, np.float32)), WINDOW)


def _frames(frames: np.ndarray) -> Collected:
    return _collected(frames.reshape(len(frames), -1).astype(np.float32), frame=(1, 8, 8))


def test_frames_that_show_nothing_are_refused_and_others_are_not() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="every pixel of every frame"):
        sound(_frames(np.zeros((50, 1, 8, 8))), WINDOW)
    with pytest.raises(ConfigError, match="the frames are noise"):
        sound(_frames(generator.normal(0, 1, (50, 1, 8, 8))), WINDOW)
    scene = np.add.outer(np.arange(8.0), np.arange(8.0)) + generator.normal(0, 1, (50, 1, 8, 8))
    sound(_frames(scene), WINDOW)
