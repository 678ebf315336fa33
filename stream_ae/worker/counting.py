"""What a worker counts of inputs and latent codes, for the monitor to tell drift by: some of them, at little cost."""

from dataclasses import dataclass, field

import numpy as np

from stream_ae.flow.model import ServedModel
from stream_ae.flow.pipeline import Work
from stream_ae.marginals import DriftBins, Table, inputs_of
from stream_ae.records import Float32, Int64
from stream_ae.worker.inference import Answer

# Of one batch so many values of channels are counted, or so many frames; those of several small batches at once, for
# a count costs as much as answering ten samples. Together under 1 % of what answers cost: test_counting_bench.py.
MOST_VALUES, MOST_FRAMES, MOST_BATCHES, VALUES_AT_ONCE = 1024, 8, 16, 4096
# Codes are encoded once more to be counted, which costs a part of an answer: of one sample in 256, or of one a 16
# batches where batches are small, and as many at once as are cheaper together.
CODES_OF, CODES_OF_BATCHES = 256, 16
CODES_AT_ONCE, MOST_GATHERED = 64, 1 << 18


def nothing() -> Int64:
    """A table without rows."""
    return np.zeros((0, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Counted:
    """Tables as of `marginals.Marginals.counts`; without rows where nothing is counted."""

    inputs: Int64 = field(default_factory=nothing)
    latents: Int64 = field(default_factory=nothing)

    def and_also(self, other: "Counted") -> "Counted":
        return Counted(_sum(self.inputs, other.inputs), _sum(self.latents, other.latents))


class DriftCounter:
    """Counts answered windows, on the thread that answers them. What is gathered and not yet counted goes with its
    model.

    Which of a batch is drawn: batches are laid out by stream, and every k-th window could be of one stream alone.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._model: ServedModel | None = None
        self._inputs, self._windows = _Gathered(), _Gathered()
        self._codes_owed = 0.0

    def counted(self, work: Work, answer: Answer) -> Counted:
        """What is to be counted of the windows that were answered; not those that failed or were answered before."""
        model, windows = work.model, work.windows
        bins = model.drift_bins
        if bins is None:
            return Counted()
        if model is not self._model:
            self._model, self._inputs, self._windows = model, _Gathered(), _Gathered()
        left_out = [*answer.failed, *work.rewound.tolist()]
        if left_out:
            windows = np.delete(windows, left_out, axis=0)
        inputs = self._count_inputs(model, bins, windows)
        # Where the model failed on some windows it is not asked about any once more.
        codes = answer.smooth and len(windows) > 0 and len(bins.latents) > 0
        return Counted(inputs, self._count_codes(model, bins, windows) if codes else nothing())

    def _count_inputs(self, model: ServedModel, bins: DriftBins, windows: Float32) -> Int64:
        most = MOST_FRAMES if model.frame else max(MOST_VALUES // windows.shape[1], 1)
        target = windows[:, :, windows.shape[2] - 1 - model.lookahead]
        # A copy in either case: a view would keep the whole batch in memory.
        few = target[self._drawn(len(target), most)] if len(target) > most else target.copy()
        self._inputs.add(inputs_of(few, model.frame))
        full = self._inputs.values >= VALUES_AT_ONCE or self._inputs.batches >= MOST_BATCHES
        return bins.inputs.counts(self._inputs.taken()) if full else nothing()

    def _count_codes(self, model: ServedModel, bins: DriftBins, windows: Float32) -> Int64:
        self._codes_owed += max(len(windows) / CODES_OF, 1 / CODES_OF_BATCHES)
        now = int(self._codes_owed)
        if now:
            self._codes_owed -= now
            self._windows.add(windows[self._drawn(len(windows), now)])
        full = self._windows.rows >= CODES_AT_ONCE or self._windows.values >= MOST_GATHERED
        return bins.latents.counts(model.latents(self._windows.taken())) if full else nothing()

    def _drawn(self, of: int, count: int) -> Int64:
        return self._random.integers(of, size=count)


class _Gathered:
    """Arrays (rows, ...) until they are taken together."""

    def __init__(self) -> None:
        self._parts: list[Float32] = []
        self.rows = self.values = 0

    @property
    def batches(self) -> int:
        return len(self._parts)

    def add(self, part: Float32) -> None:
        self._parts.append(part)
        self.rows += len(part)
        self.values += part.size

    def taken(self) -> Float32:
        found = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        self._parts, self.rows, self.values = [], 0, 0
        return found


def table_of(counts: Int64) -> Table:
    """As it is published."""
    return tuple(map(tuple, counts.tolist()))


def _sum(one: Int64, other: Int64) -> Int64:
    if not len(one):
        return other
    return one + other if len(other) else one
