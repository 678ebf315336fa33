"""The raw consume -> produce echo loop of each client library: the ruler for a worker's speed."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from stream_ae.kafka import admin
from stream_ae.kafka.driver import open_sink, open_source
from stream_ae.records import NO_HEADERS, OutgoingBatch
from stream_ae.settings import KafkaSettings
from tests.contracts.worlds import Listener

BATCH = 2048
# 110 bytes, as in the figures that the echo loops of earlier days were measured with.
VALUE = (
    b'{"stream": "pump-7", "timestamp": 1700000000000, "values": {"a": 0.123456, "b": 1.234567, "c": 12.34567}}'.ljust(
        110
    )
)


@dataclass(frozen=True)
class Rate:
    """Records per second by the wall clock and per second of the client's CPU."""

    wall: float
    cpu: float


def against_the_echo_loop(echo: Rate, ours: Rate, name: str) -> list[str]:
    """A table of both and their ratio."""
    return [
        "| | records/s | per CPU second |",
        "|---|---:|---:|",
        f"| echo loop | {echo.wall:,.0f} | {echo.cpu:,.0f} |",
        f"| {name} | {ours.wall:,.0f} | {ours.cpu:,.0f} |",
        f"| ratio | {ours.wall / echo.wall:.2f} | {ours.cpu / echo.cpu:.2f} |",
    ]


def echo_rate(driver: str, servers: str, n: int, *, tuned: bool = False) -> Rate:
    """Consume `n` records of 110 bytes and produce each again, with the bare client library and nothing between.

    The library is as it comes, with an idempotent producer; `tuned` configures it as our adapters do.
    """
    echo = {"confluent": _echo_confluent, "kafka-python": _echo_kafka_python}[driver]
    return _measured(lambda raw, out: echo(servers, raw, out, n, tuned), servers, n)


def port_echo_rate(driver: str, servers: str, n: int) -> Rate:
    """The same through our ports: columns in, columns out, flushed and committed once at the end."""
    return _measured(lambda raw, out: _echo_ports(driver, servers, raw, out, n), servers, n)


def _measured(echo: Callable[[str, str], None], servers: str, n: int) -> Rate:
    settings = KafkaSettings(bootstrap_servers=servers)
    raw, out = f"raw-{uuid.uuid4().hex}", f"out-{uuid.uuid4().hex}"
    admin.create_topics(settings, [admin.TopicSpec(raw, 1), admin.TopicSpec(out, 1)])
    _fill(settings, raw, n)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    echo(raw, out)
    rate = Rate(n / (time.perf_counter() - wall_s), n / (time.process_time() - cpu_s))
    admin.delete_topics(settings, [raw, out])
    return rate


def _fill(settings: KafkaSettings, topic: str, n: int) -> None:
    sink = open_sink(settings)
    for first in range(0, n, BATCH):
        count = min(BATCH, n - first)
        sink.produce(
            OutgoingBatch(
                topic,
                partition=np.zeros(count, np.int32),
                timestamp_ms=np.full(count, -1, np.int64),
                keys=[b"pump-7"] * count,
                values=[VALUE] * count,
                headers=[NO_HEADERS] * count,
            )
        )
    sink.flush(60)
    sink.close()


def _echo_confluent(servers: str, raw: str, out: str, n: int, tuned: bool) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    from stream_ae.kafka.confluent.options import consumer_options, producer_options

    settings = KafkaSettings(bootstrap_servers=servers)
    plain: dict[str, Any] = {"bootstrap.servers": servers}
    consumer = Consumer(consumer_options(settings) if tuned else plain | {"group.id": raw, "enable.auto.commit": False})
    consumer.assign([TopicPartition(raw, 0, 0)])
    producer = Producer(producer_options(settings) if tuned else plain | {"enable.idempotence": True, "linger.ms": 5})
    done = 0
    while done < n:
        for message in consumer.consume(BATCH, 0.1):
            while True:
                try:
                    producer.produce(out, message.value(), message.key())
                    break
                except BufferError:
                    producer.poll(0.1)
            done += 1
        producer.poll(0)
    producer.flush()
    consumer.close()


def _echo_kafka_python(servers: str, raw: str, out: str, n: int, tuned: bool) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    from stream_ae.kafka.python.options import consumer_options, producer_options

    settings = KafkaSettings(bootstrap_servers=servers)
    plain: dict[str, Any] = {"bootstrap_servers": servers}
    consumer = KafkaConsumer(
        **(consumer_options(settings) if tuned else plain | {"enable_auto_commit": False}), group_id=None
    )
    consumer.assign([TopicPartition(raw, 0)])
    consumer.seek_to_beginning()
    producer = KafkaProducer(**(producer_options(settings) if tuned else plain | {"linger_ms": 5}))
    done = 0
    while done < n:
        for records in consumer.poll(100, BATCH).values():
            for record in records:
                producer.send(out, record.value, record.key)
                done += 1
    producer.flush()
    producer.close()
    consumer.close()


def _echo_ports(driver: str, servers: str, raw: str, out: str, n: int) -> None:
    settings = KafkaSettings.model_validate({"bootstrap_servers": servers, "driver": driver, "group_id": raw})
    source, sink = open_source(settings), open_sink(settings)
    source.subscribe(raw, Listener())
    done = 0
    while done < n:
        records = source.poll(BATCH, 0.1)
        if len(records):
            sink.produce(
                OutgoingBatch(
                    out, records.partition, records.timestamp_ms, records.keys, records.values, records.headers
                )
            )
            done += len(records)
    sink.flush(60)
    source.close()
    sink.close()


@pytest.mark.bench
def test_echo_loops_of_both_clients(kafka_servers: str) -> None:
    print(f"\n{'echo loop, 110-byte JSON':<42}{'records/s':>12}{'per CPU-second':>16}")
    for driver, n in (("confluent", 400_000), ("kafka-python", 60_000)):
        for name, measure in (
            (f"{driver}, bare", echo_rate),
            (f"{driver}, bare, configured as ours", partial(echo_rate, tuned=True)),
            (f"{driver}, through our ports", port_echo_rate),
        ):
            rate = measure(driver, kafka_servers, n)
            print(f"{name:<42}{rate.wall:>12,.0f}{rate.cpu:>16,.0f}")
