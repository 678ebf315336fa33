"""Held-out normal windows to error levels, tail scales and a threshold."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from stream_ae.models.calibration import TailScale
from stream_ae.models.detector import Detector, Network, Signature
from stream_ae.models.scoring import ErrorLevels, Scoring
from stream_ae.records import Float64
from stream_ae.training.dataset import WindowSet

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


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A detector that can decide, and what a person should know about how well."""

    detector: Detector
    warnings: tuple[str, ...]


def calibrated(
    signature: Signature, network: Network, windows: WindowSet, false_alarm_rate: float, lineage: dict[str, str]
) -> Calibrated:
    """Calibrate on normal windows that the network was not fitted on: about `false_alarm_rate` of such are flagged."""
    windows = windows.sample(MOST_WINDOWS)
    span = min(SPAN, signature.window - signature.lookahead)
    ones = torch.ones(len(signature.channels), device=network.device)
    plain = _uncalibrated(signature, network, ErrorLevels(ones, ones, span, DECAY))
    ready = _uncalibrated(signature, network, _levels(plain, windows))
    newest_raw, smoothed_raw = _raw_scores(ready, windows)
    newest, smoothed = fitted_tail(newest_raw), fitted_tail(smoothed_raw)
    fused = fitted_tail(np.maximum(newest.scale.level(newest_raw), smoothed.scale.level(smoothed_raw)))
    threshold = float(-np.log10(false_alarm_rate))
    scoring = Scoring(ready.scoring.levels, newest.scale, smoothed.scale, fused.scale, threshold)
    detector = Detector(signature, network, scoring, lineage)
    return Calibrated(detector, _warnings(fused, len(windows), false_alarm_rate))


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


def _uncalibrated(signature: Signature, network: Network, levels: ErrorLevels) -> Detector:
    scale = TailScale(np.zeros(1), np.zeros(1), 0.0, 1.0)
    return Detector(signature, network, Scoring(levels, scale, scale, scale, threshold=np.inf))


def _levels(plain: Detector, windows: WindowSet) -> ErrorLevels:
    """Mean error of each channel where it was observed, in both views."""
    sums, counts = np.zeros((2, len(plain.channels))), np.zeros((2, len(plain.channels)))
    first, end = plain.window - plain.lookahead - plain.scoring.levels.span, plain.window - plain.lookahead
    for batch in windows.batches(BATCH):
        views, observed = plain.views(batch), ~np.isnan(batch[..., first:end])
        sums += [views.newest.sum(0, dtype=np.float64), views.smoothed.sum(0, dtype=np.float64)]
        counts += [observed[..., -1].sum(0), observed.any(-1).sum(0)]
    means = torch.from_numpy(np.maximum(sums / np.maximum(counts, 1), LEAST_LEVEL).astype(np.float32))
    levels = plain.scoring.levels
    return ErrorLevels(means[0], means[1], levels.span, levels.decay).to(plain.network.device)


def _raw_scores(detector: Detector, windows: WindowSet) -> tuple[Float64, Float64]:
    views = [detector.views(batch) for batch in windows.batches(BATCH)]
    return np.concatenate([view.newest_raw for view in views]), np.concatenate([view.smoothed_raw for view in views])


def _warnings(fused: FittedTail, windows: int, rate: float) -> tuple[str, ...]:
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
