import pytest

from stream_ae.errors import ConfigError
from stream_ae.kafka import driver
from stream_ae.settings import KafkaSettings


def installed(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if only these modules could be imported."""
    monkeypatch.setattr(driver, "find_spec", lambda name: object() if name in modules else None)


def test_auto_takes_confluent_where_it_is_installed() -> None:
    assert driver.chosen_driver(KafkaSettings()) == "confluent"


def test_auto_falls_back_to_kafka_python(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "kafka", "crc32c")
    assert driver.chosen_driver(KafkaSettings()) == "kafka-python"


def test_kafka_python_is_taken_when_asked_for() -> None:
    assert driver.chosen_driver(KafkaSettings(driver="kafka-python")) == "kafka-python"


def test_confluent_asked_for_but_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "kafka", "crc32c")
    with pytest.raises(ConfigError, match=r"pip install 'stream-ae\[fast\]'"):
        driver.chosen_driver(KafkaSettings(driver="confluent"))


@pytest.mark.parametrize("version", ["2.13.0", "2.15.0", "2.16.0"])
def test_a_confluent_that_cannot_batch_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    with pytest.raises(ConfigError, match=f"{version}.*2.16.1"):
        driver.chosen_driver(KafkaSettings(driver="confluent"))


@pytest.mark.parametrize("version", ["2.16.1", "2.16.1rc2", "2.17", "3.0.0.post1"])
def test_newer_confluents_are_accepted(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    assert driver.chosen_driver(KafkaSettings(driver="confluent")) == "confluent"


def test_kafka_python_without_crc32c_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "kafka")
    with pytest.raises(ConfigError, match="crc32c"):
        driver.chosen_driver(KafkaSettings(driver="kafka-python"))


def test_kafka_python_refuses_the_kip_848_protocol() -> None:
    with pytest.raises(ConfigError, match="KIP-848"):
        driver.open_source(KafkaSettings(driver="kafka-python", group_protocol="consumer"))
