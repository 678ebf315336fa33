"""The workers of a round, each a process, and the supervisor that a deployment has."""

import os
import signal
import threading
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from stream_ae.settings import Settings
from tests.chaos import entry
from tests.chaos.fatal import Step
from tests.end_to_end.forked import FORKS
from tests.end_to_end.process import as_file
from tests.end_to_end.world import CLOCK, with_changes

END_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2
STACKS_WRITTEN_WITHIN_S = 1.0


class Member:
    """One worker process."""

    def __init__(self, settings: Settings, folder: Path, name: str, step: Step | None = None) -> None:
        self.name = name
        self.told_to_leave = False
        self.log = folder / f"{name}.log"
        config = written(with_changes(settings, {"worker": {"cache_dir": folder / f"cache-{name}"}}), folder, name)
        self.process: ForkServerProcess = FORKS.Process(target=entry.run_worker, args=(config, self.log, step))
        self.process.start()

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns; fine when it is gone already."""
        self.process.kill()
        self.process.join()

    def exit_code(self) -> int:
        """Wait for its end."""
        self.process.join(END_TIMEOUT_S)
        code = self.process.exitcode
        assert code is not None, f"{self.name} did not end within {END_TIMEOUT_S:g} s; see {self.log}"
        return code


class Fleet:
    """Starts workers; one that ends with an error is started again, as every supervisor does.

    One that was killed or told to stop stays away: whether somebody replaces it is the fault's own affair.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.members: list[Member] = []
        self.restarts: list[str] = []
        self._settings = settings
        self._folder = folder
        self._started = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")

    def start(self, step: Step | None = None) -> Member:
        """One worker more."""
        with self._lock:
            member = Member(self._settings, self._folder, f"w{self._started}", step)
            self._started += 1
            self.members.append(member)
        return member

    def kill(self, member: Member) -> None:
        self._release(member)
        member.kill()

    def dismiss(self, member: Member) -> None:
        """SIGTERM; returns when it has drained and left."""
        member.told_to_leave = True
        member.send(signal.SIGTERM)
        code = member.exit_code()
        self._release(member)
        assert code == 0, f"{member.name} was told to stop and exited with {code}; see {member.log}"

    def __enter__(self) -> Self:
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._supervisor.join()
        if error is not None:
            self._show_stacks()
        for member in self.members:
            member.kill()

    def _show_stacks(self) -> None:
        """Where the workers are when a wait has failed, to their logs."""
        for member in self.members:
            if member.process.is_alive():
                member.send(signal.SIGUSR1)
        CLOCK.wait(threading.Event(), STACKS_WRITTEN_WITHIN_S)

    def _release(self, member: Member) -> None:
        with self._lock:
            self.members.remove(member)

    def _supervise(self) -> None:
        while not CLOCK.wait(self._stop, LOOK_EVERY_S):
            with self._lock:
                ended = [m for m in self.members if (m.process.exitcode or 0) != 0 and not m.told_to_leave]
                for member in ended:
                    self.members.remove(member)
                    self.restarts.append(f"{member.name} exited with {member.process.exitcode}")
            for _ in ended:
                self.start()


def written(settings: Settings, folder: Path, name: str) -> Path:
    """A configuration file of these settings."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(as_file(settings, name)), encoding="utf-8")
    return path
