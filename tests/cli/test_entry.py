"""The command line as a process: exit codes, one-line errors, and a help that is quick."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_ae.cli import entry
from stream_ae.cli.app import app
from stream_ae.errors import ConfigError, InvariantError, TransientError

RUNNING = ("demo", "demo-images", "up", "replay", "topics", "worker", "retrain")
COMMANDS = (*RUNNING, "train", "models", "score", "denoise", "status", "tail", "audit", "check-config")
HEAVY = ("torch", "mlflow", "kafka", "confluent_kafka", "redis", "pandas", "matplotlib", "pydantic")


def stream_ae(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_ae.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(environment or {})},
        check=False,
    )


def test_help_lists_every_command_under_its_group() -> None:
    shown = stream_ae("--help")
    assert shown.returncode == 0
    for group in ("Try it", "Run it", "Models", "Look at it"):
        assert group in shown.stdout
    for command in COMMANDS:
        assert command in shown.stdout
    assert "Exit codes" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], prog_name="stream-ae")
    assert shown.exit_code == 0
    assert f"Usage: stream-ae {command}" in shown.output


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, stream_ae.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_version_is_the_package_s() -> None:
    assert stream_ae("--version").stdout.startswith("stream-ae 0.")


def test_an_unknown_command_exits_with_2_and_names_the_nearest() -> None:
    failed = stream_ae("chek-config")
    assert failed.returncode == 2
    assert "Did you mean 'check-config'?" in failed.stderr


def test_a_wrong_setting_is_one_line_and_exit_2() -> None:
    failed = stream_ae("check-config", environment={"STREAM_AE_KAFKA__BOOTSTRAP_SERVER": "x:1"})
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert failed.stderr.startswith("stream-ae: error: unknown setting STREAM_AE_KAFKA__BOOTSTRAP_SERVER ")
    assert "did you mean STREAM_AE_KAFKA__BOOTSTRAP_SERVERS?" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_check_config_masks_secrets_and_names_origins(tmp_path: Path) -> None:
    file = tmp_path / "stream-ae.yaml"
    file.write_text("pipeline: pumps\n")
    shown = stream_ae(
        "--config", str(file), "check-config", "--json", environment={"STREAM_AE_KAFKA__SASL_PASSWORD": "hunter2"}
    )
    rows = {row["path"]: row for row in json.loads(shown.stdout)}
    assert rows["pipeline"]["origin"] == str(file)
    assert rows["kafka.sasl_password"]["origin"] == "STREAM_AE_KAFKA__SASL_PASSWORD"
    assert "hunter2" not in shown.stdout
    table = stream_ae("--config", str(file), "check-config", "--changed").stdout
    assert "pumps" in table
    assert "kafka.group_id" not in table


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "stream_ae.cli", "check-config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("kafka.start is 'x'"), 2, "stream-ae: error: kafka.start is 'x'\n"),
        (TransientError("Redis is away"), 1, "stream-ae: error: Redis is away\n"),
    ],
)
def test_expected_errors_are_one_line(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error, monkeypatch) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [InvariantError("cannot be"), ZeroDivisionError("by zero")])
def test_a_bug_shows_its_traceback_and_asks_for_a_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error, monkeypatch) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "please report it" in said


def exit_code_of(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    def failing(prog_name: str) -> None:
        raise error

    monkeypatch.setattr(entry, "app", failing)
    with pytest.raises(SystemExit) as exited:
        entry.main()
    return exited.value.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_130_and_without_a_traceback(number: signal.Signals) -> None:
    code = (
        "import os, signal, typer\n"
        "from stream_ae.cli import app, entry\n"
        # Whoever runs the tests may have switched them off (nohup, a background job), and a child inherits that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"entry.app = typer.Typer()\n"
        f"@entry.app.command()\n"
        f"def end() -> None: os.kill(os.getpid(), {int(number)})\n"
        "entry.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr == ""
