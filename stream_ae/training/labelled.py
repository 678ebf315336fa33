"""How a detector judges what operators have labelled."""

from collections.abc import Mapping

import numpy as np

from stream_ae.flow.feedback import Label
from stream_ae.flow.window import windows_of
from stream_ae.models.version import AnyDetector
from stream_ae.records import Bool, Float32, Float64, Int64
from stream_ae.training.collect import Labelled

BATCH = 512
# Of labelled spans no more samples than this are looked at, evenly spread.
MOST_SAMPLES = 50_000


def flagged_shares(detector: AnyDetector, labelled: Labelled) -> Mapping[str, float]:
    """By `Label`, the share of the labelled records in which the detector flags a sample; without those of which there
    are none. A record that holds a block is found if one of its samples is."""
    every = max(-(-sum(map(len, labelled.rows)) // MOST_SAMPLES), 1)
    flagged: dict[str, list[Bool]] = {Label.ANOMALY: [], Label.NORMAL: []}
    for piece, rows, anomaly, records in zip(
        labelled.pieces, labelled.rows, labelled.anomaly, labelled.records, strict=True
    ):
        for label, chosen in ((Label.ANOMALY, anomaly), (Label.NORMAL, ~anomaly)):
            some = np.flatnonzero(chosen)[::every]
            above = _scores(detector, piece, rows[some]) > detector.threshold
            flagged[label].append(_any_of_record(above, records[some]))
    joined = {label: np.concatenate(found) for label, found in flagged.items() if sum(map(len, found))}
    return {label: float(found.mean()) for label, found in joined.items()}


def _scores(detector: AnyDetector, piece: Float32, rows: Int64) -> Float64:
    # Frames are windows of one sample: no copy of them all is needed.
    views = windows_of(piece, detector.window, detector.lookahead) if detector.window > 1 else piece[..., None]
    parts = [detector.infer(views[rows[begin : begin + BATCH]]).score for begin in range(0, len(rows), BATCH)]
    return np.concatenate([np.empty(0), *parts])


def _any_of_record(flagged: Bool, records: Int64) -> Bool:
    """(R,) of each record whether one of its samples is flagged."""
    numbers, place = np.unique(records, return_inverse=True)
    found = np.zeros(len(numbers), np.bool_)
    np.logical_or.at(found, place, flagged)
    return found
