"""The ruler: threshold-free and range-aware metrics, and what one threshold gives. Labels and scores are (N,)."""

from dataclasses import dataclass

import numpy as np

from stream_ae.records import Bool, Float64, Int64

THRESHOLDS = 250
RANGE_THRESHOLDS = 100


def ranges(flags: Bool) -> tuple[Int64, Int64]:
    """First and last (inclusive) positions of the stretches that are true."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def auc_pr(label: Bool, score: Float64) -> float:
    """Average precision; equal scores are one threshold."""
    order = np.argsort(-score, kind="stable")
    label, score = label[order], score[order]
    last = np.append(score[1:] != score[:-1], True)
    hits, count = np.cumsum(label)[last], (np.arange(len(label)) + 1)[last]
    recall = hits / max(int(label.sum()), 1)
    return float((np.diff(recall, prepend=0.0) * hits / count).sum())


def vus_pr(label: Bool, score: Float64, buffer: int) -> float:
    """Volume under the precision-recall surface (Boniol et al., VLDB Journal 2025, in TSB-AD's optimised variant).

    For every width l up to `buffer`, labels are softened by sqrt(1 - d / l) within l // 2 rows of a range, recall is
    multiplied by the share of ranges that were touched, and the areas are averaged.
    """
    first, last = ranges(label)
    if len(first) == 0:
        return float("nan")
    descending = -np.sort(-score)
    thresholds = descending[np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64)]
    predicted = len(score) - np.searchsorted(descending[::-1], thresholds, "left")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order])[predicted - 1]
    areas = []
    for width in range(buffer + 1):
        soft = np.cumsum(_softened(label, first, last, width)[order])[predicted - 1]
        touched = _touched(score, first, last, width // 2, thresholds)
        recall = np.minimum((hits + soft) / (label.sum() + soft / 2), 1.0) * touched
        areas.append((np.diff(recall, prepend=0.0) * (hits + soft) / predicted).sum())
    return float(np.mean(areas))


def _softened(label: Bool, first: Int64, last: Int64, width: int) -> Float64:
    """Weights of the rows around the ranges."""
    soft, half, count = np.zeros(len(label)), width // 2, len(label)
    if half:
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            after, before = np.arange(end + 1, min(end + half + 1, count)), np.arange(max(begin - half, 0), begin)
            soft[after] += np.sqrt(1 - (after - end) / width)
            soft[before] += np.sqrt(1 - (begin - before) / width)
    return np.where(label, 0.0, np.minimum(soft, 1.0))


def _touched(score: Float64, first: Int64, last: Int64, half: int, thresholds: Float64) -> Float64:
    """Share of the widened ranges that reach each threshold; those that overlap count as one."""
    most, begin = [], max(int(first[0]) - half, 0)
    for place in range(len(first)):
        end = int(last[place]) + half
        if place + 1 == len(first) or end < first[place + 1] - half:
            most.append(score[begin : min(end, len(score) - 1) + 1].max())
            if place + 1 < len(first):
                begin = int(first[place + 1]) - half
    ascending = np.sort(most)
    share: Float64 = (len(most) - np.searchsorted(ascending, thresholds, "left")) / len(most)
    return share


def range_f1(label: Bool, flags: Bool, alpha: float = 0.2) -> float:
    """Range-based F1 (Tatbul et al., NeurIPS 2018): flat bias, reciprocal cardinality."""
    recall, precision = _range_share(label, flags, alpha), _range_share(flags, label, 0.0)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _range_share(reference: Bool, other: Bool, alpha: float) -> float:
    (first, last), (other_first, other_last) = ranges(reference), ranges(other)
    if len(first) == 0 or len(other_first) == 0:
        return 0.0
    sums = np.concatenate(([0], np.cumsum(other)))
    cover = (sums[last + 1] - sums[first]) / (last - first + 1)
    pieces = np.searchsorted(other_first, last, "right") - np.searchsorted(other_last, first, "left")
    factor = np.where(pieces > 0, 1 / np.maximum(pieces, 1), 0.0)
    return float((alpha * (cover > 0) + (1 - alpha) * cover * factor).mean())


def best_range_f1(label: Bool, score: Float64) -> float:
    """At the best of many thresholds: an upper bound, not what a user gets."""
    shares = 1 - np.geomspace(1e-4, 0.9, RANGE_THRESHOLDS)
    return max(range_f1(label, score > threshold) for threshold in np.unique(np.quantile(score, shares)))


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What flags mean for people.

    false_alarm_rate: share of the normal rows that are flagged; hit, events: ranges touched, and all;
    false_events: flagged stretches that touch no range, per 10,000 normal rows.
    """

    false_alarm_rate: float
    hit: int
    events: int
    false_events: float


def at_threshold(label: Bool, flags: Bool) -> AtThreshold:
    (first, last), (begin, end) = ranges(label), ranges(flags)
    hit = sum(bool(flags[a : b + 1].any()) for a, b in zip(first.tolist(), last.tolist(), strict=True))
    false = sum(not label[a : b + 1].any() for a, b in zip(begin.tolist(), end.tolist(), strict=True))
    normal = max(int((~label).sum()), 1)
    return AtThreshold(float((flags & ~label).sum() / normal), hit, len(first), false / normal * 10_000)
