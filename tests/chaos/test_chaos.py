"""Kill anything at any moment and the topics stay right: all faults with `make chaos`, two of them always."""

import os
from collections.abc import Callable

import pytest

from stream_ae.errors import StreamAEError
from tests.chaos.faults import FAULTS
from tests.chaos.reliability import Row, failed_row, row_of
from tests.chaos.rounds import Plan, Played, Theatre, play

# `make chaos CHAOS_RECORDS=images` plays all rounds with frames.
RECORDS = os.environ.get("CHAOS_RECORDS", "json")
DELIVERIES = ("at_least_once", "exactly_once")
# Cheap ones that need most of the machinery: a takeover with a rewind, and a handover. Crossed, they are in
# `tests/end_to_end`: `test_a_killed_worker_loses_nothing_...` and `test_what_a_killed_worker_left_uncommitted_...`.
ALWAYS = (("one of two workers killed", "exactly_once"), ("killed between flush and commit", "at_least_once"))

# The same with frames: a takeover, and a version swapped under load.
ALWAYS_IMAGES = (
    ("one of two workers killed", "at_least_once"),
    ("a version published while a worker is killed", "exactly_once"),
)

pytestmark = pytest.mark.usefixtures("stack")


@pytest.mark.parametrize(("fault", "delivery"), ALWAYS)
def test_a_short_round_leaves_the_topics_right(theatre: Theatre, fault: str, delivery: str) -> None:
    assert_right(play(theatre, Plan(fault, delivery, 0)))


@pytest.mark.parametrize(("fault", "delivery"), ALWAYS_IMAGES)
def test_a_short_round_with_frames_leaves_the_topics_right(theatre: Theatre, fault: str, delivery: str) -> None:
    assert_right(play(theatre, Plan(fault, delivery, 0, "images")))


@pytest.mark.chaos
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_after_every_fault_the_topics_are_right(
    theatre: Theatre, report: Callable[[Row], None], fault: str, delivery: str, round_number: int
) -> None:
    plan = Plan(fault, delivery, round_number, RECORDS)
    try:
        played = play(theatre, plan)
    except (AssertionError, StreamAEError) as error:
        report(failed_row(plan, error))
        raise
    report(row_of(played))
    assert_right(played)


def assert_right(played: Played) -> None:
    verdict = played.verdict
    assert (verdict.lost, list(verdict.wrong)) == (0, []), played
    if played.plan.delivery == "exactly_once":
        assert (verdict.doubled, verdict.doubled_flags) == (0, 0), played
