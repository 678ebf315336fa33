"""What a worker knows of itself: written by its threads, read by heartbeat, /readyz and /metrics."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_ae.clock import Clock
from stream_ae.histogram import SCORE_BINS, Counts, merged
from stream_ae.records import ModelIdentity, Partition
from stream_ae.status import Health, ShadowStatus, WorkerStatus
from stream_ae.telemetry import LATENCY_BINS
from stream_ae.worker.counting import NOTHING, Counted, table_of


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the worker started."""

    records: int = 0
    flagged: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class _State:
    model: ModelIdentity | None = None
    profiles: ModelIdentity | None = None
    swapped_ms: int = 0
    first_batch_ms: int = 0
    totals: Totals = field(default_factory=Totals)
    lag: Mapping[Partition, int] = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    stalled: str | None = None
    lost: int = 0
    draining: bool = False
    scores: Counts = SCORE_BINS.nothing
    counted: Counted = NOTHING
    latencies: list[int] = field(default_factory=lambda: list(LATENCY_BINS.nothing))
    shadow: ShadowStatus | None = None


class StatusBoard:
    """Thread-safe; one `snapshot` is what everybody outside sees."""

    def __init__(self, worker: str, clock: Clock) -> None:
        self._worker = worker
        self._clock = clock
        self._lock = threading.Lock()
        self._state = _State()
        self._started_ms = clock.wall_ms()
        self.address = ""

    def swapped(self, model: ModelIdentity) -> None:
        """`model` is in service from the next batch on."""
        with self._lock:
            self._state.model = model
            self._state.swapped_ms = self._clock.wall_ms()
            self._state.first_batch_ms = 0
            self._state.scores = SCORE_BINS.nothing
            self._state.counted = NOTHING

    def profiled(self, profiles: ModelIdentity) -> None:
        """`profiles` are in service from the next batch on."""
        with self._lock:
            self._state.profiles = profiles

    def shadowed(self, shadow: ShadowStatus | None) -> None:
        """What the challenger beside the model has done so far; None: there is none."""
        with self._lock:
            self._state.shadow = shadow

    def answered(
        self, model: ModelIdentity, totals: Totals, scores: Counts = SCORE_BINS.nothing, counted: Counted = NOTHING
    ) -> None:
        """A batch of `model` was produced, with so many scores in each bin, and so many inputs and codes in theirs."""
        with self._lock:
            self._state.totals = totals
            # What was in flight when its version was replaced says nothing of the one in service.
            if self._state.model != model:
                return
            self._state.scores = merged((self._state.scores, scores))
            if counted:
                self._state.counted = self._state.counted.and_also(counted)
            if self._state.first_batch_ms == 0:
                self._state.first_batch_ms = self._clock.wall_ms()

    def left(self, latency_s: float) -> None:
        """A batch left so long after its oldest record had come."""
        place = LATENCY_BINS.place(latency_s)
        with self._lock:
            self._state.latencies[place] += 1

    def positioned(self, lag: Mapping[Partition, int]) -> None:
        """The assigned partitions and how far each is from its end."""
        with self._lock:
            self._state.lag = dict(lag)
            self._state.partitions = tuple(f"{p.topic}/{p.number}" for p in sorted(lag))

    def problem(self, source: str, sentence: str | None) -> bool:
        """Set or clear (None) what is wrong with `source`; true if it began or ended with that: news for the log.

        While a server is away the sentence changes with every call that fails.
        """
        with self._lock:
            before = self._state.problems.get(source)
            if sentence is None:
                self._state.problems.pop(source, None)
            else:
                self._state.problems[source] = sentence
            return (before is None) != (sentence is None)

    def stalled(self, sentence: str | None) -> None:
        """Set or clear (None) what gets nowhere."""
        with self._lock:
            self._state.stalled = sentence

    def lost(self, offsets: int) -> None:
        """Retention deleted so many more before they were read."""
        with self._lock:
            self._state.lost += offsets

    def draining(self) -> None:
        with self._lock:
            self._state.draining = True

    def snapshot(self) -> WorkerStatus:
        with self._lock:
            state = self._state
            return WorkerStatus(
                worker=self._worker,
                health=_health(state),
                model=state.model,
                updated_ms=self._clock.wall_ms(),
                started_ms=self._started_ms,
                swapped_ms=state.swapped_ms,
                first_batch_ms=state.first_batch_ms,
                records=state.totals.records,
                flagged=state.totals.flagged,
                dead_letters=state.totals.dead_letters,
                lag=sum(state.lag.values()),
                partitions=state.partitions,
                address=self.address,
                problems=(*([state.stalled] if state.stalled else []), *state.problems.values()),
                lost=state.lost,
                profiles=state.profiles,
                scores=state.scores,
                latencies=tuple(state.latencies),
                shadow=state.shadow,
                inputs=table_of(state.counted.inputs),
                latents=table_of(state.counted.latents),
            )


def _health(state: _State) -> Health:
    if state.stalled:
        return Health.STALLED
    if state.draining:
        return Health.DRAINING
    if state.model is None:
        return Health.WAITING
    return Health.DEGRADED if state.problems else Health.RUNNING
