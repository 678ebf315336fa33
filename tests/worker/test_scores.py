"""What a worker publishes of its scores: each sample once, since the version came into service."""

from dataclasses import replace

import pytest

from stream_ae.histogram import SCORE_BINS
from stream_ae.records import Float32, Inference
from stream_ae.settings import Settings
from stream_ae.testing import ManualClock
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample


class Choking(MeanModel):
    """Cannot answer windows whose newest sample is 666."""

    def infer(self, windows: Float32) -> Inference:
        if (windows == 666).any():
            raise ValueError("cannot swallow this")
        return super().infer(windows)


class Unfinished(MeanModel):
    """Scores nothing finitely."""

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        return replace(answer, score=answer.score + float("inf"))


@pytest.fixture
def one() -> OneWorker:
    clock = ManualClock(moves_itself=True)
    return OneWorker(broker_with_topics(clock, Settings().topics), clock, Settings())


def send(one: OneWorker, *values: float, first: int = 0) -> None:
    for second, value in enumerate(values, first):
        one.broker.append("raw", sample(value, second), partition=0)


def test_every_sample_that_was_scored_is_counted_and_a_new_version_begins_at_0(one: OneWorker) -> None:
    send(one, 0.0, 1.0, 2.0, 3.0)
    one.join()
    one.turn_until(lambda: one.committed() == 4)
    # Distances to the mean of the last four: 0, 0.75, 1.25, 1.5.
    assert one.board.snapshot().scores == SCORE_BINS.counts([0.0, 0.75, 1.25, 1.5])
    assert sum(one.board.snapshot().latencies) > 0
    one.use(MeanModel("2"))
    send(one, 3.0, first=4)
    one.turn_until(lambda: one.committed() == 5)
    assert sum(one.board.snapshot().scores) == 1


def test_a_sample_that_the_model_cannot_answer_has_no_score(one: OneWorker) -> None:
    send(one, 0.0, 0.0, 666.0, 0.0)
    one.join(Choking())
    one.turn_until(lambda: one.committed() == 4)
    assert one.board.snapshot().scores == SCORE_BINS.counts([0.0, 0.0, 0.0])


def test_scores_that_are_not_finite_are_among_the_highest(one: OneWorker) -> None:
    send(one, 0.0, 1.0)
    one.join(Unfinished())
    one.turn_until(lambda: one.committed() == 2)
    assert one.board.snapshot().scores == (0,) * 9 + (2,)
