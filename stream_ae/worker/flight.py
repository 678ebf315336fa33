"""A batch between being taken up and leaving."""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from stream_ae.flow.pipeline import Work
from stream_ae.histogram import SCORE_BINS, Counts
from stream_ae.worker.counting import NOTHING, Counted
from stream_ae.worker.inference import Answer


@dataclass(frozen=True, slots=True)
class Counting:
    """An answer, and what was counted of the windows that it is of."""

    answer: Answer
    counted: Counted


@dataclass(frozen=True, slots=True)
class InFlight:
    """`answer` is None for a batch that the model need not be asked about."""

    work: Work
    answer: "Future[Counting] | None"

    def done(self) -> bool:
        return self.answer is None or self.answer.done()

    def scores(self) -> Counts:
        """How many scores of its answer are in each bin, without those of windows that failed or were answered before;
        it must be done.
        """
        if self.answer is None:
            return SCORE_BINS.nothing
        answer = self.answer.result().answer
        score, left_out = answer.inference.score, [*answer.failed, *self.work.rewound.tolist()]
        return SCORE_BINS.counts(np.delete(score, left_out) if left_out else score)

    def counted(self) -> Counted:
        """Of inputs and latent codes; it must be done."""
        return self.answer.result().counted if self.answer is not None else NOTHING
