"""Events: opened by the first anomaly, closed by so many quiet samples in a row after it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.decide import Decider, flagged


def states(decider: Decider, slots: list[int], flags: str, fresh: tuple[int, ...] = ()) -> str:
    """Flags as `.`, `x` and `!` (the model failed); states as `.`, `o`pen, `x` (ongoing) and `c`lose."""
    starts = np.zeros(len(slots), np.bool_)
    starts[list(fresh)] = True
    wrong = np.array([flag == "x" for flag in flags], np.bool_)
    failed = np.array([flag == "!" for flag in flags], np.bool_)
    found = decider.states_without(failed, np.array(slots, np.int64), starts, wrong)
    return "".join(".oxc"[state] for state in found)


def decider(close_after: int = 1) -> Decider:
    new = Decider(close_after)
    new.reserve(4)
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


def test_an_event_goes_on_over_fewer_quiet_samples_than_close_it() -> None:
    assert states(decider(3), [0] * 12, ".x..x.x...x.") == ".o..x.x..co."


def test_quiet_samples_are_counted_from_batch_to_batch() -> None:
    one = decider(3)
    assert [states(one, [0] * len(part), part) for part in ("x.", ".x", "..", ".", "..x")] == [
        "o.",
        ".x",
        "..",
        "c",
        "..o",
    ]


def test_an_event_that_waits_for_its_end_does_not_reach_into_a_fresh_start_nor_another_stream() -> None:
    one = decider(3)
    assert states(one, [0, 0, 1, 0, 0], "x..x.", fresh=(3,)) == "o..o."
    assert states(one, [1, 1, 1, 1], "...x") == "...o"
    assert states(one, [0, 0, 1, 1, 1], "..x..", fresh=(0,)) == "..x.."


def test_a_sample_that_the_model_failed_on_does_not_bring_the_end_nearer() -> None:
    assert states(decider(2), [0] * 5, "x.!..") == "o..c."


def told(flags: list[bool], close_after: int) -> str:
    """The state of the last of these samples of one stream, by what the flags before it say."""
    recent = flags[max(len(flags) - 1 - close_after, 0) : -1]
    if flags[-1]:
        return "x" if any(recent) else "o"
    return "c" if len(recent) == close_after and recent[0] and not any(recent[1:]) else "."


@settings(max_examples=200, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([False] * 9 + [True])), max_size=40),
    cut=st.integers(0, 40),
    close_after=st.integers(1, 4),
)
def test_any_cut_gives_what_the_flags_of_so_many_samples_before_say(
    samples: list[tuple[int, bool, bool]], cut: int, close_after: int
) -> None:
    one, found = decider(close_after), ""
    for part in (samples[:cut], samples[cut:]):
        fresh = tuple(place for place, (_, _, restart) in enumerate(part) if restart)
        found += states(one, [slot for slot, _, _ in part], "".join(".x"[flag] for _, flag, _ in part), fresh)
    before: list[list[bool]] = [[] for _ in range(4)]
    for state, (slot, flag, restart) in zip(found, samples, strict=True):
        before[slot] = [flag] if restart else [*before[slot], flag]
        assert state == told(before[slot], close_after)
