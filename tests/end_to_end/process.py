"""`stream-ae worker` as the process that users run."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stream_ae.settings import Settings

END_TIMEOUT_S = 60.0


class WorkerProcess:
    """A worker of its own process, configured by a file; its standard error goes to another."""

    def __init__(self, settings: Settings, folder: Path, name: str, environment: Mapping[str, str] | None = None):
        self.log = folder / f"{name}.log"
        self.config = folder / f"{name}.yaml"
        self.config.write_text(yaml.safe_dump(as_file(settings, name)), encoding="utf-8")
        command = [sys.executable, "-m", "stream_ae.cli", "--config", str(self.config), "worker"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, env={**os.environ, **(environment or {})}
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end."""
        return self._process.wait(END_TIMEOUT_S)

    def said(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()

    def kill(self) -> None:
        """End it at once; fine when it has ended already."""
        self._process.kill()
        self._process.wait()


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
