"""How long a retraining takes to gather a million samples from the brokers, and the raw echo loop beside it."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from jobs.training_data import Asked, planned
from jobs.unfinished import Unfinished
from stream_ae.configuration import load
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader
from tests.benchmarks.test_echo_bench import Rate, against_the_echo_loop, echo_rate
from tests.benchmarks.test_worker_bench import CLOCK, environment_of, fill, payloads
from tests.page import SPEED, write_section

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

SAMPLES = 1_000_000
ECHOED = 300_000
AT_ONCE = 100_000


def test_collecting_a_million_samples(kafka_servers: str) -> None:
    echo = echo_rate("confluent", kafka_servers, ECHOED)
    environment = environment_of("confluent", kafka_servers, "redis://unused", "http://unused", Path())
    settings = load(environment=environment).settings
    create_topics(settings.kafka, [TopicSpec(name, 1) for name in settings.topics.names()])
    waiting: list[tuple[bytes, bytes]] = []
    for record in payloads(SAMPLES):
        waiting.append(record)
        if len(waiting) == AT_ONCE:
            fill(settings.kafka, settings.topics.raw, waiting)
            waiting.clear()
    with closing(open_reader(settings.kafka)) as reader:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        plan = planned(reader, settings, Asked(), (None, None), Unfinished(None, settings), CLOCK.wall_ms())
        found = plan.gathered(reader, lambda done: None).collected
        took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert found.counts.samples == SAMPLES
    collecting = Rate(SAMPLES / took_s, SAMPLES / took_cpu_s)
    lines = [
        "## Collecting for a retraining",
        "",
        f"{SAMPLES:,} records of a sample with 8 named values, read from the brokers, decoded, held against flags and "
        f"labels, and judged (stuck sensors, noise): {took_s:.1f} s.",
        "",
        *against_the_echo_loop(echo, collecting, "collecting"),
    ]
    print("\n" + "\n".join(lines))
    write_section(SPEED, "collecting", "make bench", lines)
