"""A batch that makes the model fail: the culprit alone is found, and a broken model is not mistaken for one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.errors import ModelError, RestartError
from stream_ae.flow.window import windows_of
from stream_ae.records import Float32, Inference
from stream_ae.worker.inference import Answer, Inferrer
from tests.worker.fakes import CodingModel, MeanModel

POISON = 666.0


class Choking(MeanModel):
    """Raises on any batch that shows it the poison; counts how often it is asked."""

    asked = 0

    def infer(self, windows: Float32) -> Inference:
        self.asked += 1
        if (windows == POISON).any():
            raise ValueError("cannot\nswallow this")
        return super().infer(windows)


class Small(MeanModel):
    """Has room for so many windows at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def infer(self, windows: Float32) -> Inference:
        self.sizes.append(len(windows))
        if len(windows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().infer(windows)


class ChokingCoder(CodingModel):
    """Gives codes, but raises on any batch that shows it the poison."""

    def infer(self, windows: Float32) -> Inference:
        if (windows == POISON).any():
            raise ValueError("cannot swallow this")
        return super().infer(windows)


class Overflowing(MeanModel):
    """As `models.detector`: what is not finite is scored as infinite, but a batch without any finite answer raises."""

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        broken = (windows == POISON).any(axis=(1, 2))
        if broken.all():
            raise ModelError("the network answered no window of the batch with finite numbers")
        return replace(answer, score=np.where(broken, np.inf, answer.score))


def stream(*values: float) -> Float32:
    return windows_of(np.array(values, np.float32)[:, None], window=4)


def x_hats(answer: Answer) -> list[float]:
    return [float(x_hat) for x_hat in answer.inference.x_hat[:, 0]]


def test_a_batch_without_trouble_is_asked_about_once() -> None:
    model = Choking()
    answer = Inferrer().answer(model, stream(1, 2, 3))
    assert (answer.failed, answer.smooth, model.asked) == ({}, True, 1)


def test_the_culprit_alone_fails_and_its_neighbours_are_answered_as_without_it() -> None:
    model = Choking()
    windows = np.concatenate([stream(*[float(n)] * 5) for n in range(200)])
    windows[612, 0, -1] = POISON
    answer = Inferrer().answer(model, windows)
    assert answer.failed == {612: "model pump/1 fails on it: ValueError: cannot swallow this"}
    others = [place for place in range(1000) if place != 612]
    assert np.array_equal(answer.inference.x_hat[others], MeanModel().infer(windows[others]).x_hat)
    assert not answer.smooth
    # 1000 windows asked about one by one would be 1000 questions.
    assert model.asked < 50


def test_a_poisoned_sample_costs_itself_and_not_the_windows_that_it_is_in() -> None:
    answer = Inferrer().answer(Choking(), stream(1, 1, 1, POISON, 5, 5, 5, 5))
    assert list(answer.failed) == [3]
    # In the windows after it the sample is hidden, and missing counts as 0 for this model.
    assert x_hats(answer)[4:] == [7 / 4, 11 / 4, 15 / 4, 5.0]


def test_a_poisoned_first_sample_stands_in_for_those_before_it_and_is_hidden_there_too() -> None:
    answer = Inferrer().answer(Choking(), stream(POISON, 4, 4))
    assert list(answer.failed) == [0]
    assert x_hats(answer)[1:] == [1.0, 2.0]


def test_with_lookahead_the_target_is_what_fails() -> None:
    model = Choking()
    model.lookahead = 1
    windows = windows_of(np.array([[1.0], [1.0], [POISON], [1.0]], np.float32), window=4, lookahead=1)
    assert list(Inferrer().answer(model, windows).failed) == [2]


@given(st.lists(st.sampled_from([1.0, 2.0, POISON]), min_size=1, max_size=12), st.integers(1, 12))
def test_what_a_window_is_answered_with_does_not_depend_on_the_batch(values: list[float], cut: int) -> None:
    windows = stream(*values, 3.0)
    whole = Inferrer().answer(Choking(), windows)
    inferrer = Inferrer()
    parts = [inferrer.answer(Choking(), part) for part in (windows[:cut], windows[cut:]) if len(part)]
    assert [place for place, value in enumerate(values) if value == POISON] == list(whole.failed)
    assert x_hats(whole) == [x_hat for part in parts for x_hat in x_hats(part)]


def test_a_window_without_finite_answer_is_scored_alone_as_it_is_among_others() -> None:
    poisoned = stream(1, 1, 1, POISON)[3:]
    answer = Inferrer().answer(Overflowing(), poisoned)
    assert (answer.failed, answer.inference.score.tolist()) == ({}, [np.inf])


def test_a_model_that_fails_without_any_values_is_broken_at_once() -> None:
    class Broken(MeanModel):
        def infer(self, windows: Float32) -> Inference:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(ModelError, match=r"pump/1 fails even on a window without values.*shapes do not fit.*rollback"):
        Inferrer().answer(Broken(), stream(1.0))


class Picky(MeanModel):
    """Answers nothing but windows without values."""

    def infer(self, windows: Float32) -> Inference:
        if not np.isnan(windows).all():
            raise RuntimeError("no")
        return super().infer(windows)


def test_a_model_that_fails_on_every_window_of_two_batches_is_broken() -> None:
    inferrer, model = Inferrer(), Picky()
    assert list(inferrer.answer(model, stream(1, 2)).failed) == [0, 1]
    with pytest.raises(ModelError, match="every window of 2 batches in a row"):
        inferrer.answer(model, stream(3, 4))


def test_a_new_version_is_not_blamed_for_the_one_before_it() -> None:
    inferrer = Inferrer()
    inferrer.answer(Picky(), stream(1, 2))
    assert list(inferrer.answer(Picky("2"), stream(3, 4)).failed) == [0, 1]


def test_out_of_memory_halves_the_batch_and_the_size_that_works_is_remembered() -> None:
    inferrer, model = Inferrer(), Small(room=3)
    windows = stream(*map(float, range(10)))
    answer = inferrer.answer(model, windows)
    assert (answer.failed, answer.smooth) == ({}, True)
    assert x_hats(answer) == MeanModel().infer(windows).x_hat[:, 0].tolist()
    assert model.sizes == [10, 5, 2, 2, 2, 2, 2]
    inferrer.answer(model, windows[:5])
    assert model.sizes[7:] == [2, 2, 1]


def test_a_device_without_room_for_one_window_ends_the_worker_and_costs_no_record() -> None:
    with pytest.raises(ModelError, match=r"not even one window of model pump/1.*worker\.device"):
        Inferrer().answer(Small(room=0), stream(1, 2, 3))


def test_a_lost_device_ends_the_worker_and_costs_no_record() -> None:
    class Lost(Choking):
        def infer(self, windows: Float32) -> Inference:
            self.asked += 1
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model = Lost()
    with pytest.raises(RestartError, match="the device failed under model pump/1.*start the worker again"):
        Inferrer().answer(model, stream(1.0, 2.0))
    assert model.asked == 1


def test_codes_are_found_beside_the_culprit_and_in_parts() -> None:
    windows = stream(1.0, 2.0, POISON, 4.0)
    answer = Inferrer().answer(ChokingCoder(), windows)
    assert list(answer.failed) == [2]
    assert answer.inference.code is not None
    np.testing.assert_array_equal(answer.inference.code[[0, 1]], CodingModel().infer(windows[:2]).code)

    class SmallCoder(CodingModel):
        def infer(self, windows: Float32) -> Inference:
            if len(windows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().infer(windows)

    windows = stream(*map(float, range(5)))
    parts = Inferrer().answer(SmallCoder(), windows)
    np.testing.assert_array_equal(parts.inference.code, CodingModel().infer(windows).code)
