"""Held-out normal windows to error levels, tail scales and a threshold."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from stream_ae.models.calibration import TailScale
from stream_ae.models.detector import Detector, Network, Signature
from stream_ae.models.linear import LinearView
from stream_ae.models.scoring import ErrorLevels, LinearScore, Scoring
from stream_ae.records import Float64
from stream_ae.training.dataset import WindowSet
from stream_ae.training.start import start_threshold

BATCH = 2048
MOST_WINDOWS = 100_000
# The smoothed view looks this far back, the newest sample counting most. QUALITY: some smoothing helps, and kept inside
# the window it needs no state.
SPAN, DECAY = 8, 0.8
# No channel counts as better reconstructed than 1 % of its scale: else one that never moved would drown the others.
LEAST_LEVEL = 0.01

# FACTS 'Thresholds': empirical while at least ten windows lie above, a generalised Pareto tail beyond that.
ABOVE = 10
TAIL_SHARE = 0.02
LEAST_EXCESSES = 100
# A shape below 0 would end the scale at a finite score beyond which anomalies could not be ranked; above 0.5 the tail
# has no variance and what it says of rarer scores is worthless.
SHAPES = (0.0, 0.5)
KNOTS = 256
# The mean over so few channels sees a fault in one of them; a view of the few worst ones would follow their noise
# instead (VUS-PR with it: ASD, 19 channels, .535 instead of .543; SMD, 38, .694 and .695; SKAB valve2,
# 8, .912 and .944).
FEW_CHANNELS = 64
PLAIN = TailScale(np.zeros(1), np.zeros(1), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A detector that can decide, and what a person should know about how well."""

    detector: Detector
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinearViews:
    """The linear view of what the network was fitted on, to calibrate by, and of all there is, to serve.

    The held-out rows are worth having in it: they are the newest, and few where there is little data (SKAB's 400 rows:
    VUS-PR .87 without them, .88 with them). The levels are then those of rows it had not seen, so rather too high.
    """

    calibration: LinearView
    service: LinearView


def calibrated(template: Detector, linear: LinearViews, windows: WindowSet, false_alarm_rate: float) -> Calibrated:
    """Calibrate on normal windows that nothing was fitted on: about `false_alarm_rate` of such are flagged.

    template: as `uncalibrated` gives it.
    """
    windows = windows.sample(MOST_WINDOWS)
    plain = _with(template, template.scoring.levels, linear.calibration)
    levels, level = _levels(plain, windows)
    ready = _with(template, levels, linear.calibration.with_level(level))
    views = [ready.views(batch) for batch in windows.batches(BATCH)]
    newest = fitted_tail(np.concatenate([view.newest.raw for view in views]))
    smoothed = fitted_tail(np.concatenate([view.smoothed.raw for view in views]))
    many = len(template.channels) > FEW_CHANNELS
    peak = fitted_tail(np.concatenate([view.peak for view in views])).scale if many else None
    left = fitted_tail(np.concatenate([view.linear.raw for view in views if view.linear is not None]))
    score = LinearScore(linear.service.with_level(level), left.scale)
    threshold = float(-np.log10(false_alarm_rate))
    scoring = Scoring(levels, newest.scale, smoothed.scale, newest.scale, threshold, threshold, score, peak)
    fused = fitted_tail(np.concatenate([scoring.fuse(view) for view in views]))
    detector = replace(template, scoring=replace(scoring, fused=fused.scale).to(template.network.device))
    at_start = start_threshold(detector, windows, false_alarm_rate)
    detector = replace(detector, scoring=replace(detector.scoring, start_threshold=at_start))
    return Calibrated(detector, warnings_of(fused, len(windows), false_alarm_rate))


@dataclass(frozen=True, slots=True)
class FittedTail:
    """A tail scale; `heavy`: its shape was at the limit; `guessed`: too few excesses, an exponential stands in."""

    scale: TailScale
    heavy: bool
    guessed: bool


def fitted_tail(raw: Float64) -> FittedTail:
    """The tail scale of normal scores `raw`, not empty."""
    ordered = np.sort(raw)
    n = len(ordered)
    last_share = min(ABOVE / n, 0.5)
    # Even steps on the scale that comes out: as many knots between 1 in 10 and 1 in 100 as between 1 in 100 and 1000.
    levels = np.linspace(0.0, -np.log10(last_share), KNOTS)
    knots = np.quantile(ordered, 1.0 - np.power(10.0, -levels))
    keep = np.r_[True, np.diff(np.maximum.accumulate(knots)) > 0]
    knots, levels = knots[keep], levels[keep]
    shape, sigma, heavy, guessed = _tail(ordered, float(knots[-1]))
    return FittedTail(TailScale(knots, levels, shape, sigma), heavy, guessed)


def _tail(ordered: Float64, end: float) -> tuple[float, float, bool, bool]:
    """Shape and scale of the excesses over `end`, whether the shape was clipped from above, and whether guessed."""
    start = float(np.quantile(ordered, 1.0 - TAIL_SHARE))
    excess = ordered[ordered > start] - start
    # A scale must not be 0: scores without any spread (a constant stream) get a steep tail.
    least = max(1e-3 * abs(end), 1e-9)
    if len(excess) < LEAST_EXCESSES:
        upper = ordered[ordered >= np.quantile(ordered, 0.9)]
        return 0.0, max(float(upper.mean() - upper[0]), least), False, True
    shape, _, sigma = stats.genpareto.fit(excess, floc=0.0)
    clipped = float(np.clip(shape, *SHAPES))
    if clipped != shape:
        _, _, sigma = stats.genpareto.fit(excess, f0=clipped, floc=0.0)
    # The tail beyond a higher start has the same shape and a scale that grows with it (threshold stability).
    return clipped, max(float(sigma) + clipped * max(end - start, 0.0), least), bool(shape > SHAPES[1]), False


def uncalibrated(signature: Signature, network: Network, lineage: dict[str, str]) -> Detector:
    """A detector without a calibrated score: everything counts as it is."""
    ones, span = torch.ones(len(signature.channels)), min(SPAN, signature.window - signature.lookahead)
    levels = ErrorLevels(ones, ones, span, DECAY)
    scoring = Scoring(levels, PLAIN, PLAIN, PLAIN, threshold=np.inf, start_threshold=np.inf)
    return Detector(signature, network, scoring.to(network.device), lineage)


def _with(detector: Detector, levels: ErrorLevels, view: LinearView) -> Detector:
    scoring = replace(detector.scoring, levels=levels, linear=LinearScore(view, PLAIN))
    return replace(detector, scoring=scoring.to(detector.network.device))


def _levels(plain: Detector, windows: WindowSet) -> tuple[ErrorLevels, Tensor]:
    """Mean of each channel's contribution where it was observed, in the network's views and in the linear one."""
    sums, counts = np.zeros((3, len(plain.channels))), np.zeros((3, len(plain.channels)))
    end = plain.window - plain.lookahead
    assert plain.scoring.linear is not None
    spans = (1, plain.scoring.levels.span, plain.scoring.linear.view.span)
    for batch in windows.batches(BATCH):
        views, observed = plain.views(batch), ~np.isnan(batch[..., :end])
        assert views.linear is not None
        for place, (view, span) in enumerate(zip((views.newest, views.smoothed, views.linear), spans, strict=True)):
            sums[place] += view.contributions.sum(0, dtype=np.float64)
            counts[place] += observed[..., -span:].any(-1).sum(0)
    means = torch.from_numpy(np.maximum(sums / np.maximum(counts, 1), LEAST_LEVEL).astype(np.float32))
    levels = plain.scoring.levels
    return ErrorLevels(means[0], means[1], levels.span, levels.decay), means[2]


def warnings_of(fused: FittedTail, windows: int, rate: float) -> tuple[str, ...]:
    """What a person should know of a threshold that was found on so many normal windows."""
    warnings = []
    if fused.heavy:
        warnings.append(
            "the held-out scores have a heavy top: anomalies among the training data? Leave known ones out, or expect "
            "a threshold that is too high"
        )
    if windows * rate < ABOVE:
        how = "guessed from an exponential tail" if fused.guessed else "extrapolated by a Pareto tail"
        warnings.append(
            f"{windows} held-out windows are too few to see a false-alarm rate of {rate:g}: the threshold is {how}; "
            f"give more data ({round(ABOVE / rate)} held-out rows) or raise false_alarm_rate"
        )
    return tuple(warnings)
