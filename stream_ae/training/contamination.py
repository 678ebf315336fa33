"""Anomalies that nobody flagged among the data of a first version: they would be normal to it, and set its threshold.

The detector that was trained on all of it still reconstructs them worst. Where far more samples than a tail has are far
beyond the rest, they are taken for anomalies, left out, and it is trained anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from stream_ae.flow.window import windows_of
from stream_ae.models.detector import Detector
from stream_ae.records import Bool, Float32, Float64
from stream_ae.training.collect import Collected
from stream_ae.training.kinds import AnyTrained
from stream_ae.training.train import Trained

BATCH = 2048
SAMPLED = 20_000
# So many distances from the median to the third quartile beyond the median, for the error of the network and for that
# of the linear view. The network's decides whether there are too many. Share of samples beyond 8 of its: the servers
# that ship with the package 0.9 to 1.9 %, the electrocardiogram, whose beats the linear view finds far off, 1.7 %; with
# faults of three spreads in 5 % of the samples: the servers 3.5 and 4.4 %, waves 6 to 8 %.
FAR = (8.0, 15.0)
LEAST_SHARE, MOST_SHARE = 0.03, 0.2
MOST_PASSES = 2
BESIDE = 4

Train = Callable[[Collected], AnyTrained]


def train_without_anomalies(collected: Collected, train: Train) -> tuple[AnyTrained, tuple[str, ...]]:
    """What `train` makes of the data, or of what is left of it, and what a person should know about that.

    Of frames, and of data that has more than MOST_SHARE of such samples, it is what `train` makes of all.
    """
    trained, left_out = train(collected), 0
    for _ in range(MOST_PASSES):
        if not isinstance(trained, Trained):
            break
        far = _far(trained.detector, collected.segments)
        if not 0 < sum(int(one.sum()) for one in far) < MOST_SHARE * collected.kept:
            break
        around = [_widened(rows) for rows in far]
        segments = [_missing(x, rows) for x, rows in zip(collected.segments, around, strict=True)]
        collected = replace(collected, segments=tuple(segments))
        left_out += sum(int(rows.sum()) for rows in around)
        trained = train(collected)
    if not left_out:
        return trained, ()
    return trained, (
        f"{left_out} of {collected.kept} samples are far from all others and taken for anomalies that nobody flagged: "
        "not trained on; if they are normal, set retrain.check_data: false and train anew",
    )


def _widened(rows: Bool) -> Bool:
    """With BESIDE rows on either side: of a fault that lasts not every sample is far off."""
    found = rows.copy()
    for by in range(1, BESIDE + 1):
        found[by:] |= rows[:-by]
        found[:-by] |= rows[by:]
    return found


def _missing(x: Float32, rows: Bool) -> Float32:
    return np.where(rows[:, None], np.float32(np.nan), x)


def _far(detector: Detector, segments: Sequence[Float32]) -> list[Bool]:
    """Per segment (N_i,): rows that are far off by either view; none if the network has no more than a tail of them."""
    every = max(sum(map(len, segments)) // SAMPLED, 1)
    some = np.concatenate([_raw(detector, x, every) for x in segments])
    middle, third = np.quantile(some, [0.5, 0.75], axis=0)
    limit = middle + np.array(FAR) * (third - middle)
    if float((some > limit)[:, 0].mean()) < LEAST_SHARE:
        return [np.zeros(len(x), np.bool_) for x in segments]
    return [_of_all(x, (_raw(detector, x, 1) > limit).any(1)) for x in segments]


def _of_all(x: Float32, found: Bool) -> Bool:
    """(N,) where `found` is of the rows that have a value."""
    rows = np.zeros(len(x), np.bool_)
    rows[~np.isnan(x).all(1)] = found
    return rows


def _raw(detector: Detector, x: Float32, every: int) -> Float64:
    """(M, 2) errors of the network and of the linear view, before calibration, of rows with a value."""
    windows = windows_of(x, detector.window, detector.lookahead)
    rows = np.flatnonzero(~np.isnan(x).all(1))[::every]
    found = [np.empty((0, 2))]
    for begin in range(0, len(rows), BATCH):
        views = detector.views(windows[rows[begin : begin + BATCH]])
        assert views.linear is not None  # what was trained just now has it
        found.append(np.stack((views.newest.raw, views.linear.raw), axis=1))
    return np.concatenate(found)
