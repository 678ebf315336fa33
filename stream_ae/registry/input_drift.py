"""Whether inputs and latent codes are still spread as those that a version was made of, channel by channel.

A shift that the model reconstructs well leaves the scores as they were; it is seen here. Inputs decide, codes are for
people to look at: what they alone show, the scores show as well.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_ae.marginals import DriftBins, Marginals, stability_index
from stream_ae.records import Float64, Int64
from stream_ae.registry.drift import DriftState, Newest, Persistence
from stream_ae.settings import MonitorSettings

# A stretch of a stream that wanders by nature is far from the whole, and the farthest of a few is soon exceeded. Of the
# twelve newest stretches of six servers (ASD, 8,640 rows each, the first half learnt) 6 had a channel above .25 and
# above the farthest stretch of the first half, 1 one above twice that, none above three times.
TIMES_USUAL = 3.0
# A channel's curve goes on when it has moved by so much: of 128 channels a point a minute would be 40 MB a day.
PSI_STEP, SHARE_STEP = 0.05, 0.01
WORST_NAMED = 3
# MLflow takes letters, digits, and of the rest these; slashes make groups of curves, dots alone would be folders.
_REFUSED = re.compile(r"[^\w .-]|^\.+$")
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class InputLook:
    """What one look says of a version's inputs.

    metrics:  by name: highest and mean index every time, a quantity's own when it has moved.
    samples:  that the indices of inputs are of.
    worst:    quantities above their limits, by how much, the worst first; a sentence for a person each.
    changed:  the state is another one than at the look before.
    """

    metrics: dict[str, float]
    samples: int
    worst: tuple[str, ...]
    state: DriftState
    changed: bool


class InputWatch:
    """Of one version in service; the newest looks, limits and states as of `registry.drift.DriftWatch`.

    A channel's limit is `input_drift_psi`, or three times what stretches of the training data had where that is more.
    """

    def __init__(self, bins: DriftBins, settings: MonitorSettings) -> None:
        self._inputs = _Indices("input", bins.inputs, settings.drift_samples)
        self._latents = _Indices("latent", bins.latents, settings.drift_samples)
        usual = np.array([one.usual for one in bins.inputs.each])
        self._limits = np.maximum(settings.input_drift_psi or np.inf, TIMES_USUAL * usual)
        self._held = Persistence(1.0, settings.drift_looks)

    def look(self, inputs: Int64, latents: Int64) -> InputLook:
        """Tables (Q, W) of what was counted since the last look."""
        before = self._held.state
        counted = self._inputs.add(inputs)
        psi = self._inputs.psi()
        if counted:
            self._held.see(float((psi / self._limits).max(initial=0.0)))
        metrics = self._inputs.metrics(psi)
        if self._latents.add(latents):
            metrics |= self._latents.metrics(self._latents.psi())
        state = self._held.state
        return InputLook(metrics, self._inputs.newest.samples, self._worst(psi), state, state is not before)

    def _worst(self, psi: Float64) -> tuple[str, ...]:
        excess = psi / self._limits
        order = [place for place in np.argsort(-excess).tolist() if excess[place] > 1]
        names = self._inputs.bins.each
        return tuple(f"{names[k].name} {psi[k]:.2f} (limit {self._limits[k]:.2f})" for k in order[:WORST_NAMED])


class _Indices:
    """The newest counts of one kind of quantities, and what of them has been told."""

    def __init__(self, kind: str, bins: Marginals, samples: int) -> None:
        self.bins, self.newest = bins, Newest(samples)
        self._kind = kind
        self._names = metric_names([one.name for one in bins.each])
        self._told: dict[str, float] = {}

    def add(self, counts: Int64) -> bool:
        """Whether there was something new; a table of other bins is from a worker of another release."""
        if counts.shape != self.bins.shape or not counts.any():
            return False
        self.newest.add(counts)
        return True

    def psi(self) -> Float64:
        """(Q,) NaN while the samples are too few."""
        if not self.newest.enough:
            return np.full(len(self.bins), np.nan)
        return stability_index(self.newest.total, self.bins.shares)

    def metrics(self, psi: Float64) -> dict[str, float]:
        if not len(psi) or not self.newest.enough:
            return {}
        kind, total = self._kind, self.newest.total
        found = {f"{kind}_psi_max": float(psi.max()), f"{kind}_psi_mean": float(psi.mean())}
        found |= self._moved(f"{kind}_psi", psi, PSI_STEP)
        if kind == "input":
            found |= self._moved("input_missing", total[:, -1] / total.sum(1), SHARE_STEP)
        return found

    def _moved(self, group: str, values: Float64, step: float) -> dict[str, float]:
        """Those that are told first, or differ by more than a step from what was told last."""
        found = {}
        for name, value in zip(self._names, values.tolist(), strict=True):
            metric = f"{group}/{name}"
            if metric not in self._told or abs(value - self._told[metric]) > step:
                found[metric] = self._told[metric] = value
        return found


def metric_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names as MLflow takes them in a metric, each once.

    >>> metric_names(["flow (m/s)", "flow [m/s]", "..", "ok.1"])
    ('flow _m_s_', 'flow _m_s_ 2', '_', 'ok.1')
    """
    found: list[str] = []
    for name in names:
        plain = unique = (_REFUSED.sub("_", name.strip()) or "_")[:LONGEST_NAME].strip()
        number = 1
        while unique in found:
            number += 1
            unique = f"{plain} {number}"
        found.append(unique)
    return tuple(found)
