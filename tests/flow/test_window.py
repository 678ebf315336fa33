"""The window rule: online, in any interleaving and any chunks, it gives what it gives on one array."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import InvariantError
from stream_ae.flow.window import Windows, windows_of
from stream_ae.records import Float32, Int64


class Online:
    """Pushes one shuffled sequence of samples through `Windows` and keeps each sample's window by its number."""

    def __init__(self, capacity: int, window: int, lookahead: int, channels: int = 2) -> None:
        self.windows = Windows(channels, window, lookahead)
        self.windows.reserve(capacity)
        self.answers: dict[int, Float32] = {}
        self.known: set[int] = set()

    def push(self, slots: list[int], values: Float32, first_number: int, restart: frozenset[int] = frozenset()) -> None:
        numbers = range(first_number, first_number + len(slots))
        fresh = []
        for number, slot in zip(numbers, slots, strict=True):
            fresh.append(slot not in self.known or number in restart)
            self.known.add(slot)
        ready = self.windows.push(np.array(slots, np.int64), np.array(fresh, np.bool_), values, np.array(numbers))
        self.keep(ready.tokens, ready.windows)

    def flush(self, slots: list[int]) -> None:
        ready = self.windows.flush(np.array(slots, np.int64))
        self.keep(ready.tokens, ready.windows)

    def keep(self, tokens: Int64, windows: Float32) -> None:
        for token, window in zip(tokens.tolist(), windows, strict=True):
            assert token not in self.answers, "a sample was answered twice"
            self.answers[token] = window.copy()


def readings(count: int, channels: int = 2) -> Float32:
    return np.arange(count * channels, dtype=np.float32).reshape(count, channels) + 1


def test_first_samples_see_a_window_padded_with_the_first_sample() -> None:
    x = np.array([[1.0], [2.0], [3.0]], np.float32)
    assert windows_of(x, window=3)[:, 0].tolist() == [[1, 1, 1], [1, 1, 2], [1, 2, 3]]


def test_last_samples_see_a_window_padded_with_the_newest_sample_where_there_is_lookahead() -> None:
    x = np.array([[1.0], [2.0], [3.0]], np.float32)
    assert windows_of(x, window=3, lookahead=1)[:, 0].tolist() == [[1, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_an_empty_array_has_no_windows() -> None:
    assert windows_of(np.empty((0, 4), np.float32), window=5).shape == (0, 4, 5)


def test_missing_values_stay_missing_in_every_window_that_holds_them() -> None:
    x = np.array([[1.0], [np.nan], [3.0]], np.float32)
    assert np.isnan(windows_of(x, window=2)[:, 0]).tolist() == [[False, False], [False, True], [True, False]]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), window=st.integers(1, 6), streams=st.integers(1, 4))
def test_any_interleaving_in_any_chunks_gives_the_windows_of_the_whole_array(
    data: st.DataObject, window: int, streams: int
) -> None:
    lookahead = data.draw(st.integers(0, window - 1))
    slots = data.draw(st.lists(st.integers(0, streams - 1), max_size=40))
    cuts = data.draw(st.lists(st.integers(0, len(slots)), max_size=5))
    values = readings(len(slots))
    online = Online(streams, window, lookahead)
    edges = [0, *sorted(cuts), len(slots)]
    for begin, end in pairwise(edges):
        online.push(slots[begin:end], values[begin:end], begin)
    online.flush(list(range(streams)))
    for slot in range(streams):
        numbers = [number for number, its_slot in enumerate(slots) if its_slot == slot]
        expected = windows_of(values[numbers], window, lookahead)
        for number, one in zip(numbers, expected, strict=True):
            np.testing.assert_array_equal(online.answers[number], one)
    assert len(online.answers) == len(slots)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), window=st.integers(2, 5))
def test_a_restarted_stream_is_two_streams(data: st.DataObject, window: int) -> None:
    lookahead = data.draw(st.integers(0, window - 1))
    count = data.draw(st.integers(2, 20))
    restart = frozenset(data.draw(st.sets(st.integers(1, count - 1))))
    values = readings(count)
    online = Online(1, window, lookahead)
    online.push([0] * count, values, 0, restart)
    online.flush([0])
    edges = [0, *sorted(restart), count]
    for begin, end in pairwise(edges):
        for number, one in zip(range(begin, end), windows_of(values[begin:end], window, lookahead), strict=True):
            np.testing.assert_array_equal(online.answers[number], one)


def test_lookahead_holds_a_sample_back_until_enough_newer_ones_came() -> None:
    online = Online(1, window=3, lookahead=2, channels=1)
    online.push([0, 0], readings(2, 1), 0)
    assert online.answers == {}
    online.push([0], readings(1, 1) + 2, 2)
    assert {number: window.tolist() for number, window in online.answers.items()} == {0: [[1, 2, 3]]}


def test_after_a_flush_only_newer_samples_are_answered() -> None:
    online = Online(1, window=3, lookahead=1, channels=1)
    online.push([0], readings(1, 1), 0)
    online.flush([0])
    assert online.answers[0].tolist() == [[1, 1, 1]]
    online.push([0, 0], readings(2, 1) + 1, 1)
    assert online.answers[1].tolist() == [[1, 2, 3]]
    assert 2 not in online.answers


def test_a_longer_window_keeps_what_there_is() -> None:
    short = Windows(1, 2, 0)
    short.reserve(1)
    slot, later = np.zeros(3, np.int64), np.zeros(1, np.int64)
    short.push(slot, np.array([True, False, False]), readings(3, 1), slot)
    longer = short.adapt(4, 0)
    ready = longer.push(later, np.array([False]), readings(1, 1) + 3, later)
    assert ready.windows.tolist() == [[[2, 2, 3, 4]]]
    assert longer.adapt(2, 0).push(later, np.array([False]), readings(1, 1) + 4, later).windows.tolist() == [[[4, 5]]]


def test_another_lookahead_is_refused_while_samples_are_pending() -> None:
    online = Online(1, window=3, lookahead=2)
    online.push([0], readings(1), 0)
    with pytest.raises(InvariantError, match="flush them first"):
        online.windows.adapt(3, 1)


def test_pushing_nothing_gives_nothing() -> None:
    online = Online(1, window=3, lookahead=1)
    online.push([], np.empty((0, 2), np.float32), 0)
    online.flush([])
    assert online.answers == {}
