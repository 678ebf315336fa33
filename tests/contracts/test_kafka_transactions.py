"""The contract of TransactionalSink and TransactionalSource, and of the delivery that is made of both."""

import threading
from collections.abc import Sequence

import pytest

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import DeliveryError, RestartError, TransactionError
from stream_ae.kafka.delivery import ExactlyOnce
from stream_ae.ports import TransactionalSink, TransactionalSource
from stream_ae.records import Partition, Position
from tests.contracts.worlds import PATIENCE_S, Listener, Member, World, outgoing, poll_until, write


class Reading:
    """A transactional source that owns its topic's one partition, and what its listener was told."""

    def __init__(self, world: World, topic: str, group: str, listener: Listener | None = None) -> None:
        self.listener = listener or Listener()
        self.source: TransactionalSource = world.transactional_source(group)
        self.member = Member(self.source, topic, self.listener)
        poll_until([self.member], lambda: bool(self.listener.owned))


def committed_values(world: World, topic: str) -> list[bytes | None]:
    reader = world.reader()
    return [value for batch in reader.read(reader.ranges(topic)) for value in batch.values]


def assert_committed(world: World, topic: str, values: list[bytes | None]) -> None:
    """A commit is answered before its markers are in every partition: readers see it a moment later."""
    clock, never = SystemClock(), threading.Event()
    deadline = Deadline.after(clock, PATIENCE_S)
    while len(committed_values(world, topic)) < len(values) and not deadline.passed():
        clock.wait(never, 0.05)
    assert committed_values(world, topic) == values


def committed_by(world: World, topic: str, group: str) -> Position | None:
    """What the next member of the group is told."""
    return Reading(world, topic, group).listener.assigned[Partition(topic, 0)]


def begun(sink: TransactionalSink, topic: str, values: Sequence[bytes]) -> TransactionalSink:
    sink.begin()
    sink.produce(outgoing(topic, values))
    return sink


def numbered(count: int) -> list[bytes | None]:
    return [b"%d" % i for i in range(count)]


def test_outputs_and_offsets_count_together_with_their_metadata(transactional_world: World) -> None:
    world = transactional_world
    topic, out, group = world.topic(), world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    reading = Reading(world, topic, group)
    sink = begun(world.transactional_sink(world.unique("id")), out, [b"a", b"b"])
    sink.send_offsets({Partition(topic, 0): Position(2, '{"rewind": 1}')}, reading.source.membership(), PATIENCE_S)
    assert committed_values(world, out) == []
    sink.commit(PATIENCE_S)
    assert_committed(world, out, [b"a", b"b"])
    reading.source.close()
    assert committed_by(world, topic, group) == Position(2, '{"rewind": 1}')


def test_of_an_aborted_transaction_nothing_counts_and_the_next_one_does(transactional_world: World) -> None:
    world = transactional_world
    topic, out, group = world.topic(), world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    reading = Reading(world, topic, group)
    sink = begun(world.transactional_sink(world.unique("id")), out, [b"void"])
    sink.send_offsets({Partition(topic, 0): Position(2)}, reading.source.membership(), PATIENCE_S)
    sink.abort(PATIENCE_S)
    begun(sink, out, [b"good"])
    sink.commit(PATIENCE_S)
    assert_committed(world, out, [b"good"])
    reading.source.close()
    assert committed_by(world, topic, group) is None


def test_a_second_process_with_the_id_puts_the_first_out_and_aborts_what_it_left(transactional_world: World) -> None:
    world = transactional_world
    topic, out, group, name = world.topic(), world.topic(), world.unique("group"), world.unique("id")
    write(world, outgoing(topic, numbered(3)))
    reading = Reading(world, topic, group)
    zombie = begun(world.transactional_sink(name), out, [b"from the zombie"])
    zombie.send_offsets({Partition(topic, 0): Position(3)}, reading.source.membership(), PATIENCE_S)
    successor = begun(world.transactional_sink(name), out, [b"from its successor"])
    successor.send_offsets({Partition(topic, 0): Position(1)}, reading.source.membership(), PATIENCE_S)
    with pytest.raises(RestartError, match=name):
        zombie.commit(PATIENCE_S)
    with pytest.raises(RestartError, match=name):
        zombie.abort(PATIENCE_S)
    successor.commit(PATIENCE_S)
    assert_committed(world, out, [b"from its successor"])
    reading.source.close()
    assert committed_by(world, topic, group) == Position(1)


def test_a_process_that_ends_leaves_no_transaction_open(transactional_world: World) -> None:
    world = transactional_world
    out = world.topic()
    begun(world.transactional_sink(world.unique("id")), out, [b"never committed"]).close()
    other = begun(world.transactional_sink(world.unique("id")), out, [b"behind it"])
    other.commit(PATIENCE_S)
    assert_committed(world, out, [b"behind it"])


def test_a_member_that_was_put_out_of_the_group_cannot_commit_by_transaction(transactional_world: World) -> None:
    world = transactional_world
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    first = Reading(world, topic, group)
    stale = first.source.membership()
    first.source.close()
    second = Reading(world, topic, group)
    sink = begun(world.transactional_sink(world.unique("id")), world.topic(), [b"late"])
    with pytest.raises(TransactionError):
        sink.send_offsets({Partition(topic, 0): Position(3)}, stale, PATIENCE_S)
    sink.abort(PATIENCE_S)
    second.source.close()
    assert committed_by(world, topic, group) is None


def test_a_record_that_is_too_large_fails_for_good_not_only_its_transaction(transactional_world: World) -> None:
    sink = transactional_world.transactional_sink(transactional_world.unique("id"), max_message_bytes=10_000)
    sink.begin()
    with pytest.raises(DeliveryError, match=r"20000 bytes.*max_message_bytes.*10000") as caught:
        sink.produce(outgoing(transactional_world.topic(), [b"x" * 20_000]))
    assert not isinstance(caught.value, TransactionError)


def test_going_back_reads_again_from_what_is_committed_and_asks_where_to_start(transactional_world: World) -> None:
    world = transactional_world
    topic, group = world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(10)))
    reading = Reading(world, topic, group)
    reading.member.take(10)
    reading.source.go_back()
    assert list(reading.member.take(10).values) == numbered(10)
    reading.source.commit({Partition(topic, 0): Position(8, "here")})
    reading.listener.starts = {Partition(topic, 0): 6}
    reading.listener.assigned.clear()
    reading.source.go_back()
    assert reading.listener.assigned == {Partition(topic, 0): Position(8, "here")}
    assert reading.member.take(4).offset.tolist() == [6, 7, 8, 9]


def test_going_back_twice_in_a_row_changes_nothing_more(transactional_world: World) -> None:
    world = transactional_world
    topic = world.topic()
    write(world, outgoing(topic, numbered(5)))
    reading = Reading(world, topic, world.unique("group"))
    reading.source.go_back()
    reading.source.go_back()
    reading.source.pause([Partition(topic, 0)])
    reading.source.go_back()
    reading.member.kept.clear()
    assert list(reading.member.take(5).values) == numbered(5)
    reading.member.poll()
    assert reading.member.count() == 0


def test_a_group_that_began_at_the_latest_goes_back_to_where_that_was(transactional_world: World) -> None:
    world = transactional_world
    topic, listener = world.topic(), Listener()
    write(world, outgoing(topic, [b"before"]))
    source = world.transactional_source(world.unique("group"), start="latest")
    member = Member(source, topic, listener)
    poll_until([member], lambda: bool(listener.owned))
    write(world, outgoing(topic, [b"after"]))
    member.take(1)
    source.go_back()
    assert list(member.take(1).values) == [b"after"]


def test_delivery_commits_outputs_and_inputs_together(transactional_world: World) -> None:
    world = transactional_world
    topic, out, group = world.topic(), world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    reading = Reading(world, topic, group)
    sink = world.transactional_sink(world.unique("id"))
    delivery = ExactlyOnce(reading.source, sink, PATIENCE_S, SystemClock())
    # Nothing begun, nothing to do.
    delivery.commit({})
    for offset in (1, 2):
        delivery.produce(outgoing(out, [b"of %d" % offset]))
        delivery.commit({Partition(topic, 0): Position(offset, "kept")})
    delivery.produce(outgoing(out, [b"never"]))
    delivery.close()
    reading.source.close()
    assert_committed(world, out, [b"of 1", b"of 2"])
    assert committed_by(world, topic, group) == Position(2, "kept")


def test_after_a_failure_delivery_refuses_everything_until_it_has_started_over(transactional_world: World) -> None:
    world = transactional_world
    topic, out, group = world.topic(), world.topic(), world.unique("group")
    write(world, outgoing(topic, numbered(3)))
    reading = Reading(world, topic, group)
    reading.member.take(3)
    sink = world.transactional_sink(world.unique("id"))
    delivery = ExactlyOnce(reading.source, sink, PATIENCE_S, SystemClock())
    delivery.produce(outgoing(out, [b"void"]))
    with pytest.raises(TransactionError, match="lost"):
        delivery.lost()
    with pytest.raises(TransactionError, match="start over"):
        delivery.commit({Partition(topic, 0): Position(3)})
    with pytest.raises(TransactionError, match="start over"):
        delivery.produce(outgoing(out, [b"void too"]))
    delivery.start_over()
    assert list(reading.member.take(3).values) == numbered(3)
    delivery.produce(outgoing(out, [b"good"]))
    delivery.commit({Partition(topic, 0): Position(3)})
    assert_committed(world, out, [b"good"])


def test_partitions_lost_between_transactions_cost_nothing(transactional_world: World) -> None:
    world = transactional_world
    topic = world.topic()
    reading = Reading(world, topic, world.unique("group"))
    delivery = ExactlyOnce(reading.source, world.transactional_sink(world.unique("id")), PATIENCE_S, SystemClock())
    delivery.lost()
    delivery.produce(outgoing(topic, [b"goes on"]))
