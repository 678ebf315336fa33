"""`models history` and `models diff` on a real Valkey and a real MLflow."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings

Run = Callable[..., str]
LONG_TAG = "stream_ae.gate.labelled_anomalies_found"


@pytest.fixture
def run(mlflow_uri: str, redis_url: str, unique: Callable[[str], str], model_folders: Sequence[Path]) -> Run:
    """The command on a pipeline with two versions, of which none was announced yet."""
    pipeline = unique("pump")
    store = MlflowStore(MlflowSettings(tracking_uri=mlflow_uri, timeout_s=60.0), pipeline)
    for number, folder in enumerate(model_folders, 1):
        tags = {"stream_ae.offsets": f"0:0-{number}00", "stream_ae.topic": "raw", LONG_TAG: "passed: 0.9"}
        store.register(folder, tags, {})
    environment = {
        "STREAM_AE_PIPELINE": pipeline,
        "STREAM_AE_MLFLOW__TRACKING_URI": mlflow_uri,
        "STREAM_AE_MLFLOW__TIMEOUT_S": "60",
        "STREAM_AE_REDIS__URL": redis_url,
        "COLUMNS": "200",
    }

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["models", *arguments], env=environment, catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return invoke


def test_history_says_what_was_announced_and_why_newest_first(run: Run) -> None:
    assert "nothing has been announced yet" in run("history")
    run("promote", "1")
    run("promote", "2")
    run("rollback")
    lines = run("history").splitlines()[1:]
    assert [line.split()[2] for line in lines] == ["1", "2", "1"]
    assert "rolled back to 1 by hand" in lines[0]
    assert len(run("history", "--limit", "1").splitlines()) == 2


def test_show_keeps_names_and_what_they_say_apart_however_long_they_are(run: Run) -> None:
    columns = {line.split("  ")[0]: line.split()[-1] for line in run("show", "1").splitlines()}
    assert columns["stream_ae.topic"] == "raw"
    assert LONG_TAG in columns


def test_diff_says_in_what_two_versions_differ_and_nothing_else(run: Run) -> None:
    said = run("diff", "1", "2")
    assert "stream_ae.offsets" in said
    assert "0:0-100" in said
    assert "0:0-200" in said
    assert "weights_sha256" in said
    assert "stream_ae.topic" not in said
    run("promote", "2")
    assert "the same" in run("diff", "2")
    with pytest.raises(ConfigError, match="no version '7'"):
        run("diff", "7")
