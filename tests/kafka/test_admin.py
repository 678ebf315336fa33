from collections.abc import Callable
from typing import ClassVar

import pytest
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import ConfigError, DeliveryError
from stream_ae.kafka import admin
from stream_ae.kafka.driver import open_sink, open_source
from stream_ae.records import Partition, Position
from stream_ae.settings import KafkaSettings
from tests.contracts.worlds import Listener, Member, outgoing, poll_until


@pytest.fixture
def settings(kafka_servers: str, unique: Callable[[str], str]) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka_servers, group_id=unique("group"))


def test_topics_are_created_once(settings: KafkaSettings, unique: Callable[[str], str]) -> None:
    name = unique("topic")
    assert admin.create_topics(settings, [admin.TopicSpec(name, 2)]) == admin.Created((name,), ())
    assert admin.create_topics(settings, [admin.TopicSpec(name, 5)]) == admin.Created((), (name,))
    assert admin.check_topics(settings, reads=[name], writes=[name]) == {name: 2}


def test_a_topic_that_takes_smaller_records_than_are_set_is_named(
    settings: KafkaSettings, unique: Callable[[str], str]
) -> None:
    wide, narrow = unique("wide"), unique("narrow")
    admin.create_topics(
        settings, [admin.TopicSpec(wide), admin.TopicSpec(narrow, config={"max.message.bytes": "5000"})]
    )
    assert set(admin.check_topics(settings, reads=[narrow], writes=[wide])) == {wide, narrow}
    with pytest.raises(ConfigError, match=rf"max_message_bytes is 1000000, but .*\({narrow} 5000\)"):
        admin.check_topics(settings, writes=[wide, narrow])


def test_a_topic_gets_its_own_configuration(settings: KafkaSettings, unique: Callable[[str], str]) -> None:
    name = unique("topic")
    admin.create_topics(settings, [admin.TopicSpec(name, config={"max.message.bytes": "2000"})])
    sink = open_sink(settings)
    sink.produce(outgoing(name, [b"x" * 5000]))
    with pytest.raises(DeliveryError, match=r"max\.message\.bytes"):
        sink.flush(20)
    sink.close()


def test_all_missing_topics_are_named_at_once(settings: KafkaSettings, unique: Callable[[str], str]) -> None:
    there, *missing = [unique("topic") for _ in range(3)]
    admin.create_topics(settings, [admin.TopicSpec(there)])
    with pytest.raises(ConfigError) as raised:
        admin.check_topics(settings, reads=[there, missing[0]], writes=[missing[1]])
    message = str(raised.value)
    assert missing[0] in message
    assert missing[1] in message
    assert there not in message
    assert "stream-ae topics create" in message


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "no-such-host.invalid:9092", "127.0.0.1:port"])
def test_a_wrong_address_is_a_config_error_within_the_time_allowed(servers: str) -> None:
    settings = KafkaSettings(bootstrap_servers=servers, connect_timeout_s=1.0)
    deadline = Deadline.after(SystemClock(), 8.0)
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap_servers") as raised:
        admin.check_topics(settings, reads=["raw"])
    assert servers in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not deadline.passed()


def test_deleting_passes_over_what_does_not_exist(settings: KafkaSettings, unique: Callable[[str], str]) -> None:
    name = unique("topic")
    admin.create_topics(settings, [admin.TopicSpec(name)])
    admin.delete_topics(settings, [unique("never"), name])
    with pytest.raises(ConfigError):
        admin.check_topics(settings, reads=[name])


def test_the_lag_of_a_group_is_what_it_has_not_committed(settings: KafkaSettings, unique: Callable[[str], str]) -> None:
    name = unique("topic")
    admin.create_topics(settings, [admin.TopicSpec(name, 2)])
    sink = open_sink(settings)
    sink.produce(outgoing(name, [b"v"] * 10, partition=[0, 1] * 5))
    sink.flush(20)
    sink.close()
    assert admin.group_lag(settings, name) == {Partition(name, 0): 5, Partition(name, 1): 5}
    listener = Listener()
    member = Member(open_source(settings), name, listener)
    poll_until([member], lambda: len(listener.owned) == 2)
    member.source.commit({Partition(name, 0): Position(4)})
    member.source.close()
    assert admin.group_lag(settings, name) == {Partition(name, 0): 1, Partition(name, 1): 5}


@pytest.mark.parametrize("error", [CoordinatorNotAvailableError, CoordinatorLoadInProgressError])
def test_a_coordinator_that_is_not_ready_yet_is_asked_again(error: type[Exception]) -> None:
    class Client:
        answers: ClassVar[list[object]] = [error, {"g": {}}]

        def list_group_offsets(self, groups: object) -> object:
            answer = self.answers.pop(0)
            if answer is error:
                raise error
            return answer

    assert admin._committed(Client(), KafkaSettings(group_id="g"), []) == {}
    assert Client.answers == []


def test_the_embedded_broker_has_the_new_group_protocol(settings: KafkaSettings) -> None:
    assert admin.has_consumer_protocol(settings)
