"""Kill anything at any moment and the topics stay right: all faults with `make chaos`, two of them always."""

from collections.abc import Callable
from typing import get_args

import pytest

from stream_ae.settings import Settings
from tests.chaos.faults import FAULTS
from tests.chaos.rounds import Plan, Played, Theatre, play

DELIVERIES = ("at_least_once", "exactly_once")
# Cheap ones that need most of the machinery: a takeover with a rewind, and a handover. Crossed, they are in
# `tests/end_to_end`: `test_a_killed_worker_loses_nothing_...` and `test_what_a_killed_worker_left_uncommitted_...`.
ALWAYS = (("one of two workers killed", "exactly_once"), ("killed between flush and commit", "at_least_once"))

pytestmark = pytest.mark.usefixtures("stack")


@pytest.mark.parametrize(("fault", "delivery"), ALWAYS)
def test_a_short_round_leaves_the_topics_right(theatre: Theatre, fault: str, delivery: str) -> None:
    _need(delivery)
    assert_right(play(theatre, Plan(fault, delivery, 0)))


@pytest.mark.chaos
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_after_every_fault_the_topics_are_right(
    theatre: Theatre, report: Callable[[Played], None], fault: str, delivery: str, round_number: int
) -> None:
    _need(delivery)
    played = play(theatre, Plan(fault, delivery, round_number))
    report(played)
    assert_right(played)


def assert_right(played: Played) -> None:
    verdict = played.verdict
    assert (verdict.lost, list(verdict.wrong)) == (0, []), played
    if played.plan.delivery == "exactly_once":
        assert (verdict.doubled, verdict.doubled_flags) == (0, 0), played


def _need(delivery: str) -> None:
    if delivery not in get_args(Settings.model_fields["delivery"].annotation):
        pytest.skip(f"delivery {delivery} is not among the settings yet")
