"""How many samples came before each one, and what early ones are held against."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.flow.age import Ages, held_against
from tests.flow.raw_log import MeanModel

SAMPLE = st.tuples(st.integers(0, 3), st.booleans())


@given(st.lists(st.lists(SAMPLE, max_size=12), max_size=6))
def test_a_sample_is_as_old_as_its_stream_whatever_the_batches(batches: list[list[tuple[int, bool]]]) -> None:
    ages, count = Ages(), dict.fromkeys(range(4), 0)
    ages.reserve(4)
    for batch in batches:
        expected = []
        for slot, fresh in batch:
            count[slot] = 0 if fresh else count[slot]
            expected.append(count[slot])
            count[slot] += 1
        slots, begins = np.array([s for s, _ in batch], np.int64), np.array([f for _, f in batch], np.bool_)
        assert ages.push(slots, begins).tolist() == expected


def test_until_its_window_lies_within_the_stream_a_sample_is_held_against_the_start_threshold() -> None:
    model, age = MeanModel(window=4, threshold=2.0, start_threshold=3.0), np.arange(5)
    assert held_against(model, 2.0, age).tolist() == [3.0, 3.0, 3.0, 2.0, 2.0]
    assert held_against(MeanModel(lookahead=2, start_threshold=3.0), 2.0, age).tolist() == [3.0, 2.0, 2.0, 2.0, 2.0]


def test_a_streams_own_higher_threshold_stays() -> None:
    assert held_against(MeanModel(start_threshold=3.0), np.array([2.5, 9.0]), np.zeros(2, np.int64)).tolist() == [3, 9]
