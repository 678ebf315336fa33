"""What a worker publishes of inputs and codes: of samples that it answered, of the version in service."""

from dataclasses import replace

import numpy as np
import pytest

from stream_ae.marginals import DriftBins, Marginal, Marginals, inputs_of
from stream_ae.records import Float32, Inference, ModelIdentity
from stream_ae.settings import BatchSettings, DecodeSettings, Settings
from stream_ae.testing import ManualClock
from stream_ae.worker.counting import (
    BATCHES_AT_ONCE,
    CODES_AT_ONCE,
    CODES_OF,
    MOST_FRAMES,
    MOST_VALUES,
    Counted,
    DriftCounter,
)
from stream_ae.worker.inference import Answer, Inferrer
from stream_ae.worker.status import StatusBoard, Totals
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample, work_of

V1, V2 = (ModelIdentity("pump", version, version * 64) for version in "12")


def spread(name: str, *edges: float) -> Marginals:
    bins = len(edges) + 2
    return Marginals((Marginal(name, edges, (1 / bins,) * bins, 0.0),))


class Remembering(MeanModel):
    """Bins of the channel at 0 and 10, and of its code, which is the window's mean, at 5."""

    asked = 0

    @property
    def drift_bins(self) -> DriftBins | None:
        return DriftBins(spread("a", 0.0, 10.0), spread("0", 5.0))

    def latents(self, windows: Float32) -> Float32:
        self.asked += len(windows)
        means: Float32 = windows.mean(2)
        return means


def windows_of(count: int, value: float) -> Float32:
    return np.full((count, 1, 4), value, np.float32)


def counted_of(model: MeanModel, windows: Float32, counter: DriftCounter, failed: tuple[int, ...] = ()) -> Counted:
    answer = Inferrer().answer(model, windows)
    if failed:
        answer = Answer(answer.inference, dict.fromkeys(failed, "no"), smooth=False)
    return counter.counted(work_of(model, windows), answer)


def test_every_input_of_small_batches_is_counted_some_batches_at_once() -> None:
    counter, model = DriftCounter(), Remembering()
    for _ in range(BATCHES_AT_ONCE - 1):
        assert not len(counted_of(model, windows_of(3, 20.0), counter).inputs)
    assert counted_of(model, windows_of(3, -1.0), counter).inputs.tolist() == [[3, 0, 3 * (BATCHES_AT_ONCE - 1), 0]]


def test_of_many_windows_some_are_counted_whichever_stream_they_are_of() -> None:
    windows = windows_of(1024, 0.0)
    windows[::2] = 20.0
    counter, model = DriftCounter(), Remembering()
    counts = [counted_of(model, windows, counter).inputs for _ in range(BATCHES_AT_ONCE)][-1]
    below, at_0, at_20, missing = counts[0].tolist()
    assert (below, at_0 + at_20, missing) == (0, MOST_VALUES, 0)
    assert at_0 == pytest.approx(at_20, rel=0.2)


def test_windows_that_the_model_failed_on_are_not_counted_and_their_codes_not_asked_for() -> None:
    counter, model = DriftCounter(), Remembering()
    windows = windows_of(1000, 20.0)
    windows[:500] = -1.0
    found = [counted_of(model, windows, counter, failed=tuple(range(500))) for _ in range(BATCHES_AT_ONCE)]
    counts = np.sum([part.inputs for part in found if len(part.inputs)], axis=0)
    assert counts[0, [0, 1, 3]].tolist() == [0, 0, 0]
    assert counts[0, 2] > 0
    assert model.asked == 0


def test_codes_are_counted_of_some_samples_many_at_once() -> None:
    counter, model = DriftCounter(), Remembering()
    batches = 2 * BATCHES_AT_ONCE
    assert batches * 1024 // CODES_OF == 4 * CODES_AT_ONCE
    found = [
        counted_of(model, windows_of(1024, 1.0 + 8 * (k // BATCHES_AT_ONCE)), counter).latents for k in range(batches)
    ]
    below, above, missing = np.sum([part for part in found if len(part)], axis=0)[0].tolist()
    assert (below, above, missing) == (2 * CODES_AT_ONCE, 2 * CODES_AT_ONCE, 0)
    assert model.asked == 4 * CODES_AT_ONCE


def test_what_was_gathered_for_one_version_is_not_counted_for_the_next() -> None:
    counter = DriftCounter()
    for _ in range(BATCHES_AT_ONCE - 1):
        counted_of(Remembering("1"), windows_of(1, 20.0), counter)
    second = Remembering("2")
    found = [counted_of(second, windows_of(1, -1.0), counter).inputs for _ in range(BATCHES_AT_ONCE)]
    assert [part.tolist() for part in found if len(part)] == [[[BATCHES_AT_ONCE, 0, 0, 0]]]


def test_a_version_without_bins_is_not_counted() -> None:
    assert not len(counted_of(MeanModel(), windows_of(4096, 1.0), DriftCounter()).inputs)


class FailsToEncode(Remembering):
    """Answers everything, but has no room left to encode what holds a 5."""

    def latents(self, windows: Float32) -> Float32:
        if (windows == 5).any():
            raise RuntimeError("out of memory")
        return super().latents(windows)


def test_codes_that_cannot_be_had_are_left_out_and_inputs_are_counted_all_the_same() -> None:
    counter, model = DriftCounter(), FailsToEncode()
    found = []
    for value in (5.0, 1.0):
        batches = [counted_of(model, windows_of(1024, value), counter) for _ in range(BATCHES_AT_ONCE)]
        found.append(batches[-1])
    assert [int(one.inputs.sum()) for one in found] == [MOST_VALUES, MOST_VALUES]
    assert [one.latents.sum() for one in found] == [0, 2 * CODES_AT_ONCE]


class Frames(MeanModel):
    """Frames of 2 x 2 pixels, counted by mean and contrast."""

    frame = (1, 2, 2)  # type: ignore[assignment]

    @property
    def drift_bins(self) -> DriftBins | None:
        return DriftBins(Marginals((*spread("a mean", 0.5).each, *spread("a contrast", 0.5).each)), Marginals())

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        return replace(answer, x_hat=windows[..., 0])


def test_frames_are_counted_by_mean_and_contrast() -> None:
    counter, model = DriftCounter(), Frames(window=1)
    checks = np.tile(np.array([0, 2, 0, 2], np.float32)[:, None], (1, 1, 1))
    assert inputs_of(checks[..., 0], (1, 2, 2)).tolist() == [[1.0, 1.0]]
    found = [counted_of(model, checks, counter).inputs for _ in range(BATCHES_AT_ONCE)][-1]
    assert found.tolist() == [[0, MOST_FRAMES, 0], [0, MOST_FRAMES, 0]]


def test_a_new_version_begins_at_0_and_what_the_old_one_had_in_flight_is_not_its() -> None:
    board = StatusBoard("w", ManualClock())
    board.swapped(V1)
    counted = Counted(np.array([[1, 2, 3]]), np.array([[4, 5]]))
    for _ in range(2):
        board.answered(V1, Totals(), counted=counted)
    assert (board.snapshot().inputs, board.snapshot().latents) == (((2, 4, 6),), ((8, 10),))
    board.swapped(V2)
    board.answered(V1, Totals(), counted=counted)
    assert (board.snapshot().inputs, board.snapshot().latents) == ((), ())


def test_samples_that_are_read_again_to_rebuild_windows_are_not_counted_again() -> None:
    clock = ManualClock(moves_itself=True)
    settings = Settings(decode=DecodeSettings(max_clock_skew_s=1e6), batch=BatchSettings(max_records=10))
    broker = broker_with_topics(clock, settings.topics)
    for second in range(2000):
        broker.append("raw", sample(-1.0, second), partition=0)
    first = OneWorker(broker, clock, settings)
    first.join(Remembering())
    first.turn_until(lambda: first.committed() == 2000)
    first.source.close()
    assert sum(first.board.snapshot().inputs[0]) > 0
    second_worker = OneWorker(broker, clock, settings, "again")
    second_worker.join(Remembering())
    for second in range(2000, 4000):
        broker.append("raw", sample(20.0, second), partition=0)
    second_worker.turn_until(lambda: second_worker.committed() == 4000)
    below, within, above, missing = second_worker.board.snapshot().inputs[0]
    assert (below, within, missing) == (0, 0, 0)
    assert above > 0
    assert sum(second_worker.board.snapshot().scores) == 2000
