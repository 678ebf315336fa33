"""One ruler for candidate and champion: the same held-out rows, hidden from the models in the same places."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_ae.errors import ModelError
from stream_ae.models.detector import Detector
from stream_ae.records import Bool, Float32, Float64
from stream_ae.training.dataset import HeldOut, WindowSet
from stream_ae.training.inject import FAULTS, injected

BATCH = 2048
HIDDEN_SHARE = 0.25
MOST_WINDOWS = 50_000
MOST_FAULTS = 1000
BATCH_TIMED, TIMES = 256, 40


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on rows it was not fitted on.

    loss:           how far off it is on values that it was not shown, mean absolute error over each channel's mean
                    absolute step; 1 is as good as repeating the value before, lower is better.
    flagged_share:  share of the windows above the model's own threshold.
    found:          by the kind of injected fault (`training.inject`), the share above the threshold.
    batch_ms:       CPU time of a batch of BATCH_TIMED windows, where it was taken (`timed`).
    labelled:       by what operators called them (`anomaly`, `normal`), the share of the records that are flagged.
    """

    loss: float
    flagged_share: float
    windows: int
    found: Mapping[str, float] = field(default_factory=dict)
    batch_ms: float = field(default=0.0, compare=False)
    labelled: Mapping[str, float] = field(default_factory=dict)


def evaluate(detector: Detector, held_out: HeldOut, seed: int = 0) -> Evaluation:
    """Measure `detector` on held-out rows. Losses of detectors are comparable if rows, channels and seed are the same.

    Hiding values is what makes the loss honest: a model that copies its input would otherwise win.
    Raises ModelError if there is nothing to measure on.
    """
    # Drawn over all rows, before any window is made: what is hidden does not depend on the model's window.
    steps, hidden = _steps(held_out), _hidden(held_out, seed)
    windows = held_out.windows(detector.window, detector.lookahead).sample(MOST_WINDOWS)
    if len(windows) == 0:
        raise ModelError("no held-out row has a value: collect more data before comparing models")
    target = detector.window - 1 - detector.lookahead
    error, count, flagged = np.zeros(len(steps)), np.zeros(len(steps)), 0
    for begin in range(0, len(windows), BATCH):
        chosen = np.arange(begin, min(begin + BATCH, len(windows)))
        batch = windows.windows(chosen)
        flagged += int((detector.infer(batch).score > detector.threshold).sum())
        truth = batch[..., target].copy()
        mask = np.stack([hidden[s][r] for s, r in zip(windows.stream[chosen], windows.row[chosen], strict=True)])
        # Later samples are hidden with it: with look-ahead they would give the value away.
        batch[..., target:][mask] = np.nan
        known = mask & ~np.isnan(truth)
        off = np.abs(detector.infer(batch).x_hat - np.where(known, truth, 0.0)).astype(np.float64)
        error += np.where(known, off, 0.0).sum(0)
        count += known.sum(0)
    used = count > 0
    loss = float((error[used] / count[used] / steps[used]).mean()) if used.any() else float("nan")
    few = windows.sample(MOST_FAULTS)
    found = {kind: _share_found(detector, few, kind, _spread(held_out), seed) for kind in FAULTS}
    return Evaluation(loss, flagged / len(windows), len(windows), found)


def timed(answers: Sequence[Callable[[], object]]) -> list[float]:
    """CPU time in ms of each one's fastest call, called in turn: what else the machine does meets all alike."""
    taken: list[list[float]] = [[] for _ in answers]
    for _ in range(TIMES):
        for answer, times in zip(answers, taken, strict=True):
            began_s = time.process_time()
            answer()
            times.append(time.process_time() - began_s)
    return [1000.0 * min(times) for times in taken]


def one_batch(detector: Detector, held_out: HeldOut) -> Callable[[], object]:
    """Answering a batch of BATCH_TIMED held-out windows, to be timed."""
    windows = held_out.windows(detector.window, detector.lookahead)
    some = windows.windows(np.arange(min(len(windows), BATCH_TIMED)))
    return lambda: detector.infer(some)


def _share_found(detector: Detector, windows: WindowSet, kind: str, spread: Float64, seed: int) -> float:
    target, hits = detector.window - 1 - detector.lookahead, 0
    for number, batch in enumerate(windows.batches(BATCH)):
        spoilt = injected(batch, target, kind, spread, seed + number)
        hits += int((detector.infer(spoilt).score > detector.threshold).sum())
    return hits / max(len(windows), 1)


def _spread(held_out: HeldOut) -> Float64:
    """(C,) standard deviation of the held-out rows; 1 for a channel that does not move."""
    rows = np.concatenate([x[begin:] for x, begin in zip(held_out.streams, held_out.begin, strict=True)])
    seen = ~np.isnan(rows)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, rows, 0.0).sum(0, dtype=np.float64) / count
    spread = np.sqrt(np.where(seen, np.square(rows - mean), 0.0).sum(0, dtype=np.float64) / count)
    return np.where(spread > 0, spread, 1.0)


def _hidden(held_out: HeldOut, seed: int) -> list[Bool]:
    generator = np.random.default_rng(seed)
    return [generator.random(x.shape) < HIDDEN_SHARE for x in held_out.streams]


def _steps(held_out: HeldOut) -> Float64:
    """(C,) mean absolute difference of consecutive values; 1 for a channel that does not move."""
    parts: list[Float32] = [
        np.abs(np.diff(x[begin:], axis=0)) for x, begin in zip(held_out.streams, held_out.begin, strict=True)
    ]
    steps = np.concatenate(parts).astype(np.float64)
    seen = ~np.isnan(steps)
    means = np.where(seen, steps, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.where(means > 0, means, 1.0)
