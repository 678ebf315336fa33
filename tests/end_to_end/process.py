"""`stream-ae worker` as the process that users run."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import yaml

from stream_ae.settings import Settings
from tests.end_to_end import forked
from tests.end_to_end.forked import FORKS

END_TIMEOUT_S = 60.0


class WorkerProcess:
    """A worker of its own process, configured by a file; what it says goes to another."""

    def __init__(self, settings: Settings, folder: Path, name: str, environment: Mapping[str, str] | None = None):
        self.log = folder / f"{name}.log"
        self.config = folder / f"{name}.yaml"
        self.config.write_text(yaml.safe_dump(as_file(settings, name)), encoding="utf-8")
        self._process: ForkServerProcess = FORKS.Process(
            target=forked.run_worker, args=(self.config, self.log, dict(environment or {}))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        """Wait for its end."""
        self._process.join(END_TIMEOUT_S)
        code = self._process.exitcode
        assert code is not None, f"it did not end within {END_TIMEOUT_S:g} s; see {self.log}"
        return code

    def said(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()

    def kill(self) -> None:
        """End it at once; fine when it has ended already."""
        self._process.kill()
        self._process.join()


def as_file(settings: Settings, name: str) -> dict[str, Any]:
    """The settings as one writes them, with the secret that a dump would mask."""
    data = settings.model_dump(mode="json")
    data["redis"]["url"] = settings.redis.url.get_secret_value()
    data["worker"]["name"] = name
    return data


def ready(address: str) -> tuple[int, str]:
    """Status and text of /readyz."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def stream_ae(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "stream_ae.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
