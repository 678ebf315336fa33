import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_ae.localdev import guard

# A server with a worker of its own that ignores SIGTERM; prints both process ids.
SERVER = """
import os, signal, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
print(os.getpid(), worker.pid, flush=True)
signal.pause()
"""

# An owner that starts a guarded server from a thread that ends at once, then waits to be killed.
OWNER = """
import subprocess, sys, threading, os, signal
def start():
    global guard
    guard = subprocess.Popen([sys.executable, sys.argv[1], str(os.getpid()), "5", sys.argv[2], *sys.argv[3:]],
                             stdout=subprocess.PIPE, start_new_session=True, text=True)
    guard.stdout.readline()
thread = threading.Thread(target=start)
thread.start(); thread.join()
print(guard.pid, flush=True)
signal.pause()
"""


class Guarded:
    """An owner process and, watched by pidfd, the guard, the server and the server's worker."""

    def __init__(self, log: Path) -> None:
        log.touch()
        command = [sys.executable, "-c", OWNER, guard.__file__, str(log), sys.executable, "-c", SERVER]
        self.owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.owner.stdout is not None
        self.guard_pid = int(self.owner.stdout.readline())
        self.server_pid, self.worker_pid = _printed_pids(log)
        self.watches = [os.pidfd_open(pid) for pid in (self.guard_pid, self.server_pid, self.worker_pid)]

    def all_ended(self) -> bool:
        """Wait for the end of all three; false if one still lives after 20 s."""
        return all(select.select([watch], [], [], 20.0)[0] for watch in self.watches)

    def close(self) -> None:
        self.owner.kill()
        self.owner.wait()
        if self.owner.stdout is not None:
            self.owner.stdout.close()
        for watch in self.watches:
            os.close(watch)


def _printed_pids(log: Path) -> tuple[int, int]:
    """The server's and its worker's process ids, as soon as the server has printed them into the log."""
    with subprocess.Popen(["tail", "-f", "-c", "+1", log], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        server_pid, worker_pid = tail.stdout.readline().split()
        tail.kill()
    return int(server_pid), int(worker_pid)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path / "server.log")
    yield guarded
    guarded.close()


def test_nothing_survives_an_owner_that_is_killed(guarded: Guarded) -> None:
    guarded.owner.kill()
    assert guarded.all_ended()


def test_nothing_survives_an_owner_that_is_killed_while_the_server_is_paused(guarded: Guarded) -> None:
    os.killpg(guarded.server_pid, signal.SIGSTOP)
    guarded.owner.kill()
    assert guarded.all_ended()


def test_an_orderly_stop_takes_workers_along_that_ignore_it(guarded: Guarded) -> None:
    os.kill(guarded.guard_pid, signal.SIGTERM)
    assert guarded.all_ended()


def test_the_server_dies_with_a_guard_that_is_killed(guarded: Guarded) -> None:
    os.kill(guarded.guard_pid, signal.SIGKILL)
    assert select.select([guarded.watches[1]], [], [], 20.0)[0]
    os.kill(guarded.worker_pid, signal.SIGKILL)


def test_workers_end_with_a_server_that_ends_by_itself(guarded: Guarded) -> None:
    os.kill(guarded.server_pid, signal.SIGKILL)
    assert guarded.all_ended()


def test_a_guard_whose_owner_is_not_its_parent_starts_nothing(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    run = [sys.executable, guard.__file__, "1", "5", str(log), "true"]
    assert subprocess.run(run, check=False).returncode == 1
    assert not log.exists()
