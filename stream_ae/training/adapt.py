"""Profiles of streams, from what they lately sent, whether it was flagged or not. Needs no labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.flow.profiles import Cleaned, Profiles, Served
from stream_ae.flow.window import windows_of
from stream_ae.models.config import ChannelChoice
from stream_ae.models.detector import UNREGISTERED, Detector
from stream_ae.ports import RecordReader
from stream_ae.records import Float32, Float64
from stream_ae.settings import ProfileKind, Settings
from stream_ae.training.choose import LEAST_VALUES, choose
from stream_ae.training.collect import Collected, Collector, SampleLayout
from stream_ae.training.dataset import HeldOut
from stream_ae.training.span import Counted, Span, read_into

# A stream's threshold lies at most this far below the fleet's: a calm span must not make every tremble an alarm.
# Measured on ASD and SMD, adapted every hour over two days, with a fleet threshold of 2.3: 1.5 as the lowest gives .9 %
# false alarms on the worst machine and finds .79 of ASD's events; none 1.0 % and .84; 2.3 itself .5 % and .50.
FLOOR_BELOW_FLEET = 0.8
LEAST_ROWS = 200
BATCH = 2048
MOST_WINDOWS = 50_000
SCALE_WINDOWS = 4096
CHOICE_WINDOWS = 4096
# The median absolute deviation of a normal distribution with a standard deviation of 1, inverted.
MAD_TO_SCALE = 1.4826
# Nearer than this to the model's, centre (in scales) and scale (a factor) are the model's: the robust scale of values
# that are not normally distributed differs by as much from the root mean square that the model was given.
NEAR_CENTRE = 1.0
NEAR_SCALE = 2.0
# A channel that hardly moved lately is not magnified further.
LARGEST_FACTOR = 10.0


def gathered(
    reader: RecordReader, settings: Settings, span: Span, channels: Sequence[str], progress: Counted | None = None
) -> Collected:
    """The span's samples, flagged ones too: without them a machine that has drifted would never stop being flagged."""
    collector = Collector(SampleLayout(tuple(channels)), settings, settings.adapt.max_samples)
    read_into(collector, reader, span, progress)
    return collector.collected(min_length=1)


def by_stream(collected: Collected) -> dict[str, list[Float32]]:
    """The segments of each stream; one that is in several partitions has one profile."""
    streams: dict[str, list[Float32]] = {}
    for stream, segment in zip(collected.streams, collected.segments, strict=True):
        streams.setdefault(stream, []).append(segment)
    return streams


def adapted(
    detector: Detector,
    streams: Mapping[str, Sequence[Float32]],
    kind: ProfileKind,
    false_alarm_rate: float,
) -> Profiles:
    """Profiles for the streams with enough rows; of each the segments (N_i, C) in time order, NaN = missing.

    kind:  `threshold` moves the threshold alone, so that `false_alarm_rate` of the rows would have been flagged;
           `full` first moves what counts as the centre and the scale of each channel.
    Raises ConfigError if no stream has enough rows.
    """
    enough = {stream: parts for stream, parts in sorted(streams.items()) if _rows(parts) >= LEAST_ROWS}
    if not enough:
        most = max(map(_rows, streams.values()), default=0)
        raise ConfigError(
            f"no stream has {LEAST_ROWS} rows with a value, the least that a profile is learnt from (the longest of "
            f"{len(streams)} has {most}): wait for more, or raise adapt.span_s"
        )
    profiles = _unmoved(detector, tuple(enough))
    if kind == "full":
        found = [_centre_and_scale(detector, profiles, parts) for parts in enough.values()]
        centre, scale = (np.stack(column) for column in zip(*found, strict=True))
        profiles = replace(profiles, centre=centre, scale=scale)
    served = Served(detector, profiles)
    thresholds = [_threshold(detector, served, row, parts, false_alarm_rate) for row, parts in _numbered(enough)]
    cleaned = [_cleaned(detector, served, row, parts) for row, parts in _numbered(enough)]
    return replace(profiles, threshold=np.array(thresholds), cleaned=np.array(cleaned, np.int8))


def _unmoved(detector: Detector, streams: tuple[str, ...]) -> Profiles:
    """Profiles that change nothing."""
    normaliser, count = detector.network.normaliser, len(streams)
    centre, scale = (tensor[:, 0].cpu().numpy() for tensor in (normaliser.centre, normaliser.scale))
    return Profiles(
        identity=UNREGISTERED,
        model=detector.identity,
        channels=detector.channels,
        model_centre=centre,
        model_scale=scale,
        streams=streams,
        centre=np.tile(centre, (count, 1)),
        scale=np.tile(scale, (count, 1)),
        threshold=np.full(count, detector.threshold),
        cleaned=np.zeros((count, len(detector.channels)), np.int8),
    )


def _numbered(streams: Mapping[str, Sequence[Float32]]) -> Iterator[tuple[int, Sequence[Float32]]]:
    """Each stream's segments with its row in what is served, where row 0 is the model as it is."""
    return enumerate(streams.values(), 1)


def _rows(segments: Sequence[Float32]) -> int:
    return sum(int((~np.isnan(x)).any(1).sum()) for x in segments)


def _windows(detector: Detector, segments: Sequence[Float32], at_most: int) -> Iterator[Float32]:
    """Windows (B, C, T) about rows with a value, evenly spread, B <= BATCH.

    Those of a segment's first rows are padded, and score as no later row does: they count only where there is little
    else.
    """
    every = max(-(-_rows(segments) // at_most), 1)
    for x in segments:
        views = windows_of(x, detector.window, detector.lookahead)
        padded = detector.window - 1 - detector.lookahead if len(x) >= 2 * detector.window else 0
        chosen = padded + np.flatnonzero((~np.isnan(x[padded:])).any(1))[::every]
        for begin in range(0, len(chosen), BATCH):
            yield views[chosen[begin : begin + BATCH]]


def _threshold(
    detector: Detector, served: Served, row: int, segments: Sequence[Float32], false_alarm_rate: float
) -> float:
    scores: list[Float64] = []
    for windows in _windows(detector, segments, MOST_WINDOWS):
        mapped = served.to_model(windows, np.full(len(windows), row))
        scores.append(detector.infer(mapped).score)
    return threshold_by(np.concatenate(scores), false_alarm_rate, detector.threshold)


def threshold_by(scores: Float64, false_alarm_rate: float, fleet: float) -> float:
    """What `false_alarm_rate` of a stream's scores lie above, but not far below the threshold of the fleet.

    A score that is not finite is an anomaly under any threshold: it says nothing about where this one should be.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return fleet
    return max(float(np.quantile(finite, 1.0 - false_alarm_rate)), fleet - FLOOR_BELOW_FLEET)


def _cleaned(detector: Detector, served: Served, row: int, segments: Sequence[Float32]) -> list[Cleaned]:
    """Who cleans each channel of this stream: whom the stream's own rows speak for, where the version's choice was
    measured too and these are enough to say something else."""
    if not any(choice.figures for choice in detector.choices):
        return [Cleaned.AS_CHOSEN] * len(detector.channels)
    mapped = [served.to_model(x, np.full(len(x), row)) for x in segments if len(x)]
    own = choose(detector, HeldOut(mapped, [0] * len(mapped)), most_windows=CHOICE_WINDOWS)
    return [_other(version, stream) for version, stream in zip(detector.choices, own, strict=True)]


def _other(version: ChannelChoice, stream: ChannelChoice) -> Cleaned:
    if not version.figures or stream.figures["values"] < LEAST_VALUES or stream.by == version.by:
        return Cleaned.AS_CHOSEN
    others = {"identity": Cleaned.LEFT_ALONE, "autoencoder": Cleaned.BY_AUTOENCODER}
    return others.get(stream.by, Cleaned.AS_CHOSEN)


def _centre_and_scale(detector: Detector, unmoved: Profiles, segments: Sequence[Float32]) -> tuple[Float32, Float32]:
    """(C,) each: of the stream where it clearly differs from what the model was fitted on, else the model's."""
    rows = np.concatenate(segments).astype(np.float64)
    windows = np.concatenate(list(_windows(detector, segments, SCALE_WINDOWS))).astype(np.float64)
    centre, scale = unmoved.model_centre.copy(), unmoved.model_scale.copy()
    for channel in range(rows.shape[1]):
        values = rows[:, channel]
        values = values[~np.isnan(values)]
        if len(values) < LEAST_ROWS:
            continue
        middle, of_model = float(np.median(values)), float(scale[channel])
        if abs(middle - float(centre[channel])) > NEAR_CENTRE * of_model:
            centre[channel] = middle
        factor = _spread(windows[:, channel], float(centre[channel]), detector.network.normaliser.recentre) / of_model
        if factor > 0 and not 1 / NEAR_SCALE <= factor <= NEAR_SCALE:
            scale[channel] = of_model * float(np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR))
    return centre, scale


def _spread(windows: Float64, centre: float, recentre: float) -> float:
    """Robust scale of windows (B, T) around their base, as the normaliser sees them; 0 if they hardly ever move."""
    windows = windows[~np.isnan(windows).all(1)]
    base = centre + recentre * (np.nanmean(windows, axis=1, keepdims=True) - centre)
    return MAD_TO_SCALE * float(np.nanmedian(np.abs(windows - base)))
