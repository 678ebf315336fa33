from collections.abc import Mapping, Sequence

import pytest

from stream_ae.errors import TransientError
from stream_ae.kafka.assignment import Assignment
from stream_ae.records import Partition, Position
from tests.contracts.worlds import Listener

P0, P1 = Partition("raw", 0), Partition("raw", 1)


def nothing_committed(partitions: Sequence[Partition]) -> Mapping[Partition, Position | None]:
    return dict.fromkeys(partitions)


def test_starts_are_the_committed_offsets_unless_the_listener_says_otherwise() -> None:
    assignment = Assignment(Listener(starts={P1: 3}))
    assert assignment.assign([P0, P1], lambda: {P0: Position(7), P1: Position(9)}) == {P0: 7, P1: 3}


def test_a_partition_without_a_committed_offset_has_no_start() -> None:
    assert Assignment(Listener()).assign([P0], lambda: nothing_committed([P0])) == {}


def test_without_the_committed_offsets_the_owner_is_told_nothing_and_the_group_is_joined_anew() -> None:
    def away() -> Mapping[Partition, Position | None]:
        raise TransientError("no coordinator")

    listener = Listener()
    assignment = Assignment(listener)
    assert assignment.assign([P0], away) == {}
    assert assignment.must_rejoin
    assert not listener.assigned
    assignment.revoke([P0])
    assert not listener.revoked
    with pytest.raises(TransientError, match="no coordinator"):
        assignment.raise_pending()


def test_an_empty_assignment_asks_nobody() -> None:
    def unexpected() -> Mapping[Partition, Position | None]:
        raise AssertionError("asked for the committed offsets of no partitions")

    assert Assignment(Listener()).assign([], unexpected) == {}


def test_while_a_partition_is_being_revoked_it_takes_commits_and_not_after() -> None:
    def commit(partitions: Sequence[Partition]) -> None:
        assignment.check_owned(partitions)

    assignment = Assignment(Listener(when_revoked=commit))
    assignment.assign([P0, P1], lambda: nothing_committed([P0, P1]))
    assignment.revoke([P0])
    assignment.raise_pending()
    assignment.check_owned([P1])
    with pytest.raises(TransientError, match="raw partition 0"):
        assignment.check_owned([P0, P1])


def test_the_first_error_of_the_listener_is_raised_once() -> None:
    def fail(partitions: Sequence[Partition]) -> None:
        raise TransientError(f"flush failed for {partitions[0].number}")

    assignment = Assignment(Listener(when_revoked=fail))
    assignment.assign([P0, P1], lambda: nothing_committed([P0, P1]))
    assignment.revoke([P0])
    assignment.revoke([P1])
    with pytest.raises(TransientError, match="flush failed for 0"):
        assignment.raise_pending()
    assignment.raise_pending()


def test_lost_partitions_are_told_as_lost() -> None:
    listener = Listener()
    assignment = Assignment(listener)
    assignment.assign([P0], lambda: nothing_committed([P0]))
    assignment.lose([P0, P1])
    assert listener.lost == [P0]
    assert not assignment.owned
