"""`topics`, `replay`, `tail` and `audit` on a real broker, as a person types them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError
from stream_ae.kafka.admin import TopicSpec, create_topics, partition_count
from stream_ae.kafka.driver import open_sink, open_source
from stream_ae.records import OutgoingBatch, Partition, Position
from stream_ae.settings import KafkaSettings

Run = Callable[..., Result]


class Keep:
    """A group member that starts where the group left off."""

    def on_assigned(self, committed: Mapping[Partition, Position | None]) -> Mapping[Partition, int]:
        return {}

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Nothing to commit."""

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Nothing to forget."""


@pytest.fixture
def pipeline(kafka_servers: str, unique: Callable[[str], str]) -> dict[str, str]:
    """Settings of a pipeline of this test's own, as environment variables."""
    names = {"RAW": "raw", "CLEANED": "cleaned", "FLAGGED": "flagged", "DEAD_LETTERS": "dead-letters"}
    topics = {f"STREAM_AE_TOPICS__{key}": unique(name) for key, name in names.items()}
    return topics | {
        "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": kafka_servers,
        "STREAM_AE_KAFKA__GROUP_ID": unique("group"),
    }


@pytest.fixture
def run(pipeline: dict[str, str]) -> Run:
    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(part) for part in arguments], env=pipeline, catch_exceptions=False)

    return invoke


@contextmanager
def sink(pipeline: Mapping[str, str]) -> Iterator[Callable[[str, list[tuple[bytes, bytes]]], None]]:
    """Sends (value, source header) pairs to partition 0 of a topic."""
    opened = open_sink(KafkaSettings(bootstrap_servers=pipeline["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"]))

    def send(topic: str, records: list[tuple[bytes, bytes]]) -> None:
        count = len(records)
        headers = [(("stream-ae-source", source),) for _, source in records]
        values = [value for value, _ in records]
        where = np.zeros(count, np.int32)
        opened.produce(OutgoingBatch(topic, where, np.full(count, -1), [None] * count, values, headers))
        opened.flush(10.0)

    try:
        yield send
    finally:
        opened.close()


def commit(pipeline: Mapping[str, str], offset: int) -> None:
    """Have the group commit partition 0 of the raw topic up to `offset`."""
    topic = pipeline["STREAM_AE_TOPICS__RAW"]
    source = open_source(
        KafkaSettings(
            bootstrap_servers=pipeline["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"],
            group_id=pipeline["STREAM_AE_KAFKA__GROUP_ID"],
        )
    )
    source.subscribe(topic, Keep())
    while len(source.poll(100, 1.0)) == 0:
        continue
    source.commit({Partition(topic, 0): Position(offset)})
    source.close()


def test_topics_are_created_once(run: Run, pipeline: dict[str, str]) -> None:
    assert run("topics", "create", "--partitions", "2").stdout.count("created") == 4
    again = run("topics", "create")
    assert again.exit_code == 0
    assert again.stdout.count("exists") == 4


def test_the_latent_topic_is_created_where_it_is_set(
    run: Run, pipeline: dict[str, str], unique: Callable[[str], str]
) -> None:
    name = pipeline["STREAM_AE_TOPICS__LATENT"] = unique("latent")
    assert f"created {name}" in run("topics", "create", "--partitions", "2").stdout


def test_topics_get_as_many_partitions_as_a_raw_topic_that_is_there(run: Run, pipeline: dict[str, str]) -> None:
    kafka = KafkaSettings(bootstrap_servers=pipeline["STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"])
    create_topics(kafka, [TopicSpec(pipeline["STREAM_AE_TOPICS__RAW"], 5)])
    run("topics", "create", "--partitions", "2")
    assert partition_count(kafka, pipeline["STREAM_AE_TOPICS__CLEANED"]) == 5


def test_what_is_replayed_from_a_file_is_seen_by_tail(run: Run, tmp_path: Path) -> None:
    run("topics", "create")
    (tmp_path / "pump.csv").write_text("time,flow,heat\n2026-01-01,1.5,\n2026-01-02,2.5,7\n2026-01-03,3.5,8\n")
    assert "sent 3 records of 1 streams" in run("replay", tmp_path / "pump.csv", "--rate", "1000").stdout
    lines = run("tail", "raw", "-n", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["value"]["values"] for line in lines] == [
        {"flow": 2.5, "heat": 7.0},
        {"flow": 3.5, "heat": 8.0},
    ]
    assert {json.loads(line)["key"] for line in lines} == {"pump"}


def test_audit_finds_what_is_lost_and_what_is_doubled(run: Run, pipeline: dict[str, str]) -> None:
    run("topics", "create", "--partitions", "1")
    raw, cleaned = pipeline["STREAM_AE_TOPICS__RAW"], pipeline["STREAM_AE_TOPICS__CLEANED"]
    traces = [(b"{}", f"{raw}/0/{offset}".encode()) for offset in range(5)]
    with sink(pipeline) as send:
        send(raw, traces)
        commit(pipeline, 4)
        send(cleaned, [traces[0], traces[1]])
        send(pipeline["STREAM_AE_TOPICS__DEAD_LETTERS"], [traces[2]])
        found = run("audit", "--json", "--wait-s", "0")
        assert found.exit_code == 1
        report = json.loads(found.stdout)
        assert (report["lost"], report["first_lost"], report["pending"]) == (1, f"{raw}/0/3", 1)
        send(cleaned, [traces[3]])
        assert run("audit", "--wait-s", "0").exit_code == 0
        send(cleaned, [traces[0]])
        doubled = run("audit", "--wait-s", "0")
    assert doubled.exit_code == 1
    assert f"the first is {raw}/0/0" in doubled.stdout


def test_missing_topics_are_one_line_that_says_what_to_do(run: Run, pipeline: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="missing topics: .*`stream-ae topics create`"):
        run("tail", "cleaned")
