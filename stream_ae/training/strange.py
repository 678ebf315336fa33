"""Data that should not be learnt from as it is: a stuck sensor, constants, noise.

A stretch at one value is implausible against what a channel usually does: in the data of the version before, else in
its own. Of what stays there is warned; what is left nothing can be learnt from is refused.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.records import Bool, Float32, Int64
from stream_ae.training.collect import Collected
from stream_ae.training.noise_only import BY_CHANCE, NO_CORRELATION, SWITCH_OFF, check_noise

# Shorter stretches are none: so many windows, so many samples at least.
LEAST_WINDOWS, LEAST_STILL = 4, 100
# So many times as long as the longest stretch of the version before, or as the usual one of the same data.
OF_BEFORE, OF_USUAL = 10, 100
# What happens oftener in a stream than this is how it is (a machine that is off at night).
MOST_STRETCHES = 2
# Where more of the channels stand still together, it is the machine that does; but all of the time it is none.
TOGETHER, NEARLY_ALL = 0.5, 0.9
MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Sound:
    """Data with what was implausible in it missing.

    still:  by channel that usually moves, the longest stretch at one value that is left, for the training after this.
    """

    collected: Collected
    warnings: tuple[str, ...] = ()
    still: Mapping[str, int] = field(default_factory=dict)


class _Stretches(NamedTuple):
    """(N,) each: the segment, its row from which a value stands, and for how many samples."""

    segment: Int64
    begin: Int64
    length: Int64


class _Stretch(NamedTuple):
    """`length` samples from row `begin` of a segment on that have one value."""

    segment: int
    begin: int
    length: int


def sound(collected: Collected, window: int, before: Mapping[str, int] | None = None) -> Sound:
    """`before`: what `Sound.still` said of the version before. Raises ConfigError for what is to be refused."""
    if collected.frame is not None:
        _check_frames(collected)
        return Sound(collected)
    _check_moves(collected)
    least = max(LEAST_WINDOWS * window, LEAST_STILL)
    limits, stuck = [], []
    for column, name in enumerate(collected.channels):
        known = (before or {}).get(name)
        stretches = _stretches(collected.segments, column)
        limits.append(_limit(stretches, least, known))
        stuck.append(_implausible(stretches, limits[-1], collected.streams, known is not None))
    cleaned, warnings = _without(collected, stuck, moving=[limit < np.inf for limit in limits])
    check_noise(cleaned.segments)
    return Sound(cleaned, warnings, _still(cleaned, least))


def _still(collected: Collected, least: int) -> dict[str, int]:
    """Of the channels that usually move the longest stretch at one value."""
    found = {}
    for column, name in enumerate(collected.channels):
        stretches = _stretches(collected.segments, column)
        if _usual(stretches) < least:
            found[name] = int(stretches.length.max())
    return found


def _stretches(segments: Sequence[Float32], column: int) -> _Stretches:
    """All of them, the shortest of one sample; missing values are in none."""
    segment, begin, length = [], [], []
    for number, x in enumerate(segments):
        values = x[:, column]
        begins = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
        lengths = np.diff(np.append(begins, len(values)))
        known = ~np.isnan(values[begins])
        begin.append(begins[known])
        length.append(lengths[known])
        segment.append(np.full(len(begin[-1]), number, np.int64))
    return _Stretches(np.concatenate(segment), np.concatenate(begin), np.concatenate(length))


def _limit(stretches: _Stretches, least: int, before: int | None) -> float:
    """Longer than this is implausible; nothing is in a channel that mostly stands still."""
    if before is not None:
        return max(least, OF_BEFORE * before)
    usual = _usual(stretches)
    return max(least, OF_USUAL * usual) if usual < least else np.inf


def _usual(stretches: _Stretches) -> float:
    """Half of the samples are in stretches that are no longer."""
    lengths = np.sort(stretches.length)
    return float(lengths[np.searchsorted(np.cumsum(lengths), lengths.sum() / 2)]) if len(lengths) else np.inf


def _implausible(stretches: _Stretches, limit: float, streams: Sequence[str], known: bool) -> list[_Stretch]:
    """`known`: the version before says what is usual, so that even many of them are not."""
    long = np.flatnonzero(stretches.length > limit)
    found = [_Stretch(*map(int, one)) for one in zip(*(column[long] for column in stretches), strict=True)]
    often = Counter(streams[one.segment] for one in found)
    return [one for one in found if known or often[streams[one.segment]] <= MOST_STRETCHES]


def _without(
    collected: Collected, stuck: Sequence[Sequence[_Stretch]], moving: Sequence[bool]
) -> tuple[Collected, tuple[str, ...]]:
    """The data without stretches of stuck sensors, and a warning for each of the longest."""
    masks: dict[int, Bool] = {}
    for column, some in enumerate(stuck):
        for number, begin, length in some:
            mask = masks.setdefault(number, np.zeros(collected.segments[number].shape, np.bool_))
            mask[begin : begin + length, column] = True
    _check_share(collected, masks, sum(moving))
    if sum(moving) > 1:
        for mask in masks.values():
            mask[mask.sum(1) > TOGETHER * sum(moving)] = False
    segments = list(collected.segments)
    for number, mask in masks.items():
        segments[number] = np.where(mask, np.float32(np.nan), segments[number])
    return replace(collected, segments=tuple(segments)), tuple(_warnings(collected, stuck, masks))


def _check_share(collected: Collected, masks: Mapping[int, Bool], moving: int) -> None:
    marked = sum(int(mask.sum()) for mask in masks.values())
    if marked > NEARLY_ALL * moving * collected.kept > 0:
        raise ConfigError(
            f"{moving} channels that usually move stand still in {marked / (moving * collected.kept):.0%} of what was "
            f"collected: sensors or a gateway repeat their last value; wait for other data, {SWITCH_OFF}"
        )


def _warnings(collected: Collected, stuck: Sequence[Sequence[_Stretch]], masks: Mapping[int, Bool]) -> Iterator[str]:
    all_of_them = [
        (one.length, collected.channels[column], one)
        for column, some in enumerate(stuck)
        for one in some
        if masks[one.segment][one.begin, column]
    ]
    all_of_them.sort(key=lambda pair: -pair[0])
    for length, channel, one in all_of_them[:MOST_TOLD]:
        value = collected.segments[one.segment][one.begin, collected.channels.index(channel)]
        yield (
            f"channel '{channel}' of stream '{collected.streams[one.segment]}' stands at {value:.6g} for {length} "
            f"samples: taken for missing in training, as of a stuck sensor; look at it, {SWITCH_OFF}"
        )
    if len(all_of_them) > MOST_TOLD:
        yield f"{len(all_of_them) - MOST_TOLD} more stretches of stuck channels are taken for missing"


def _check_moves(collected: Collected) -> None:
    """Raises ConfigError if there are values, but not two different ones in any channel of a stream."""
    if not any(bool((~np.isnan(x)).any()) for x in collected.segments):
        return  # training has a word of its own for that
    if all(_constant(x) for x in collected.segments):
        raise ConfigError(
            f"none of the {len(collected.channels)} channels ever changes its value: constants tell nothing of what is "
            f"normal; look at what is sent, {SWITCH_OFF}"
        )


def _constant(x: Float32) -> bool:
    """No column has two different values."""
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    return bool((np.isnan(low) | (low == high)).all())


FRAMES_LOOKED_AT = 200


def _check_frames(collected: Collected) -> None:
    """Raises ConfigError for frames that show nothing: one value everywhere, or pixels without neighbours."""
    frames = np.concatenate(collected.segments)
    some = frames[:: max(len(frames) // FRAMES_LOOKED_AT, 1)].reshape(-1, *(collected.frame or ()))
    if _constant(some.reshape(-1, 1)):
        raise ConfigError(f"every pixel of every frame has the same value; look at what is sent, {SWITCH_OFF}")
    left, right = some[..., :-1].ravel().astype(np.float64), some[..., 1:].ravel().astype(np.float64)
    known = ~(np.isnan(left) | np.isnan(right))
    pairs = int(known.sum())
    if pairs < LEAST_STILL:
        return
    r = float(np.corrcoef(left[known], right[known])[0, 1])
    if abs(r) < max(NO_CORRELATION, BY_CHANCE / pairs**0.5):
        raise ConfigError(
            f"the frames are noise: a pixel has nothing to do with the one beside it (correlation {r:.2f}); look at "
            f"what is sent, {SWITCH_OFF}"
        )
