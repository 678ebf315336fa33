"""RecordSource on confluent-kafka."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import InvariantError, TransientError
from stream_ae.kafka.assignment import Assignment
from stream_ae.kafka.confluent.bounded import BoundedCalls
from stream_ae.kafka.confluent.messages import has_error, record_batch
from stream_ae.kafka.confluent.options import consumer_options, group_options, translated
from stream_ae.kafka.failures import brokers_away
from stream_ae.ports import AssignmentListener
from stream_ae.records import Partition, Position, RecordBatch, empty_record_batch
from stream_ae.settings import KafkaSettings
from stream_ae.telemetry import Log

SLICE_S = 0.1
"""The library's waits cannot be interrupted by a signal: none is longer."""
TICK_S = 0.001
"""What the library takes for no time at all is shorter: waiting for it would be a spin."""
LOOK_EVERY_S = 2.0
"""A member without partitions asks so often whether there is a topic at all."""
LOOKS = 2
"""A broker that has only just started may not know of every topic yet."""
OFFSET_END = -1
EARLIEST = -2
NO_OFFSET = -1001

log = Log("kafka")


class ConfluentSource:
    """A member of a consumer group. The library calls back on the thread that polls or closes, and `on_revoked` can
    still commit. What librdkafka has prefetched is dropped by `pause` and fetched again after `resume`."""

    def __init__(self, settings: KafkaSettings, clock: Clock, instance_id: str | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._topic = ""
        self._assignment: Assignment | None = None
        self._starts: dict[Partition, int] = {}
        self._origins: dict[Partition, int] = {}
        self._held: list[Message] = []
        self._failure: KafkaError | None = None
        self._brokers_down = False
        self._closed = False
        self._bounded = BoundedCalls(clock)
        self._next_look = Deadline.after(clock, LOOK_EVERY_S)
        self._looks_in_vain = 0
        kip_848 = _kip_848(settings, instance_id)
        options = consumer_options(settings) | group_options(settings, kip_848=kip_848, instance_id=instance_id)
        self._consumer = Consumer(options | {"error_cb": self._on_error})
        log.info("consumer group", group=settings.group_id, protocol="consumer" if kip_848 else "classic")

    def subscribe(self, topic: str, listener: AssignmentListener) -> None:
        self._topic = topic
        self._assignment = Assignment(listener)
        self._join()

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        assignment = self._subscribed()
        if assignment.must_rejoin:
            self._rejoin(assignment)
        messages, self._held = self._held, []
        if not messages:
            try:
                messages = self._consumed(max_records, timeout_s)
            except KafkaException as error:
                # What the library does not recover from, such as another member with our static name.
                raise translated(error.args[0], f"reading {self._topic}") from error
        good = messages
        if has_error(messages):
            self._note_errors(messages)
            good = [message for message in messages if message.error() is None]
        try:
            assignment.raise_pending()
        except Exception:
            # Their offsets are behind us for the library: dropped here they would be missing for good.
            self._held = good
            raise
        if not good:
            self._raise_failure()
            self._look_for_the_topic(assignment)
            return empty_record_batch(self._topic)
        return record_batch(self._topic, self._of_owned(assignment, good))

    def commit(self, positions: Mapping[Partition, Position]) -> None:
        self._subscribed().check_owned(positions)
        offsets = [TopicPartition(*partition, p.offset, p.metadata) for partition, p in positions.items()]
        if not offsets:
            return
        failed = f"offsets of {self._topic} were not committed for {self._settings.group_id}"

        def commit() -> list[TopicPartition]:
            return self._consumer.commit(offsets=offsets, asynchronous=False)

        try:
            results = self._bounded.run(commit, self._settings.session_timeout_s, failed)
        except KafkaException as error:
            raise translated(error.args[0], failed) from error
        for result in results:
            if result.error is not None:
                raise translated(result.error, failed)

    def membership(self) -> object:
        return self._consumer.consumer_group_metadata()

    def go_back(self) -> None:
        assignment = self._subscribed()
        ours = sorted(assignment.owned)
        self._held = []
        if not ours:
            return
        begins = self._begins(assignment.again(lambda: self._committed(ours)), ours)
        try:
            # Given back and taken again, not sought: a seek is refused while a partition's first offset is looked up.
            self._consumer.incremental_unassign([TopicPartition(*partition) for partition in ours])
            self._consumer.incremental_assign(begins)
            # The library remembers a pause over that.
            self._consumer.resume(begins)
        except KafkaException as error:
            raise translated(error.args[0], f"going back in {self._topic}") from error

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._consumer.pause(self._owned(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._consumer.resume(self._owned(partitions))

    def lag(self) -> Mapping[Partition, int]:
        owned = self._owned(sorted(self._subscribed().owned))
        return {
            Partition(position.topic, position.partition): self._behind(position)
            for position in (self._consumer.position(owned) if owned else [])
        }

    def begins(self, partitions: Sequence[Partition], timeout_s: float) -> Mapping[Partition, int]:
        # The "time" that stands for the oldest offset: all partitions in one request (get_watermark_offsets: two each).
        wanted = [TopicPartition(*partition, EARLIEST) for partition in partitions]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=timeout_s) if wanted else []
        except KafkaException as error:
            raise TransientError(f"the oldest offsets of {self._topic} cannot be had: {error.args[0]}") from error
        failed = next((f.error for f in found if f.error is not None), None)
        if failed is not None:
            raise TransientError(f"the oldest offsets of {self._topic} cannot be had: {failed}")
        return {Partition(f.topic, f.partition): f.offset for f in found}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._assignment is not None:
            # On this thread and while still a member; what the library says while it closes finds nothing left.
            self._assignment.revoke(sorted(self._assignment.owned))
        self._leave()
        if self._assignment is not None:
            self._assignment.raise_pending()

    def _leave(self) -> None:
        """Closing waits for the brokers without a limit too: after a while it is left to a thread that ends with us."""
        closing = BoundedCalls(self._clock)
        try:
            closing.run(self._consumer.close, self._settings.session_timeout_s, "leaving the group")
        except TransientError as error:
            log.warning("left without the brokers' answer; the group notices by itself", reason=str(error))
        closing.close()
        self._bounded.close()

    def _join(self) -> None:
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _rejoin(self, assignment: Assignment) -> None:
        """Leave and join anew: the owner was never told of partitions that the group thinks are ours."""
        assignment.must_rejoin = False
        self._consumer.unsubscribe()
        self._join()

    def _consumed(self, max_records: int, timeout_s: float) -> list[Message]:
        """What is there, else the first that comes within the time and what came with it.

        `consume(n, t)` alone would wait for n of them.
        """
        deadline = Deadline.after(self._clock, timeout_s)
        while True:
            messages = self._consumer.consume(max_records, 0)
            if messages:
                return messages
            left_s = deadline.left_s()
            first = self._consumer.poll(max(min(SLICE_S, left_s), TICK_S) if left_s else 0)
            if first is not None:
                return [first, *self._consumer.consume(max_records - 1, 0)] if max_records > 1 else [first]
            if self._brokers_down:
                self._probe(deadline)
            assignment = self._subscribed()
            if deadline.passed() or assignment.has_pending:
                return []

    def _of_owned(self, assignment: Assignment, messages: list[Message]) -> list[Message]:
        numbers = {partition.number for partition in assignment.owned}
        if set(map(Message.partition, messages)) <= numbers:
            return messages
        return [message for message in messages if message.partition() in numbers]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assignment = self._subscribed()
        ours = [Partition(p.topic, p.partition) for p in partitions]
        starts = assignment.assign(ours, lambda: self._committed(ours))
        consumer.incremental_assign(self._begins(starts, ours))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The library unassigns them when this returns: until then it takes commits.
        self._subscribed().revoke(self._leaving(partitions))

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._subscribed().lose(self._leaving(partitions))

    def _leaving(self, partitions: list[TopicPartition]) -> list[Partition]:
        leaving = [Partition(p.topic, p.partition) for p in partitions]
        for partition in leaving:
            self._origins.pop(partition, None)
        return leaving

    def _begins(self, starts: Mapping[Partition, int], partitions: Sequence[Partition]) -> list[TopicPartition]:
        """Where to read on; without a start a partition begins at its end or its beginning, as `kafka.start` says."""
        if self._settings.start == "latest":
            starts = {p: self._origin(p) for p in partitions if p not in starts} | dict(starts)
        self._starts |= {partition: at for partition, at in starts.items() if at >= 0}
        return [TopicPartition(*p, starts.get(p, NO_OFFSET)) for p in partitions]

    def _origin(self, partition: Partition) -> int:
        """The end as it was when we got the partition: going back to it must not pass over what came since."""
        if partition not in self._origins:
            try:
                _, self._origins[partition] = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=self._settings.connect_timeout_s
                )
            except KafkaException as error:
                log.warning("the end is looked up later", partition=partition.number, reason=str(error.args[0]))
                return OFFSET_END
        return self._origins[partition]

    def _committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position | None]:
        wanted = [TopicPartition(*partition) for partition in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=2 * self._settings.connect_timeout_s)
        except KafkaException as error:
            raise TransientError(f"committed offsets of {self._topic} cannot be read: {error.args[0]}") from error
        failed = next((f.error for f in found if f.error is not None), None)
        if failed is not None:
            raise TransientError(f"committed offsets of {self._topic} cannot be read: {failed}")
        return {
            Partition(f.topic, f.partition): Position(f.offset, f.metadata or "") if f.offset >= 0 else None
            for f in found
        }

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._brokers_down = True
        elif error.fatal() or error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._failure = error

    def _probe(self, deadline: Deadline) -> None:
        """The library says so too when it has closed an idle connection: ask before believing it."""
        try:
            self._consumer.list_topics(self._topic, timeout=max(deadline.left_s(), SLICE_S))
        except KafkaException as error:
            raise TransientError(brokers_away(self._settings.bootstrap_servers)) from error
        self._brokers_down = False

    def _look_for_the_topic(self, assignment: Assignment) -> None:
        """With KIP-848 the group takes the partitions of a deleted topic away, and the library never says why."""
        if assignment.owned or not self._next_look.passed():
            return
        self._next_look = Deadline.after(self._clock, LOOK_EVERY_S)
        try:
            error = self._consumer.list_topics(self._topic, timeout=SLICE_S).topics[self._topic].error
        except KafkaException:
            # Brokers that are away are another matter.
            return
        gone = error is not None and error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        self._looks_in_vain = self._looks_in_vain + 1 if gone else 0
        if error is not None and self._looks_in_vain >= LOOKS:
            raise translated(error, f"reading {self._topic}")

    def _note_errors(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._MAX_POLL_EXCEEDED:
                log.warning("not polled in time, partitions were taken", max_poll_s=self._settings.max_poll_interval_s)
            elif error is not None:
                self._failure = error

    def _raise_failure(self) -> None:
        error, self._failure = self._failure, None
        if error is not None:
            raise translated(error, f"reading {self._topic}")

    def _behind(self, position: TopicPartition) -> int:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(position.topic, position.partition), cached=True
        )
        if high < 0:
            return 0
        default = high if self._settings.start == "latest" else low
        start = self._starts.get(Partition(position.topic, position.partition), default)
        return max(high - max(position.offset if position.offset >= 0 else start, low), 0)

    def _owned(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        owned = self._subscribed().owned
        return [TopicPartition(*partition) for partition in partitions if partition in owned]

    def _subscribed(self) -> Assignment:
        if self._assignment is None:
            raise InvariantError("the source is used before subscribe()")
        return self._assignment


def _kip_848(settings: KafkaSettings, instance_id: str | None) -> bool:
    if settings.group_protocol != "auto":
        return settings.group_protocol == "consumer"
    if instance_id is not None:
        # KIP-848 refuses a restarted member for good while its killed predecessor's session lasts; classic lets it in.
        return False
    # Asking the brokers is this library's blind spot: it shows no API versions.
    from stream_ae.kafka.admin import has_consumer_protocol

    return has_consumer_protocol(settings)
