"""What workers did between two looks at their statuses, by the version that they run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_ae.histogram import SCORE_BINS, Bins, Counts, merged
from stream_ae.marginals import Table
from stream_ae.records import Int64, ModelIdentity
from stream_ae.status import WorkerStatus
from stream_ae.telemetry import LATENCY_BINS

# A worker is remembered for so long after its last word: one whose status had expired for a while goes on counting.
FORGET_AFTER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Seen:
    """The workers on one version: metrics by name, and what was counted since the look before: scores by `SCORE_BINS`,
    inputs and latent codes by the bins of the version, in tables without rows where nothing was.
    """

    model: ModelIdentity
    metrics: Mapping[str, float]
    scores: Counts
    inputs: Int64
    latents: Int64


@dataclass(frozen=True, slots=True)
class _Since:
    """What one worker did since the look before.

    judged: flagged samples and dead letters are of the version that it runs now, and there is something to hold them
            against.
    """

    records: int
    flagged: int
    dead_letters: int
    scores: Counts
    latencies: Counts
    inputs: Int64
    latents: Int64
    judged: bool


class Looks:
    """Remembers the last status of every worker: counters are differences. A worker that was started again begins at
    0, and so do the scores of a version that came into service.
    """

    def __init__(self) -> None:
        self._before: dict[str, WorkerStatus] = {}
        # By the clock of who looks: a worker's own may be days off.
        self._heard_ms: dict[str, int] = {}
        self._last_ms = -1

    def look(self, workers: Sequence[WorkerStatus], announced: ModelIdentity | None, at_ms: int) -> list[Seen]:
        """By version; the announced one is among them even if no worker runs it.

        The first look has no rates: how long the counters have been counting is not known.
        """
        by_digest: dict[str, list[WorkerStatus]] = defaultdict(list)
        models: dict[str, ModelIdentity] = {}
        for model, worker in ((announced, None), *((worker.model, worker) for worker in workers)):
            if model is not None:
                models.setdefault(model.digest, model)
                by_digest[model.digest] += [worker] if worker is not None else []
        elapsed_s = (at_ms - self._last_ms) / 1000 if self._last_ms >= 0 else 0.0
        seen = [self._seen(models[digest], found, elapsed_s) for digest, found in by_digest.items()]
        self._remember(workers, at_ms)
        return seen

    def forget(self) -> None:
        """The next look is a first one: somebody else has looked meanwhile."""
        self._before, self._heard_ms, self._last_ms = {}, {}, -1

    def _remember(self, workers: Sequence[WorkerStatus], at_ms: int) -> None:
        self._heard_ms |= {worker.worker: at_ms for worker in workers}
        self._heard_ms = {name: heard for name, heard in self._heard_ms.items() if at_ms - heard < FORGET_AFTER_MS}
        known = self._before | {worker.worker: worker for worker in workers}
        self._before = {name: status for name, status in known.items() if name in self._heard_ms}
        self._last_ms = at_ms

    def _seen(self, model: ModelIdentity, workers: Sequence[WorkerStatus], elapsed_s: float) -> Seen:
        since = [found for worker in workers if (found := self._since(worker)) is not None]
        scores = merged([one.scores for one in since]) or SCORE_BINS.nothing
        metrics = _now(workers)
        if elapsed_s > 0 and (since or not workers):
            metrics["throughput_records_s"] = sum(one.records for one in since) / elapsed_s
        metrics |= _shares([one for one in since if one.judged])
        metrics |= _quantiles("score_p{}", SCORE_BINS, scores)
        latencies = merged([one.latencies for one in since]) or LATENCY_BINS.nothing
        metrics |= _quantiles("latency_p{}_s", LATENCY_BINS, latencies)
        return Seen(model, metrics, scores, _added([one.inputs for one in since]), _added([o.latents for o in since]))

    def _since(self, worker: WorkerStatus) -> _Since | None:
        """None for a worker that counted before this monitor looked."""
        before = self._before.get(worker.worker)
        if before is None and (self._last_ms < 0 or worker.started_ms < self._last_ms):
            return None
        begun = before is None or before.started_ms != worker.started_ms
        another = begun or before is None or before.swapped_ms != worker.swapped_ms
        now, old = worker, before if before is not None and not begun else None
        return _Since(
            records=_more(now.records, old.records if old else 0),
            flagged=_more(now.flagged, old.flagged if old else 0),
            dead_letters=_more(now.dead_letters, old.dead_letters if old else 0),
            scores=_counted(SCORE_BINS, now.scores, () if another or old is None else old.scores),
            latencies=_counted(LATENCY_BINS, now.latencies, old.latencies if old else ()),
            inputs=_tabled(now.inputs, () if another or old is None else old.inputs),
            latents=_tabled(now.latents, () if another or old is None else old.latents),
            judged=(begun or not another) and len(now.scores) == len(SCORE_BINS),
        )


def _now(workers: Sequence[WorkerStatus]) -> dict[str, float]:
    metrics = {
        "workers": float(len(workers)),
        "lag": float(sum(worker.lag for worker in workers)),
        "problems": float(sum(len(worker.problems) for worker in workers)),
    }
    waited = [w.first_batch_ms - w.swapped_ms for w in workers if w.first_batch_ms and w.swapped_ms]
    if waited:
        metrics["reload_to_first_batch_s"] = max(*waited, 0) / 1000
    return metrics


def _shares(judged: Sequence[_Since]) -> dict[str, float]:
    """Flagged samples are counted when they leave, scores when they are made: look-ahead keeps them apart a little."""
    samples = sum(sum(one.scores) for one in judged)
    records = sum(one.records for one in judged)
    metrics = {}
    if samples:
        metrics["flagged_share"] = min(sum(one.flagged for one in judged) / samples, 1.0)
    if records:
        metrics["dead_letters_share"] = min(sum(one.dead_letters for one in judged) / records, 1.0)
    return metrics


def _quantiles(name: str, bins: Bins, counts: Counts) -> dict[str, float]:
    if not any(counts):
        return {}
    return {name.format(percent): bins.quantile(counts, percent / 100) for percent in (50, 99)}


def _more(now: int, before: int) -> int:
    return max(now - before, 0)


def _counted(bins: Bins, now: Counts, before: Counts) -> Counts:
    """Nothing from a worker of another release, whose bins are others."""
    if len(now) != len(bins):
        return bins.nothing
    return tuple(map(_more, now, before)) if len(before) == len(bins) else now


def _tabled(now: Table, before: Table) -> Int64:
    """Nothing from a worker whose table is none."""
    if len({len(row) for row in now}) != 1:
        return np.zeros((0, 0), np.int64)
    found, old = np.array(now, np.int64), np.array(before, np.int64)
    return np.maximum(found - old, 0) if found.shape == old.shape else found


def _added(tables: Sequence[Int64]) -> Int64:
    """Of one version's workers: all count by its bins, but for those that have not counted yet."""
    counted = [table for table in tables if table.size]
    alike = [table for table in counted if table.shape == counted[0].shape]
    added: Int64 = np.sum(alike, axis=0) if alike else np.zeros((0, 0), np.int64)
    return added
