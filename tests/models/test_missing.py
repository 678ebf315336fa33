import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.models.missing import filled

NAN = float("nan")


def _filled(row: list[float]) -> list[float]:
    x = torch.tensor([[row]])
    result: list[float] = filled(x, ~torch.isnan(x), torch.tensor([[-1.0]]))[0, 0].tolist()
    return result


def test_a_gap_takes_the_value_before_it() -> None:
    assert _filled([1.0, NAN, NAN, 2.0, NAN]) == [1.0, 1.0, 1.0, 2.0, 2.0]


def test_a_gap_at_the_beginning_takes_the_first_value() -> None:
    assert _filled([NAN, NAN, 3.0, NAN]) == [3.0, 3.0, 3.0, 3.0]


def test_a_channel_without_any_value_takes_the_stand_in() -> None:
    assert _filled([NAN, NAN]) == [-1.0, -1.0]


@given(st.lists(st.one_of(st.just(NAN), st.floats(-10, 10, width=32)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_observed_values_stay_and_nothing_is_missing_afterwards(row: list[float]) -> None:
    after = _filled(row)
    assert all(new == old for new, old in zip(after, row, strict=True) if old == old)
    assert all(value == value for value in after)
