"""Anomalies that nobody flagged among the data of a first version: they would be normal to it, and set its threshold.

The detector that was trained on all of it still reconstructs them worst. Where far more samples than a tail has are far
beyond the rest, they are taken for anomalies, left out, and it is trained anew. What lasts is left in: a machine that
stands still most of the time is as far from that whenever it runs, and a version without it would flag all of that.
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
# What is far off for longer than so many windows is a state of the machine. A large fault spoils the window behind it.
LASTING_WINDOWS = 4

Train = Callable[[Collected], AnyTrained]


def train_without_anomalies(collected: Collected, train: Train) -> tuple[AnyTrained, tuple[str, ...]]:
    """What `train` makes of the data, or of what is left of it, and what a person should know about that.

    Of frames, and of data that has more than MOST_SHARE of such samples, it is what `train` makes of all.
    """
    trained, left_out = train(collected), 0
    for _ in range(MOST_PASSES):
        if not isinstance(trained, Trained):
            break
        around = _far(trained.detector, collected.segments)
        if not any(rows.any() for rows in around):
            break
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
    """Per segment (N_i,): rows about those that are far off by either view; none if the network has no more than a tail
    of them, or they are too many."""
    every = max(sum(map(len, segments)) // SAMPLED, 1)
    some = np.concatenate([_raw(detector, x, every) for x in segments])
    middle, third = np.quantile(some, [0.5, 0.75], axis=0)
    limit = middle + np.array(FAR) * (third - middle)
    none = [np.zeros(len(x), np.bool_) for x in segments]
    if float((some > limit)[:, 0].mean()) < LEAST_SHARE:
        return none
    beyond = [_raw(detector, x, 1) > limit for x in segments]
    far = [_of_all(x, rows.any(1)) for x, rows in zip(segments, beyond, strict=True)]
    around = [_brief(_widened(rows), LASTING_WINDOWS * detector.window) for rows in far]
    by_network = [_of_all(x, rows[:, 0]) & near for x, rows, near in zip(segments, beyond, around, strict=True)]
    left_out = sum(int((rows & near).sum()) for rows, near in zip(far, around, strict=True))
    too_many = left_out >= MOST_SHARE * sum(map(len, segments))
    if too_many or sum(int(rows.sum()) for rows in by_network) < LEAST_SHARE * sum(map(len, beyond)):
        return none
    return around


def _brief(rows: Bool, most: int) -> Bool:
    """Without runs of more than `most` rows."""
    edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0))
    found = rows.copy()
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        found[begin:end] &= end - begin <= most
    return found


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
