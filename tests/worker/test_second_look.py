"""Asking the brokers whether records wait, on the real broker: what is no record is not missed."""

from collections.abc import Callable
from functools import partial

import pytest
from confluent_kafka import Producer

from stream_ae.clock import SystemClock
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader
from stream_ae.records import Partition
from stream_ae.settings import KafkaSettings
from stream_ae.worker.progress import Progress, Stage
from stream_ae.worker.second_look import SecondLook


@pytest.mark.parametrize("driver", ["confluent", "kafka-python"])
def test_markers_and_aborted_records_behind_the_last_one_are_not_missed_but_a_record_is(
    kafka_servers: str, unique: Callable[[str], str], driver: str
) -> None:
    settings = KafkaSettings.model_validate({"bootstrap_servers": kafka_servers, "driver": driver})
    topic = unique("raw")
    create_topics(settings, [TopicSpec(topic, 1)])
    producer = Producer({"bootstrap.servers": kafka_servers, "transactional.id": unique("writer")})
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, b"{}", partition=0)
        end()
    progress = Progress(SystemClock())
    second = SecondLook(progress, topic, partial(open_reader, settings))
    # Offsets 0-2 are records; after them come two markers and three records that were never committed.
    for reached, stages in ((3, []), (2, [Stage.FETCH])):
        progress.reached = {Partition(topic, 0): reached}
        second.look()
        second.look()
        assert [waiting.stage for waiting in progress.waiting()] == stages
    second.close()
