"""One of our own commands as a child that cannot outlive this process."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stream_ae.errors import TransientError
from stream_ae.localdev import guard

GRACE_S = 10.0
LOG_LINES = 12


class Child:
    """`stream-ae ARGUMENTS` under a guard, its output in a log file. Use it as a context manager or call `stop`."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        guarded = [sys.executable, "-I", guard.__file__, str(os.getpid()), str(GRACE_S), str(log)]
        self._guard = subprocess.Popen(
            [*guarded, sys.executable, "-m", "stream_ae.cli", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # A terminal's Ctrl-C reaches only us; we stop the child in an orderly way.
            start_new_session=True,
        )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._guard.poll()

    def check_running(self) -> None:
        """Raises TransientError with the end of the log if it has ended."""
        if self.exit_code is not None:
            raise TransientError(f"{self.name} ended with exit code {self.exit_code}; {self.log_tail()}")

    def check_done(self, expected: int = 0) -> bool:
        """Whether it has ended with this exit code; TransientError with the end of the log if with another one."""
        if self.exit_code not in (None, expected):
            wanted = f", not {expected}" if expected else ""
            raise TransientError(f"{self.name} failed with exit code {self.exit_code}{wanted}; {self.log_tail()}")
        return self.exit_code == expected

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after a while; fine to call when it has ended already."""
        self._guard.terminate()
        try:
            self._guard.wait(GRACE_S + 5.0)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def log_tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "its last lines:\n" + "\n".join(text.splitlines()[-LOG_LINES:])
