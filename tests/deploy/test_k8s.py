"""deploy/k8s, without a cluster: what it says must be true of this code."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jobs.cron import cron_trigger
from stream_ae.cli.app import app
from stream_ae.configuration import load
from stream_ae.settings import ScheduleSettings, WorkerSettings

FILE = Path(__file__).parents[2] / "deploy" / "k8s" / "stream-ae.yaml"
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all(FILE.read_text()))
CRON_JOBS = [document for document in DOCUMENTS if document["kind"] == "CronJob"]


def _pods() -> dict[str, dict[str, Any]]:
    """The pods' specifications by what runs them."""
    found = {}
    for document in DOCUMENTS:
        spec = document.get("spec", {})
        inner = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in inner:
            found[document["metadata"]["name"]] = inner["template"]["spec"]
    return found


PODS = _pods()


def test_the_settings_in_the_config_map_are_settings(tmp_path: Path) -> None:
    (settings,) = (document["data"]["stream-ae.yaml"] for document in DOCUMENTS if document["kind"] == "ConfigMap")
    file = tmp_path / "stream-ae.yaml"
    file.write_text(settings)
    assert load(file, {}).settings.pipeline == "pumps"


@pytest.mark.parametrize("name", PODS)
def test_every_pod_runs_a_command_that_exists_on_the_mounted_settings(name: str) -> None:
    (container,) = PODS[name]["containers"]
    if "command" in container:
        *_, module = container["command"]
        assert find_spec(module)
    else:
        assert CliRunner().invoke(app, [*container["args"], "--help"]).exit_code == 0
    (variable,) = container["env"]
    assert variable["name"] == "STREAM_AE_CONFIG"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(variable["value"]).parent == Path(mounts["settings"])
    assert set(mounts) == {volume["name"] for volume in PODS[name]["volumes"]}


def test_workers_get_the_time_to_drain() -> None:
    assert PODS["stream-ae-worker"]["terminationGracePeriodSeconds"] > WorkerSettings().drain_timeout_s


@pytest.mark.parametrize("job", CRON_JOBS, ids=lambda job: str(job["metadata"]["name"]))
def test_jobs_run_at_times_that_there_are_one_at_a_time_and_are_not_repeated(job: dict[str, Any]) -> None:
    assert cron_trigger(ScheduleSettings(cron=job["spec"]["schedule"])).after(datetime(2026, 11, 28, tzinfo=UTC))
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
