from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.settings import KafkaSettings


@pytest.mark.parametrize("arguments", [[], ["some.csv", "--sample", "train"]])
def test_replay_wants_a_file_or_the_sample(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="either a FILE or --sample"):
        CliRunner().invoke(app, ["replay", *arguments], catch_exceptions=False)


def test_the_sample_goes_to_a_topic_without_any_file(kafka_servers: str, unique: Callable[[str], str]) -> None:
    topic = unique("raw")
    create_topics(KafkaSettings(bootstrap_servers=kafka_servers), [TopicSpec(topic)])
    environment = {"STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": kafka_servers}
    result = CliRunner().invoke(app, ["replay", "--sample", "test", "--topic", topic], env=environment)
    assert result.stdout == f"sent 25920 records of 6 streams to {topic}\n"
