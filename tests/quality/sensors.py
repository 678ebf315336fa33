"""Detection on sensor data: every method on every series with every seed, kept as rows of figures."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from stream_ae import AutoencoderDetector
from stream_ae.records import Bool, Float32, Float64
from stream_ae.training.adapt import threshold_by
from tests.quality import peers
from tests.quality.data import Series, sensors
from tests.quality.metrics import at_threshold, auc_pr, best_range_f1, vus_pr
from tests.quality.peers import Peer

SEEDS = tuple(range(int(os.environ.get("QUALITY_SEEDS", "3"))))
RATE = 0.005
"""The false-alarm rate that is asked for."""
OURS, ADAPTED = "stream_ae", "stream_ae, thresholds adapted hourly"
PEERS: dict[str, Peer] = {
    "PCA, window of 20": peers.pca,
    "plain dense autoencoder, window of 20": peers.plain_autoencoder,
    "PyOD AutoEncoder": peers.pyod_autoencoder,
    "PyOD ECOD": peers.pyod_ecod,
    "PyOD IForest": peers.pyod_isolation_forest,
    "mean |z|": peers.mean_abs_z,
    "elapsed time": peers.elapsed_time,
    "random": peers.random,
}
# The same whatever the seed.
SEEDLESS = ("PCA, window of 20", "PyOD ECOD", "mean |z|", "elapsed time")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one series with one seed.

    hit_1, hit_3, blamed: of `blamed` anomalous ranges with known channels, in how many the channel with the largest
    share (one of the three largest) was guilty.
    """

    method: str
    group: str
    series: str
    seed: int
    vus_pr: float
    auc_pr: float
    range_f1: float
    false_alarm_rate: float
    hit: int
    events: int
    false_events: float
    fit_s: float = 0.0
    hit_1: int = 0
    hit_3: int = 0
    blamed: int = 0


def measured(kept: Path) -> list[Row]:
    """All rows; those in the file `kept` are not measured again, new ones are added to it."""
    lines = kept.read_bytes().splitlines() if kept.exists() else []
    rows = [msgspec.json.decode(line, type=Row) for line in lines]
    known = {(row.method, row.group, row.series, row.seed) for row in rows}
    kept.parent.mkdir(parents=True, exist_ok=True)
    for series in sensors():
        for method, seed in _plan():
            if (method, series.group, series.name, seed) in known:
                continue
            for row in _ours(series, seed) if method == OURS else [_peer(method, series, seed)]:
                rows.append(row)
                with kept.open("ab") as file:
                    file.write(msgspec.json.encode(row) + b"\n")
        print(f"{series.group} {series.name} measured", flush=True)
    return rows


def _plan() -> Iterator[tuple[str, int]]:
    for method in (OURS, *PEERS):
        for seed in SEEDS[:1] if method in SEEDLESS else SEEDS:
            yield method, seed


def _peer(method: str, series: Series, seed: int) -> Row:
    """A peer's threshold is the quantile of its scores of the training rows."""
    started_s = time.perf_counter()
    scores = PEERS[method](series, seed)
    flags = scores.test > np.quantile(scores.train, 1 - RATE)
    return _row(method, series, seed, scores.test, flags, fit_s=time.perf_counter() - started_s)


def _ours(series: Series, seed: int) -> Iterator[Row]:
    started_s = time.perf_counter()
    detector = AutoencoderDetector(seed=seed, false_alarm_rate=RATE).fit(series.train)
    fit_s = time.perf_counter() - started_s
    rows = np.concatenate((series.history, series.test))
    score = detector.decision_function(rows)[len(series.history) :]
    hits = _blame(series, score, detector.explain(rows)[len(series.history) :])
    flags = score > detector.detector_.threshold
    yield _row(OURS, series, seed, score, flags, fit_s=fit_s, **hits)
    if series.rows_per_day:
        thresholds = _hourly(series, detector.decision_function(series.train), score, detector.detector_.threshold)
        yield _row(ADAPTED, series, seed, score, score > thresholds)


def _hourly(series: Series, before: Float64, score: Float64, fleet: float) -> Float64:
    """(N,) the threshold of each test row, learnt anew every hour from the last two days, as `jobs.adapt` does.

    before: scores of the training rows, which precede the test.
    """
    scores, start = np.concatenate((before, score)), len(before)
    hour, span = series.rows_per_day // 24, 2 * series.rows_per_day
    starts = range(0, len(score), hour)
    learnt = [threshold_by(scores[max(start + row - span, 0) : start + row], RATE, fleet) for row in starts]
    return np.repeat(learnt, hour)[: len(score)]


def _blame(series: Series, score: Float64, share: Float32) -> dict[str, int]:
    """The channels of a range are those of its row with the largest score."""
    hit_1 = hit_3 = 0
    for span, guilty in series.guilty:
        row = span.start + int(score[span.start : span.stop].argmax())
        largest = np.argsort(-share[row], kind="stable")[:3].tolist()
        hit_1 += largest[0] in guilty
        hit_3 += bool(guilty.intersection(largest))
    return {"hit_1": hit_1, "hit_3": hit_3, "blamed": len(series.guilty)}


def _row(method: str, series: Series, seed: int, score: Float64, flags: Bool, **more: float) -> Row:
    found = at_threshold(series.label, flags)
    return msgspec.convert(
        {
            "method": method,
            "group": series.group,
            "series": series.name,
            "seed": seed,
            "vus_pr": vus_pr(series.label, score, series.buffer),
            "auc_pr": auc_pr(series.label, score),
            "range_f1": best_range_f1(series.label, score),
            "false_alarm_rate": found.false_alarm_rate,
            "hit": found.hit,
            "events": found.events,
            "false_events": found.false_events,
            **more,
        },
        Row,
    )
