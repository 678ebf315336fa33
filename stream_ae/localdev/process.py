"""One server process that dies with its owner, answers before it is used, and can be broken on purpose."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from stream_ae.clock import Clock, Deadline, SystemClock
from stream_ae.errors import ConfigError, InvariantError, TransientError
from stream_ae.localdev import guard

LOOPBACK = "127.0.0.1"
ASK_EVERY_S = 0.05
GRACE_S = 10.0
# Below the kernel's range for outgoing connections (32768 on): a client that keeps knocking at a server that is down
# can otherwise be given that very port as its own, connect to itself, and keep the server from coming back.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A loopback port that nobody listens on; the server that asked for it takes it at once."""
    choose = random.SystemRandom()
    for _ in range(200):
        port = choose.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
    raise TransientError(f"no free port on {LOOPBACK} between {PORTS.start} and {PORTS.stop}: end what listens there")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server and how to know that it answers.

    answers:  asks the server a real question; anything it raises or a false answer means 'not yet'.
    prepare:  run before the first start (format a disk); may raise.
    """

    command: Sequence[str]
    answers: Callable[[], bool]
    start_timeout_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None


class Server:
    """A server in a folder of its own, at an address that stays the same over restarts.

    Use it as a context manager. `kill`, `pause`, `resume` and `restart` break it the way the world does; data stays in
    the folder, which belongs to the caller. Whatever happens to this process, the server ends with it (`guard`).
    """

    def __init__(self, name: str, address: str, folder: Path, launch: Launch) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.log = folder / f"{name.lower()}.log"
        self._launch = launch
        self._prepared = False
        self._clock: Clock = SystemClock()
        self._guard: subprocess.Popen[str] | None = None
        self._pid = 0
        self._cancelled = threading.Event()

    def start(self) -> None:
        """Start and wait until the server answers; TransientError with the end of its log if it does not.

        Raises ConfigError if the folder cannot be written.
        """
        if self._guard is not None:
            raise InvariantError(f"{self.name} is started already")
        self._prepare()
        self._guard = self._spawned_guard()
        try:
            self._pid = self._server_pid(self._guard)
            self._await_answer(self._guard)
        except BaseException:
            self.kill()
            raise

    def cancel(self) -> None:
        """Make a `start` that waits in another thread give up; no later one succeeds until `stop`."""
        self._cancelled.set()

    def stop(self) -> None:
        """Ask the server to end, insist after a while; nothing is left running. Fine to call twice."""
        self._cancelled.clear()
        if self._guard is None:
            return
        self._guard.terminate()
        try:
            self._guard.wait(GRACE_S + 5.0)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End the server and all its workers at once, as a crash would."""
        if self._guard is None:
            return
        self._signal(signal.SIGKILL)
        self._guard.kill()
        self._forget()

    def pause(self) -> None:
        """Freeze the server: its port stays open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Bring the server back at the same address with the same data; it may be running, paused or killed."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Make the folder ready, once."""
        if self._prepared:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._launch.prepare is not None:
                self._launch.prepare()
        except OSError as error:
            raise ConfigError(f"{self.name} cannot use {self.folder}: {error}; choose another folder") from error
        self._prepared = True

    def _spawned_guard(self) -> subprocess.Popen[str]:
        # -I: neither PYTHONPATH nor the user's site-packages may change what the guard is.
        guarded = [sys.executable, "-I", guard.__file__, str(os.getpid()), str(GRACE_S), str(self.log)]
        return subprocess.Popen(
            [*guarded, *self._launch.command],
            cwd=self.folder,
            env={**os.environ, **self._launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def _server_pid(self, started: subprocess.Popen[str]) -> int:
        line = started.stdout.readline() if started.stdout is not None else ""
        if not line.strip():
            started.wait()
            raise TransientError(f"{self.name} could not be started; {self._log_tail()}")
        return int(line)

    def _await_answer(self, started: subprocess.Popen[str]) -> None:
        deadline = Deadline.after(self._clock, self._launch.start_timeout_s)
        while not self._answers():
            if started.poll() is not None:
                raise TransientError(f"{self.name} ended with code {started.returncode} at start; {self._log_tail()}")
            if deadline.passed():
                limit_s = self._launch.start_timeout_s
                raise TransientError(
                    f"{self.name} did not answer within {limit_s:g} s of its start; {self._log_tail()}"
                )
            if self._clock.wait(self._cancelled, ASK_EVERY_S):
                raise TransientError(f"{self.name} was stopped while it started")

    def _answers(self) -> bool:
        try:
            return self._launch.answers()
        except Exception:  # noqa: BLE001 - each client library has its own words for 'not yet'
            return False

    def _log_tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = text.splitlines()[-15:]
        return f"the end of {self.log}:\n" + "\n".join(lines) if lines else f"{self.log} is empty"

    def _signal(self, number: signal.Signals) -> None:
        if self._guard is None:
            raise InvariantError(f"{self.name} is not running")
        if self._pid and self._guard.poll() is None:
            os.killpg(self._pid, number)

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.wait()
            if self._guard.stdout is not None:
                self._guard.stdout.close()
        self._guard = None
        self._pid = 0
