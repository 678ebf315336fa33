"""The bins of a version's inputs and latent codes, which the monitor tells drift by.

They are of all rows that the version was made of, not only of the held-out ones: nothing is fitted here that rows could
be known by heart to, and of a week's rows the newest fifth holds neither a night nor a week-end of the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.marginals import DriftBins, Marginal, Marginals, input_names, inputs_of, stability_index
from stream_ae.models.detector import Detector
from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32, Float64, Int64
from stream_ae.training.dataset import Split, joined

# Shares that lie below the edges. The outermost bins hold one in 100: what leaves the range that was seen gathers
# there and is told from what stays at one end of it, while some anomalies among thousands weigh nothing.
QUANTILES = (0.01, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99)
# What was never seen is expected this often: a channel that stood still counts as drifting when a tenth of it moves.
LEAST_SHARE = 1e-3
# Rows that are looked at, evenly spread; of frames so many.
MOST_ROWS, MOST_FRAMES = 50_000, 2_000
BATCH = 2048
# A stretch is as many rows of all streams together as the monitor judges at once, by its default.
STRETCH_ROWS = 2000
STRETCHES = (4, 64)


def fitted_bins(detector: Detector, streams: Sequence[Float32], parts: Split) -> DriftBins:
    """Of streams (N_i, C) in time order, and of the codes of all their windows."""
    rows = sum(len(x) for x in streams)
    step = -(-rows // MOST_ROWS)
    stretches = _stretches(rows)
    picked = [x[::step] for x in streams]
    inputs = np.concatenate([inputs_of(x, None) for x in picked])
    windows = joined([parts.fit, parts.validation, parts.held_out.windows(detector.window, detector.lookahead)])
    windows = windows.sample(MOST_ROWS)
    codes = np.concatenate([detector.latents(batch) for batch in windows.batches(BATCH)])
    lengths = np.array([len(x) for x in streams])
    begun = windows.row / lengths[windows.stream]
    return DriftBins(
        inputs=marginals_of(
            input_names(detector.channels, frames=False), inputs, _in_order([len(x) for x in picked], stretches)
        ),
        latents=marginals_of(latent_names(codes), codes, (begun * stretches).astype(np.int64)),
    )


def fitted_frame_bins(detector: ImageDetector, frames: NDArray[Any]) -> DriftBins:
    """Of frames (N, C, H, W) of any numeric type in time order."""
    stretches = _stretches(len(frames))
    picked = frames[np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(np.int64)]
    inputs, codes = [], []
    for part in detector.parts(picked):
        samples = part.astype(np.float32).reshape(len(part), -1)
        inputs.append(inputs_of(samples, detector.frame))
        codes.append(detector.latents(samples[:, :, None]))
    stretch, code = _in_order([len(picked)], stretches), np.concatenate(codes)
    return DriftBins(
        inputs=marginals_of(input_names(detector.channels, frames=True), np.concatenate(inputs), stretch),
        latents=marginals_of(latent_names(code), code, stretch),
    )


def latent_names(codes: Float32) -> tuple[str, ...]:
    """Of (N, Q) quantities."""
    return tuple(str(number) for number in range(codes.shape[1]))


def marginals_of(names: Sequence[str], values: Float32, stretch: Int64) -> Marginals:
    """How each column of values (N, Q) is spread, NaN = missing; `stretch` (N,) numbers the stretches of time."""
    plain = Marginals(
        tuple(
            Marginal(name, edges, (1.0,) * (len(edges) + 2), 0.0)
            for name, edges in ((name, edges_of(column)) for name, column in zip(names, values.T, strict=True))
        )
    )
    tables = np.array([plain.counts(values[stretch == one]) for one in np.unique(stretch)])
    shares = _floored(tables.sum(0), plain.shares)
    usual = stability_index(tables, shares).max(0)
    return Marginals(
        tuple(
            Marginal(one.name, one.edges, (*row[: len(one.edges) + 1].tolist(), float(row[-1])), float(highest))
            for one, row, highest in zip(plain.each, shares, usual, strict=True)
        )
    )


def edges_of(values: Float32) -> tuple[float, ...]:
    """Quantiles of (N,) values. One that many of them are equal to gets a bin of its own, so that values which stand
    still, or are switches, are told from all others.

    >>> edges_of(np.array([5.0, 5.0, 5.0], np.float32))
    (5.0, 5.000000476837158)
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return ()
    found, times = np.unique(np.quantile(there, QUANTILES, method="lower").astype(np.float32), return_counts=True)
    # Behind the largest float32, a placeholder that some sensors send, there is nothing.
    with np.errstate(over="ignore"):
        behind = np.nextafter(found[times > 1], np.float32(np.inf))
    edges: list[float] = np.unique(np.concatenate((found, behind[np.isfinite(behind)]))).tolist()
    return tuple(edges)


def _floored(counts: Int64, there: Float64) -> Float64:
    """(Q, W) shares of counts, none below LEAST_SHARE in the bins that are `there`."""
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    shares = np.where(there > 0, np.maximum(shares, LEAST_SHARE), 0.0)
    floored: Float64 = shares / shares.sum(-1, keepdims=True)
    return floored


def _stretches(rows: int) -> int:
    least, most = STRETCHES
    return min(max(rows // STRETCH_ROWS, least), most)


def _in_order(lengths: Sequence[int], stretches: int) -> Int64:
    """The stretch of each row of streams with so many rows: all streams run from the first one to the last."""
    return np.concatenate([np.arange(length) * stretches // max(length, 1) for length in lengths])
