"""Settings: one file, every value overridable by environment, unknown keys refused with the nearest right name."""

from pathlib import Path

import pytest

from stream_ae.configuration import load
from stream_ae.errors import ConfigError
from stream_ae.settings import Settings


def config_file(folder: Path, text: str) -> Path:
    file = folder / "stream-ae.yaml"
    file.write_text(text)
    return file


def test_defaults_need_no_file_and_no_environment() -> None:
    loaded = load(environment={})
    assert loaded.settings == Settings()
    assert {row.origin for row in loaded.table()} == {"default"}


def test_every_setting_says_what_it_means() -> None:
    assert [row.path for row in load(environment={}).table() if not row.description] == []


def test_environment_overrides_file_and_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = config_file(tmp_path, "pipeline: pumps\nkafka:\n  bootstrap_servers: a:1\n  group_id: from-file\n")
    loaded = load(file, {"STREAM_AE_KAFKA__BOOTSTRAP_SERVERS": "b:2"})
    assert loaded.settings.kafka.bootstrap_servers == "b:2"
    assert loaded.settings.kafka.group_id == "from-file"
    origins = {row.path: row.origin for row in loaded.table()}
    assert origins["kafka.bootstrap_servers"] == "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"
    assert origins["pipeline"] == str(file)
    assert origins["topics.raw"] == "default"


def test_the_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    file = config_file(tmp_path, "pipeline: pumps\n")
    assert load(environment={"STREAM_AE_CONFIG": str(file)}).settings.pipeline == "pumps"


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("pipelin: x\n", "'pipelin'", "'pipeline'"),
        ("kafka:\n  bootstrap_server: x\n", "'kafka.bootstrap_server'", "'kafka.bootstrap_servers'"),
        ("kafak:\n  group_id: x\n", "'kafak'", "'kafka'"),
        ("batch:\n  max_record: 5\n", "'batch.max_record'", "'batch.max_records'"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_right_name(
    tmp_path: Path, text: str, wrong: str, right: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config_file(tmp_path, text), {})
    assert f"unknown setting {wrong}" in str(caught.value)
    assert f"did you mean {right}?" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("STREAM_AE_KAFKA__BOOTSTRAP_SERVER", "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_AE_KAFKA_BOOTSTRAP_SERVERS", "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS"),
        ("STREAM_AE_PIPLINE", "STREAM_AE_PIPELINE"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_right_name(name: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting {name} in the environment; did you mean {right}\\?"):
        load(environment={name: "x"})


def test_a_group_cannot_be_given_as_one_value() -> None:
    with pytest.raises(ConfigError, match="STREAM_AE_KAFKA"):
        load(environment={"STREAM_AE_KAFKA": "x"})


def test_a_value_that_does_not_fit_names_its_place_and_origin() -> None:
    with pytest.raises(ConfigError, match="batch.max_records from STREAM_AE_BATCH__MAX_RECORDS: .*'many'"):
        load(environment={"STREAM_AE_BATCH__MAX_RECORDS": "many"})


def test_topics_must_differ() -> None:
    with pytest.raises(ConfigError, match="used twice: raw"):
        load(environment={"STREAM_AE_TOPICS__CLEANED": "raw"})


def test_secrets_are_masked_in_the_table_and_in_errors() -> None:
    loaded = load(
        environment={"STREAM_AE_KAFKA__SASL_PASSWORD": "hunter2", "STREAM_AE_REDIS__URL": "redis://:hunter2@localhost"}
    )
    assert loaded.settings.kafka.sasl_password is not None
    assert loaded.settings.kafka.sasl_password.get_secret_value() == "hunter2"
    assert "hunter2" not in str(loaded.table())
    assert "hunter2" not in repr(loaded.settings)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "kafka: 5\n"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(config_file(tmp_path, text), {})


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "nowhere.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(config_file(tmp_path, "kafka: [unclosed"), {})
    assert "\n" not in str(caught.value)


def test_variables_of_tests_and_data_are_not_settings() -> None:
    load(environment={"STREAM_AE_DATA": "/x", "STREAM_AE_TEST_KAFKA": "y", "STREAM_AE_CACHE": "z"})
