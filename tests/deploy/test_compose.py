"""deploy/compose.yaml, without an engine: what it says must be true of this code."""

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from stream_ae.cli.app import app
from stream_ae.configuration import load
from stream_ae.localdev.kafka import KAFKA
from stream_ae.settings import WorkerSettings

COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "stream-ae"}
ONE_SHOTS = {name: service for name, service in OURS.items() if service.get("restart") == "no"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_a_service_is_one_that_exists(name: str) -> None:
    environment = {key: str(value) for key, value in OURS[name]["environment"].items()}
    assert set(load(None, environment).origins.values()) == set(environment)


@pytest.mark.parametrize("name", OURS)
def test_every_service_runs_a_command_that_exists(name: str) -> None:
    match OURS[name].get("entrypoint"):
        case ["python", "-m", module]:
            assert find_spec(module)
        case None:
            # An unknown command or option fails before --help is looked at.
            result = CliRunner().invoke(app, [*OURS[name].get("command", ["worker"]), "--help"])
            assert result.exit_code == 0, result.output
        case other:
            pytest.fail(f"unexpected entrypoint {other}")


@pytest.mark.parametrize("name", OURS)
def test_our_services_find_the_servers_of_the_same_file(name: str) -> None:
    settings = load(None, {key: str(value) for key, value in OURS[name]["environment"].items()}).settings
    host, port = settings.kafka.bootstrap_servers.split(":")
    assert f"//{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.redis.url.get_secret_value().startswith("redis://valkey:6379")
    assert settings.mlflow.tracking_uri == "http://mlflow:5000"
    assert "mlflow:5000" in ",".join(SERVICES["mlflow"]["command"])
    assert {host, "valkey", "mlflow"} <= set(SERVICES)


def test_ports_are_published_on_the_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_one_shots_have_no_health_check_to_fail() -> None:
    assert set(ONE_SHOTS) == {"setup", "retrain", "replay", "replay-faults"}
    assert all(service["healthcheck"] == {"disable": True} for service in ONE_SHOTS.values())


def test_two_workers_get_the_time_to_drain() -> None:
    worker = OURS["worker"]
    assert worker["deploy"]["replicas"] == 2
    grace = timedelta(seconds=int(worker["stop_grace_period"].removesuffix("s")))
    assert grace > timedelta(seconds=WorkerSettings().drain_timeout_s)


def test_compose_and_demo_run_the_same_kafka() -> None:
    _, version = SERVICES["kafka"]["image"].split(":")
    assert f":{version}" in KAFKA


def test_volumes_that_are_mounted_are_declared() -> None:
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])
