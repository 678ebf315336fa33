"""`feedback` on a real broker: what an operator types is what a retraining reads."""

from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError
from stream_ae.kafka.driver import open_reader, open_sink
from stream_ae.records import NO_HEADERS, OutgoingBatch, Partition
from stream_ae.settings import KafkaSettings, Settings, TopicSettings
from stream_ae.training.labels import ANOMALY, NORMAL, read_labels


@pytest.fixture
def pipeline(kafka_servers: str, unique: Callable[[str], str]) -> Settings:
    names = {name: unique(name) for name in ("raw", "cleaned", "flagged", "feedback")}
    topics = TopicSettings(dead_letters=unique("dead-letters"), **names)
    return Settings(kafka=KafkaSettings(bootstrap_servers=kafka_servers), topics=topics)


def _run(pipeline: Settings, *arguments: str) -> Result:
    environment = {f"STREAM_AE_TOPICS__{name.upper()}": text for name, text in pipeline.topics if text is not None}
    environment["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"] = pipeline.kafka.bootstrap_servers
    return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)


def _send(pipeline: Settings, partition: int, count: int) -> None:
    where, now = np.full(count, partition, np.int32), np.full(count, -1, np.int64)
    sink = open_sink(pipeline.kafka)
    sink.produce(OutgoingBatch(pipeline.topics.raw, where, now, [None] * count, [b"{}"] * count, [NO_HEADERS] * count))
    sink.flush(30.0)
    sink.close()


@pytest.mark.servers
def test_what_an_operator_says_is_read_from_kafka_and_the_newest_word_counts(pipeline: Settings) -> None:
    raw = pipeline.topics.raw
    assert f"created {pipeline.topics.feedback}" in _run(pipeline, "topics", "create").stdout
    _send(pipeline, partition=1, count=20)
    assert _run(pipeline, "feedback", f"{raw}/1/10", "anomaly", "--end", "20").exit_code == 0
    assert _run(pipeline, "feedback", f"{raw}/1/12", "normal").exit_code == 0
    reader = open_reader(pipeline.kafka)
    labels = read_labels(reader, pipeline)
    reader.close()
    found = labels.marks.at(Partition(raw, 1), np.array([9, 10, 12, 19, 20]))
    assert found.tolist() == [0, ANOMALY, NORMAL, ANOMALY, 0]


@pytest.mark.servers
def test_a_record_that_the_raw_topic_does_not_hold_is_refused(pipeline: Settings) -> None:
    raw = pipeline.topics.raw
    _run(pipeline, "topics", "create")
    _send(pipeline, partition=1, count=20)
    with pytest.raises(ConfigError, match=f"topic {raw} has no partition 7"):
        _run(pipeline, "feedback", f"{raw}/7/10", "normal")
    for arguments in ((f"{raw}/1/20", "normal"), (f"{raw}/1/10", "anomaly", "--end", "21")):
        with pytest.raises(ConfigError, match="partition 1 ends at offset 20"):
            _run(pipeline, "feedback", *arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("raw/0", "normal"), "no source: write topic/partition/offset"),
        (("elsewhere/0/1", "normal"), "not of the raw topic raw"),
        (("raw/0/9", "anomaly", "--end", "9"), "--end 9 must lie above offset 9"),
    ],
)
def test_what_names_no_raw_record_is_refused_before_it_is_sent(arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        _run(Settings(topics=TopicSettings(feedback="feedback")), "feedback", *arguments)


def test_without_a_feedback_topic_it_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="topics.feedback is not set"):
        _run(Settings(), "feedback", "raw/0/1", "normal")
