"""Events: opened by the first anomaly, closed by the first normal sample after it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.decide import Decider, State, flagged


def states(decider: Decider, slots: list[int], flags: str, fresh: tuple[int, ...] = ()) -> str:
    """Flags as `.`, `x` and `!` (the model failed); states as `.`, `o`pen, `x` (ongoing) and `c`lose."""
    starts = np.zeros(len(slots), np.bool_)
    starts[list(fresh)] = True
    wrong = np.array([flag == "x" for flag in flags], np.bool_)
    failed = np.array([flag == "!" for flag in flags], np.bool_)
    found = decider.states_without(failed, np.array(slots, np.int64), starts, wrong)
    return "".join(".oxc"[state] for state in found)


def decider(capacity: int = 4) -> Decider:
    new = Decider()
    new.reserve(capacity)
    return new


def test_a_score_that_is_not_finite_is_an_anomaly() -> None:
    score = np.array([0.0, 1.0, 1.1, np.nan, np.inf, -np.inf])
    assert flagged(score, 1.0).tolist() == [False, False, True, True, True, True]


def test_an_event_opens_goes_on_and_closes() -> None:
    assert states(decider(), [0] * 7, ".xxx..x") == ".oxxc.o"


def test_an_event_goes_on_from_batch_to_batch() -> None:
    one = decider()
    assert states(one, [0, 0], ".x") == ".o"
    assert states(one, [0], "x") == "x"
    assert states(one, [0], ".") == "c"
    assert states(one, [0], ".") == "."


def test_streams_have_their_own_events() -> None:
    assert states(decider(), [0, 1, 0, 1, 0], "xx.x.") == "oocx."


def test_a_fresh_stream_knows_of_no_event_before_it() -> None:
    one = decider()
    assert states(one, [0], "x") == "o"
    assert states(one, [0, 0], "..", fresh=(0,)) == ".."
    assert states(one, [0], "x", fresh=(0,)) == "o"


def test_a_sample_that_the_model_failed_on_neither_ends_an_event_nor_opens_one() -> None:
    one = decider()
    assert states(one, [0] * 5, ".x!!x") == ".o..x"
    assert states(one, [0], "!") == "."
    assert states(one, [0, 1], ".!") == "c."


def test_a_fresh_stream_knows_of_no_event_before_it_though_the_model_failed_on_its_first_sample() -> None:
    one = decider()
    assert states(one, [0, 0, 1, 0], "x!xx", fresh=(1,)) == "o.oo"
    assert states(one, [0], "!", fresh=(0,)) == "."
    assert states(one, [0, 1], "..") == ".c"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30), st.integers(0, 30))
def test_any_cut_gives_the_states_of_one_sample_after_another(samples: list[tuple[int, bool]], cut: int) -> None:
    one, before = decider(), [False] * 4
    found = ""
    for part in (samples[:cut], samples[cut:]):
        found += states(one, [slot for slot, _ in part], "".join(".x"[flag] for _, flag in part))
    for state, (slot, flag) in zip(found, samples, strict=True):
        assert (
            ".oxc".index(state)
            == {
                (False, False): State.NORMAL,
                (False, True): State.OPEN,
                (True, True): State.ONGOING,
                (True, False): State.CLOSE,
            }[before[slot], flag]
        )
        before[slot] = flag
