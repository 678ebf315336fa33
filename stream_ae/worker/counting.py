"""What a worker counts of inputs and latent codes, for the monitor to tell drift by: some of them, at little cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_ae.flow.model import ServedModel
from stream_ae.flow.pipeline import Work
from stream_ae.marginals import DriftBins, Table, inputs_of
from stream_ae.records import Float32, Int64
from stream_ae.telemetry import Log
from stream_ae.worker.inference import Answer

log = Log("worker.counting")

# Batches are kept and looked at many at once: a look costs as much as answering ten samples, however few are counted.
BATCHES_AT_ONCE, VALUES_AT_ONCE = 128, 1 << 22
# Of those so many values of channels are counted, or so many frames.
MOST_VALUES, MOST_FRAMES = 2048, 8
# Codes are encoded once more to be counted, which costs a part of an answer: of one sample in 1024, where batches are
# small of one in 16 of them, and as many at once as are cheaper together. tests/benchmarks/test_counting_bench.py
# prints what it all costs.
CODES_OF, CODES_OF_BATCHES = 1024, 16
CODES_AT_ONCE, MOST_GATHERED = 64, 1 << 18


def nothing() -> Int64:
    """A table without rows."""
    return np.zeros((0, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Counted:
    """Tables as of `marginals.Marginals.counts`; without rows where nothing is counted."""

    inputs: Int64 = field(default_factory=nothing)
    latents: Int64 = field(default_factory=nothing)

    def __bool__(self) -> bool:
        return len(self.inputs) > 0 or len(self.latents) > 0

    def and_also(self, other: "Counted") -> "Counted":
        return Counted(_sum(self.inputs, other.inputs), _sum(self.latents, other.latents))


NOTHING = Counted()


class DriftCounter:
    """Counts answered windows, on the thread that answers them. What is kept and not yet counted goes with its model.

    Which of the windows is drawn: batches are laid out by stream, and every k-th could be of one stream alone.
    Answers never wait for a count, nor fail with one: what cannot be counted is left out.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._model: ServedModel | None = None
        self._batches, self._codes = _Gathered(), _Gathered()
        self._codes_owed = 0.0
        self._said_failed = False

    def counted(self, work: Work, answer: Answer) -> Counted:
        """What is to be counted now that a batch was answered; of no windows that failed or were answered before."""
        model, windows = work.model, work.windows
        if model is not self._model:
            self._model, self._batches, self._codes = model, _Gathered(), _Gathered()
            self._said_failed = False
        if answer.failed or len(work.rewound):
            windows = np.delete(windows, [*answer.failed, *work.rewound.tolist()], axis=0)
        self._batches.add(windows)
        if self._batches.count < BATCHES_AT_ONCE and self._batches.values < VALUES_AT_ONCE:
            return NOTHING
        bins, kept = model.drift_bins, self._batches.taken()
        if bins is None:
            return NOTHING
        # Where the model has just failed on something it is not asked again.
        codes = answer.smooth and len(bins.latents) > 0
        return Counted(
            self._tried(lambda: self._inputs(model, bins, kept)),
            self._tried(lambda: self._latents(model, bins, kept)) if codes else nothing(),
        )

    def _tried(self, count: Callable[[], Int64]) -> Int64:
        # Among what is kept are windows that were answered only after a sample was hidden, and encoding takes room of
        # the device's memory that answering had for itself.
        try:
            return count()
        except Exception as error:  # noqa: BLE001  a network raises whatever its library does
            if not self._said_failed:
                self._said_failed = True
                log.warning("not counted for drift", model=self._model and self._model.identity, reason=repr(error))
            return nothing()

    def _inputs(self, model: ServedModel, bins: DriftBins, batches: Sequence[Float32]) -> Int64:
        newest = batches[0].shape[2] - 1 - model.lookahead
        most = MOST_FRAMES if model.frame else max(MOST_VALUES // batches[0].shape[1], 1)
        return bins.inputs.counts(inputs_of(self._drawn([part[:, :, newest] for part in batches], most), model.frame))

    def _latents(self, model: ServedModel, bins: DriftBins, batches: Sequence[Float32]) -> Int64:
        self._codes_owed += max(sum(map(len, batches)) / CODES_OF, len(batches) / CODES_OF_BATCHES)
        now = int(self._codes_owed)
        self._codes_owed -= now
        if now:
            self._codes.add(self._drawn(batches, now))
        if self._codes.rows < CODES_AT_ONCE and self._codes.values < MOST_GATHERED:
            return nothing()
        return bins.latents.counts(model.latents(np.concatenate(self._codes.taken())))

    def _drawn(self, batches: Sequence[Float32], most: int) -> Float32:
        """At most so many of all their rows."""
        ends = np.cumsum([len(part) for part in batches])
        if ends[-1] <= most:
            return np.concatenate(batches)
        row = np.sort(self._random.integers(ends[-1], size=most))
        split = np.searchsorted(row, ends)
        begins = zip(batches, (0, *ends[:-1].tolist()), (0, *split[:-1].tolist()), split.tolist(), strict=True)
        return np.concatenate([part[row[low:high] - first] for part, first, low, high in begins if high > low])


class _Gathered:
    """Arrays (rows, ...) until they are taken together."""

    def __init__(self) -> None:
        self._parts: list[Float32] = []
        self.rows = self.values = 0

    @property
    def count(self) -> int:
        return len(self._parts)

    def add(self, part: Float32) -> None:
        self._parts.append(part)
        self.rows += len(part)
        self.values += part.size

    def taken(self) -> list[Float32]:
        found, self._parts, self.rows, self.values = self._parts, [], 0, 0
        return found


def table_of(counts: Int64) -> Table:
    """As it is published."""
    return tuple(map(tuple, counts.tolist()))


def _sum(one: Int64, other: Int64) -> Int64:
    if not len(one):
        return other
    return one + other if len(other) else one
