"""The contract of RecordSource, on the broker in memory and on both clients against a real one."""

from collections.abc import Sequence

import pytest

from stream_ae.errors import TransientError
from stream_ae.records import Partition, Position
from tests.contracts.worlds import Listener, Member, World, outgoing, poll_until, write


def numbered(count: int, first: int = 0) -> list[bytes | None]:
    return [b"%d" % i for i in range(first, first + count)]


def joined_member(world: World, topic: str, group: str, listener: Listener, partitions: int = 1) -> Member:
    """A member that owns `partitions` partitions."""
    member = Member(world.source(group), topic, listener)
    poll_until([member], lambda: len(listener.owned) == partitions)
    return member


def test_everything_of_a_record_comes_back_as_it_was_produced(world: World) -> None:
    topic = world.topic()
    values = [b"1", None, b"", b"\xff\x00"]
    keys = [b"k", b"tombstone", None, b""]
    headers = [[("a", b"1"), ("a", b"2")], [], [("empty", b"")], ()]
    write(world, outgoing(topic, values, keys, timestamp_ms=[1_700_000_000_000 + i for i in range(4)], headers=headers))
    member = Member(world.source(world.unique("group")), topic, Listener())
    records = member.take(4)
    assert records.topic == topic
    assert list(records.values) == values
    assert list(records.keys) == keys
    assert [list(h) for h in records.headers] == [list(h) for h in headers]
    assert records.timestamp_ms.tolist() == [1_700_000_000_000 + i for i in range(4)]
    assert records.offset.tolist() == [0, 1, 2, 3]
    assert records.partition.tolist() == [0, 0, 0, 0]


def test_a_record_with_neither_key_nor_value_passes(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, [None, b"after"]))
    member = Member(world.source(world.unique("group")), topic, Listener())
    assert list(member.take(2).values) == [None, b"after"]


def test_records_come_in_offset_order_within_each_partition(world: World) -> None:
    topic = world.topic(partitions=3)
    write(world, outgoing(topic, numbered(300), partition=[i % 3 for i in range(300)]))
    member = Member(world.source(world.unique("group")), topic, Listener())
    records = member.take(300)
    for number in range(3):
        mine = records.partition == number
        assert records.offset[mine].tolist() == list(range(100))
        assert [v for v, m in zip(records.values, mine, strict=True) if m] == [b"%d" % i for i in range(number, 300, 3)]


def test_a_poll_brings_no_more_than_asked_and_an_empty_one_is_empty(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, numbered(10)))
    member = Member(world.source(world.unique("group")), topic, Listener())
    seen: list[bytes | None] = []
    while len(seen) < 10:
        batch = member.source.poll(3, 0.05)
        assert len(batch) <= 3
        seen += list(batch.values)
    assert len(member.source.poll(3, 0.05)) == 0
    assert seen == numbered(10)


def test_a_new_group_begins_with_the_oldest_record(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, numbered(2)))
    listener = Listener()
    member = joined_member(world, topic, world.unique("group"), listener)
    assert listener.assigned == {Partition(topic, 0): None}
    assert member.take(2).offset.tolist() == [0, 1]


def test_a_new_group_that_starts_at_the_latest_sees_only_what_comes_then(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, numbered(5)))
    listener = Listener()
    member = Member(world.source(world.unique("group"), start="latest"), topic, listener)
    poll_until([member], lambda: len(listener.owned) == 1)
    # Assigned is not yet looked up: the end is asked for while polling.
    for _ in range(20):
        member.poll()
    assert member.count() == 0
    write(world, outgoing(topic, [b"new"]))
    assert list(member.take(1).values) == [b"new"]


def test_the_next_owner_gets_the_committed_offset_with_its_metadata(world: World) -> None:
    topic, group = world.topic(partitions=2), world.unique("group")
    write(world, outgoing(topic, numbered(10)))
    first = joined_member(world, topic, group, Listener(), partitions=2)
    first.take(10)
    first.source.commit({Partition(topic, 0): Position(7, '{"rewind": 3}')})
    first.source.close()
    listener = Listener()
    second = joined_member(world, topic, group, listener, partitions=2)
    assert listener.assigned == {Partition(topic, 0): Position(7, '{"rewind": 3}'), Partition(topic, 1): None}
    assert second.take(3).offset.tolist() == [7, 8, 9]


def test_nothing_is_committed_by_itself(world: World) -> None:
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    first = joined_member(world, topic, group, Listener())
    first.take(3)
    first.source.close()
    listener = Listener()
    second = joined_member(world, topic, group, listener)
    assert listener.assigned == {Partition(topic, 0): None}
    assert len(second.take(3)) == 3


def test_reading_resumes_where_the_listener_says(world: World) -> None:
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(10)))
    first = joined_member(world, topic, group, Listener())
    first.source.commit({Partition(topic, 0): Position(8)})
    first.source.close()
    second = joined_member(world, topic, group, Listener(starts={Partition(topic, 0): 5}))
    assert second.take(5).offset.tolist() == [5, 6, 7, 8, 9]


def test_an_offset_that_is_not_in_the_log_becomes_the_oldest(world: World) -> None:
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    member = joined_member(world, topic, group, Listener(starts={Partition(topic, 0): 1000}))
    assert member.take(3).offset.tolist() == [0, 1, 2]


def test_two_members_share_the_partitions_and_every_record_comes_once(world: World) -> None:
    topic, group = world.topic(partitions=4), world.unique("group")
    one, other = Listener(), Listener()
    members = [joined_member(world, topic, group, one, partitions=4), Member(world.source(group), topic, other)]
    poll_until(members, lambda: len(one.owned) == 2 and len(other.owned) == 2)
    assert one.owned.isdisjoint(other.owned)
    write(world, outgoing(topic, numbered(40), partition=[i % 4 for i in range(40)]))
    poll_until(members, lambda: sum(member.count() for member in members) >= 40)
    values = [value for member in members for batch in member.kept for value in batch.values]
    assert sorted(values, key=lambda v: int(v or b"")) == numbered(40)


def test_a_rebalance_takes_only_the_partitions_that_move(world: World) -> None:
    topic, group = world.topic(partitions=4), world.unique("group")
    one, other = Listener(), Listener()
    members = [joined_member(world, topic, group, one, partitions=4), Member(world.source(group), topic, other)]
    poll_until(members, lambda: len(one.owned) == 2 and len(other.owned) == 2)
    assert len(one.revoked) == 2
    assert not one.lost


def test_a_revoke_can_still_commit_and_the_new_owner_sees_it(world: World) -> None:
    topic, group = world.topic(partitions=2), world.unique("group")
    write(world, outgoing(topic, numbered(20), partition=[i % 2 for i in range(20)]))

    def commit(partitions: Sequence[Partition]) -> None:
        leaving.when_revoked = None
        one.source.commit({partition: Position(6, "from revoke") for partition in partitions})

    leaving, joining = Listener(when_revoked=commit), Listener()
    one = joined_member(world, topic, group, leaving, partitions=2)
    one.take(20)
    two = Member(world.source(group), topic, joining)
    poll_until([one, two], lambda: bool(joining.owned))
    moved = next(iter(joining.owned))
    assert joining.assigned[moved] == Position(6, "from revoke")


def test_close_lets_the_listener_commit_and_leaves_the_group(world: World) -> None:
    topic, group = world.topic(partitions=2), world.unique("group")
    write(world, outgoing(topic, numbered(4)))

    def commit(partitions: Sequence[Partition]) -> None:
        one.source.commit({partition: Position(2) for partition in partitions})

    leaving, staying = Listener(when_revoked=commit), Listener()
    one = joined_member(world, topic, group, leaving, partitions=2)
    one.source.close()
    assert sorted(leaving.revoked) == [Partition(topic, 0), Partition(topic, 1)]
    joined_member(world, topic, group, staying, partitions=2)
    assert staying.assigned[Partition(topic, 0)] == Position(2)


def test_a_commit_for_a_partition_that_was_taken_is_refused(world: World) -> None:
    topic, group = world.topic(partitions=2), world.unique("group")
    leaving, joining = Listener(), Listener()
    one = joined_member(world, topic, group, leaving, partitions=2)
    two = Member(world.source(group), topic, joining)
    poll_until([one, two], lambda: bool(joining.owned))
    moved = next(iter(joining.owned))
    with pytest.raises(TransientError, match="not committed"):
        one.source.commit({moved: Position(4)})
    two.source.commit({moved: Position(1)})


def test_an_error_in_the_listener_reaches_the_poller_and_no_record_is_lost(world: World) -> None:
    topic, group = world.topic(partitions=2), world.unique("group")

    def fail_once(_partitions: Sequence[Partition]) -> None:
        leaving.when_revoked = None
        raise TransientError("could not flush")

    leaving, joining = Listener(when_revoked=fail_once), Listener()
    one = joined_member(world, topic, group, leaving, partitions=2)
    two = Member(world.source(group), topic, joining)
    with pytest.raises(TransientError, match="could not flush"):
        poll_until([one, two], lambda: bool(joining.owned))
    poll_until([one, two], lambda: bool(joining.owned))
    write(world, outgoing(topic, numbered(20), partition=[i % 2 for i in range(20)]))
    poll_until([one, two], lambda: one.count() + two.count() >= 20)
    assert one.count() + two.count() == 20


def test_paused_partitions_bring_nothing_and_resumed_ones_miss_nothing(world: World) -> None:
    topic = world.topic(partitions=2)
    member = joined_member(world, topic, world.unique("group"), Listener(), partitions=2)
    write(world, outgoing(topic, numbered(6), partition=[i % 2 for i in range(6)]))
    member.take(6)
    member.source.pause([Partition(topic, 0)])
    write(world, outgoing(topic, numbered(6, first=6), partition=[i % 2 for i in range(6)]))
    assert set(member.take(3).partition.tolist()) == {1}
    member.poll()
    assert member.count() == 0
    member.source.resume([Partition(topic, 0)])
    records = member.take(3)
    assert records.partition.tolist() == [0, 0, 0]
    assert records.offset.tolist() == [3, 4, 5]


def test_lag_counts_what_is_not_read_yet(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, numbered(10)))
    member = joined_member(world, topic, world.unique("group"), Listener())
    read = member.count()
    while read < 4:
        read += len(member.source.poll(4 - read, 0.05))
    assert member.source.lag() == {Partition(topic, 0): 10 - read}
    poll_until([member], lambda: member.source.lag() == {Partition(topic, 0): 0})


def test_a_start_that_retention_has_deleted_becomes_the_oldest_record_that_there_is(world: World) -> None:
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(10)))
    world.delete_records(Partition(topic, 0), before=6)
    member = joined_member(world, topic, group, Listener(starts={Partition(topic, 0): 2}))
    assert member.take(4).offset.tolist() == [6, 7, 8, 9]


def test_the_beginning_of_a_partition_is_its_oldest_offset_or_its_end_where_it_holds_nothing(world: World) -> None:
    topic = world.topic(partitions=3)
    whole, cut, emptied = (Partition(topic, number) for number in range(3))
    write(world, outgoing(topic, numbered(30), partition=[i % 3 for i in range(30)]))
    world.delete_records(cut, before=4)
    world.delete_records(emptied, before=10)
    member = joined_member(world, topic, world.unique("group"), Listener(), partitions=3)
    assert member.source.begins([whole, cut, emptied], 10.0) == {whole: 0, cut: 4, emptied: 10}
    assert member.source.begins([], 10.0) == {}
    member.take(16)


def test_an_answered_record_that_is_deleted_moves_the_beginning_and_loses_nothing(world: World) -> None:
    topic = world.topic()
    write(world, outgoing(topic, numbered(6)))
    member = joined_member(world, topic, world.unique("group"), Listener())
    assert member.take(6).offset.tolist() == [0, 1, 2, 3, 4, 5]
    world.delete_records(Partition(topic, 0), before=6)
    assert member.source.begins([Partition(topic, 0)], 10.0) == {Partition(topic, 0): 6}
    write(world, outgoing(topic, [b"6"]))
    assert member.take(1).offset.tolist() == [6]
