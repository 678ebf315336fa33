"""A batch between being taken up and leaving."""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from stream_ae.flow.pipeline import Work
from stream_ae.histogram import SCORE_BINS, Counts
from stream_ae.worker.inference import Answer


@dataclass(frozen=True, slots=True)
class InFlight:
    """`answer` is None for a batch that the model need not be asked about."""

    work: Work
    answer: "Future[Answer] | None"

    def done(self) -> bool:
        return self.answer is None or self.answer.done()

    def scores(self) -> Counts:
        """How many scores of its answer are in each bin, without those of windows that failed; it must be done."""
        if self.answer is None:
            return SCORE_BINS.nothing
        answer = self.answer.result()
        score = answer.inference.score
        return SCORE_BINS.counts(np.delete(score, list(answer.failed)) if answer.failed else score)
