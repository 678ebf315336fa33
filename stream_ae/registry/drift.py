"""Whether scores are still spread as they were when the version was calibrated.

A version stores no bins for that: its scores are -log10 of their tail probability on normal data, so that
P(score > s) = 10^-s is what calibration promised of any version. Drift is when the stream keeps that no more.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from stream_ae.histogram import SCORE_BINS, Bins, Counts
from stream_ae.marginals import stability_index
from stream_ae.records import Float64, Int64
from stream_ae.settings import MonitorSettings

# What is rarer than one in 100 is one bin of its own here. Told apart, 50 scores above 6 of 2000, which is one real
# anomaly of some servers, had an index of 0.29: that is for the threshold to see, and no reason to learn it as normal.
DRIFT_BINS = Bins(tuple(edge for edge in SCORE_BINS.edges if edge <= 2.0))


def expected_shares(bins: Bins = SCORE_BINS) -> Float64:
    """(bins,) the share of the scores of normal data in each bin; their sum is 1.

    >>> expected_shares(Bins((0.0, 1.0, 2.0))).tolist()
    [0.9, 0.09, 0.01]
    """
    above: Float64 = np.append(10.0 ** -np.asarray(bins.edges), 0.0)
    return -np.diff(above)


def score_drift(scores: Counts) -> float:
    """The index of scores by `SCORE_BINS` against what calibration promised."""
    kept = len(DRIFT_BINS) - 1
    return float(stability_index((*scores[:kept], sum(scores[kept:])), expected_shares(DRIFT_BINS)))


class DriftState(Enum):
    """UNKNOWN until the samples are enough to say; a monitor that starts again knows nothing."""

    UNKNOWN = auto()
    QUIET = auto()
    DRIFTING = auto()


@dataclass(frozen=True, slots=True)
class DriftLook:
    """What one look says: `psi` of the newest `samples` scores, NaN while they are too few; `changed`: the state is
    another one than at the look before.
    """

    psi: float
    samples: int
    state: DriftState
    changed: bool


class Newest:
    """The newest looks that hold `samples` together. Tables (..., bins) of one shape; each row counts all samples."""

    def __init__(self, samples: int) -> None:
        self._wanted = samples
        self._looks: deque[Int64] = deque()
        self.samples = 0

    @property
    def enough(self) -> bool:
        return self.samples >= self._wanted

    @property
    def total(self) -> Int64:
        """Of all looks that are held; there must be one."""
        found: Int64 = np.sum(self._looks, axis=0)
        return found

    def add(self, counts: Int64) -> None:
        self._looks.append(counts)
        self.samples += samples_in(counts)
        while self.samples - samples_in(self._looks[0]) >= self._wanted:
            self.samples -= samples_in(self._looks.popleft())


def samples_in(counts: Int64) -> int:
    """That a table (..., bins) counts."""
    return int(counts.reshape(-1, counts.shape[-1])[0].sum()) if counts.size else 0


class Persistence:
    """Drift begins with the last of `looks` looks in a row above `limit`, and ends below half of that, so that an index
    about the limit does not begin and end it time and again.
    """

    def __init__(self, limit: float, looks: int) -> None:
        self._limit, self._looks = limit, looks
        self.state = DriftState.UNKNOWN
        self._in_a_row = 0

    def see(self, index: float) -> None:
        # Comparisons with NaN are false: too few samples change nothing.
        self._in_a_row = self._in_a_row + 1 if index > self._limit else 0
        if index < self._limit / 2:
            self.state = DriftState.QUIET
        elif self._in_a_row >= self._looks:
            self.state = DriftState.DRIFTING


class DriftWatch:
    """Of one version in service. The index is of the newest looks that hold `drift_samples` scores together.

    Looks without new scores do not count.
    """

    def __init__(self, settings: MonitorSettings) -> None:
        self._newest = Newest(settings.drift_samples)
        self._held = Persistence(settings.drift_psi, settings.drift_looks)

    def look(self, scores: Counts) -> DriftLook:
        """`scores` are those since the last look, by `SCORE_BINS`."""
        before = self._held.state
        if any(scores):
            self._newest.add(np.array(scores, np.int64))
        psi = score_drift(tuple(self._newest.total.tolist())) if self._newest.enough else math.nan
        if any(scores):
            self._held.see(psi)
        return DriftLook(psi, self._newest.samples, self._held.state, self._held.state is not before)


class RetrainTrigger:
    """When drift is worth a retraining: once for each time that it begins, and not within the cool-down."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._on = settings.retrain_on_drift
        self._cooldown_ms = round(settings.retrain_cooldown_s * 1000)
        self._last_ms = -math.inf
        self._answered = ""

    def due(self, digest: str, at_ms: int) -> bool:
        """Whether the drift of this version is to be answered now."""
        # One that was started later than now was started by a wrong clock.
        cooling = 0 <= at_ms - self._last_ms < self._cooldown_ms
        return self._on and self._answered != digest and not cooling

    def started(self, digest: str, at_ms: int) -> None:
        self._answered, self._last_ms = digest, at_ms

    def rearm(self, digest: str) -> None:
        """The drift of this version is over, or its retraining came to nothing: drift is answered again."""
        if self._answered == digest:
            self._answered = ""

    def recall(self, at_ms: int) -> None:
        """A retraining was started by the monitor that was here before."""
        self._last_ms = max(self._last_ms, at_ms)
