"""What a worker says of itself, to the signal and to whoever looks."""

from dataclasses import dataclass, field
from enum import StrEnum

from stream_ae.marginals import Table
from stream_ae.records import ModelIdentity


class Health(StrEnum):
    """How a worker is, in one word."""

    STARTING = "starting"
    WAITING = "waiting for a model"
    RUNNING = "running"
    DEGRADED = "degraded"
    DRAINING = "draining"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """What a challenger says beside the champion, counted since it was put there; nothing of it leaves the worker.

    windows:   that both answered; a batch that comes while it is busy is passed over.
    flagged:   of them by the challenger's threshold; flagged_by_champion: by the champion's, profiles left aside.
    agreed:    of them flagged by both or by neither.
    busy_s:    what its batches took together.
    scores:    how many of its scores are in each of `histogram.SCORE_BINS`.
    """

    model: ModelIdentity
    windows: int = 0
    flagged: int = 0
    flagged_by_champion: int = 0
    agreed: int = 0
    batches: int = 0
    busy_s: float = 0.0
    scores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker says of itself; expires when it stops saying it.

    swapped_ms:   when `model` came into service; first_batch_ms: when its first batch was answered (0 = not yet).
    problems:     one sentence each: a refused version and why, a server that is away.
    lost:         offsets that retention deleted before they were read, since the worker started.
    profiles:     which version of the stream profiles it has.
    scores:       how many calibrated scores were in each of `histogram.SCORE_BINS` since `swapped_ms`.
    latencies:    how many batches were in each of `telemetry.LATENCY_BINS` since the worker started.
    shadow:       a challenger that scores beside `model`, if there is one.
    inputs:       how many of the samples that were looked at were in each of the version's bins, since `swapped_ms`.
    latents:      the same of latent codes; see `marginals.Marginals`.

    The histograms are empty where a worker of another release says nothing of them.
    """

    worker: str
    health: Health
    model: ModelIdentity | None
    updated_ms: int
    started_ms: int
    swapped_ms: int = 0
    first_batch_ms: int = 0
    records: int = 0
    flagged: int = 0
    dead_letters: int = 0
    lag: int = 0
    partitions: tuple[str, ...] = ()
    address: str = ""
    problems: tuple[str, ...] = field(default=())
    lost: int = 0
    profiles: ModelIdentity | None = None
    scores: tuple[int, ...] = ()
    latencies: tuple[int, ...] = ()
    shadow: ShadowStatus | None = None
    inputs: Table = ()
    latents: Table = ()
