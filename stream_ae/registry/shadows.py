"""What challengers beside the champion have done, summed over the workers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from stream_ae.histogram import SCORE_BINS, merged
from stream_ae.records import ModelIdentity
from stream_ae.status import ShadowStatus, WorkerStatus


def shadow_metrics(workers: Sequence[WorkerStatus]) -> Mapping[ModelIdentity, Mapping[str, float]]:
    """By version: counts and shares since it was put there, on whichever workers."""
    found: dict[ModelIdentity, list[ShadowStatus]] = defaultdict(list)
    for worker in workers:
        if worker.shadow is not None:
            found[worker.shadow.model].append(worker.shadow)
    return {model: _metrics(shadows) for model, shadows in found.items()}


def _metrics(shadows: Sequence[ShadowStatus]) -> dict[str, float]:
    windows, batches = sum(one.windows for one in shadows), sum(one.batches for one in shadows)
    metrics = {"shadow_workers": float(len(shadows)), "shadow_windows": float(windows)}
    if windows and batches:
        metrics |= {
            "shadow_flagged_share": sum(one.flagged for one in shadows) / windows,
            "shadow_champion_flagged_share": sum(one.flagged_by_champion for one in shadows) / windows,
            "shadow_agreement": sum(one.agreed for one in shadows) / windows,
            "shadow_batch_s": sum(one.busy_s for one in shadows) / batches,
        }
    # None from a worker of another release, whose bins are others.
    counts = merged(one.scores for one in shadows if len(one.scores) == len(SCORE_BINS))
    if any(counts):
        metrics |= {f"shadow_score_p{percent}": SCORE_BINS.quantile(counts, percent / 100) for percent in (50, 99)}
    return metrics
