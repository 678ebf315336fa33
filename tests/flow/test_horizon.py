"""How far back the log is needed: T samples of each stream, and never before it began."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.horizon import Horizon


def horizon(depth: int, capacity: int = 3) -> Horizon:
    new = Horizon(depth)
    new.reserve(capacity)
    return new


def push(one: Horizon, slots: list[int], fresh: list[bool], offsets: list[int]) -> None:
    offset = np.array(offsets, np.int64)
    one.push(np.array(slots, np.int64), np.array(fresh, np.bool_), offset, offset * 10)


def oldest(one: Horizon, slot: int) -> tuple[int, int]:
    slots = np.array([slot])
    return int(one.offset(slots)[0]), int(one.at_ms(slots)[0])


def test_a_stream_needs_as_many_samples_as_a_window_holds() -> None:
    one = horizon(3)
    push(one, [0, 0], [True, False], [5, 6])
    assert oldest(one, 0) == (5, 50)
    push(one, [0, 0], [False, False], [7, 8])
    assert oldest(one, 0) == (6, 60)


def test_a_fresh_start_forgets_what_was_before() -> None:
    one = horizon(3)
    push(one, [0, 0, 0], [True, False, True], [5, 6, 7])
    assert oldest(one, 0) == (7, 70)


def test_a_longer_window_can_only_ask_for_what_is_held() -> None:
    one = horizon(2)
    push(one, [0, 0, 0], [True, False, False], [5, 6, 7])
    longer = one.adapt(4)
    assert oldest(longer, 0) == (6, 60)
    push(longer, [0, 0, 0], [False] * 3, [8, 9, 10])
    assert oldest(longer, 0) == (7, 70)
    assert oldest(longer.adapt(1), 0) == (10, 100)


@settings(max_examples=80, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30),
    cut=st.integers(0, 30),
    depth=st.integers(1, 5),
)
def test_any_cut_remembers_what_a_list_would(samples: list[tuple[int, bool]], cut: int, depth: int) -> None:
    one = horizon(depth)
    held: dict[int, list[int]] = {}
    fresh = []
    for offset, (slot, restart) in enumerate(samples):
        fresh.append(restart or slot not in held)
        held[slot] = [offset] if fresh[-1] else [*held[slot], offset]
    for begin, end in ((0, cut), (cut, len(samples))):
        part = samples[begin:end]
        push(one, [slot for slot, _ in part], fresh[begin:end], list(range(begin, begin + len(part))))
    for slot, offsets in held.items():
        assert oldest(one, slot)[0] == offsets[-depth:][0]
