"""Runs one server for an owner and lets nothing of it outlive that owner, not even after `kill -9`.

Started by path (`python guard.py OWNER_PID GRACE_S LOG COMMAND...`), standard library only: it costs 30 ms and 10 MB.
It leads a session of its own (a terminal's Ctrl-C does not reach it); the server leads a process group of its own,
so that the server and its workers can be stopped, paused and killed together while the guard goes on watching.

The owner is watched by pidfd: a parent-death signal is tied to the *thread* that forked, and a pipe's other end may be
inherited by somebody else's child. The server in turn gets a parent-death signal from the guard's only thread, for the
day somebody kills the guard. Linux only, as DESIGN's embedded servers are.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
# What a shell answers when a command cannot be run.
COMMAND_NOT_RUN = 127


class _Stop(Exception):  # noqa: N818 - a request, not an error
    """The owner asked for an orderly stop."""


def main(arguments: Sequence[str]) -> int:
    """Run the command until it ends (its exit code), SIGTERM comes (orderly stop) or the owner is gone (kill)."""
    owner_pid, grace_s, log = int(arguments[0]), float(arguments[1]), Path(arguments[2])
    owner = os.pidfd_open(owner_pid)
    if os.getppid() != owner_pid:
        return 1
    signal.signal(signal.SIGTERM, _on_term)
    server = _started(arguments[3:], log)
    if server is None:
        return COMMAND_NOT_RUN
    try:
        print(server.pid, flush=True)
        _watch(owner, server)
    except _Stop:
        _stop(server, owner, grace_s)
    finally:
        _kill_group(server)
    return server.wait()


def _started(command: Sequence[str], log: Path) -> subprocess.Popen[bytes] | None:
    """The server, its output in `log`; None, and the reason in `log`, if there is no such command."""
    with log.open("ab") as sink:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            sink.write(f"{error}\n".encode())
            return None


def _on_term(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stop


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(owner: int, server: subprocess.Popen[bytes]) -> None:
    """Return when the owner or the server has ended."""
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    poll.register(os.pidfd_open(server.pid), select.POLLIN)
    poll.poll()


def _stop(server: subprocess.Popen[bytes], owner: int, grace_s: float) -> None:
    """Ask the whole group to end, and give it `grace_s` as long as the owner lives."""
    _signal_group(server, signal.SIGCONT)
    _signal_group(server, signal.SIGTERM)
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    poll.register(os.pidfd_open(server.pid), select.POLLIN)
    poll.poll(grace_s * 1000)


def _kill_group(server: subprocess.Popen[bytes]) -> None:
    _signal_group(server, signal.SIGKILL)


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        # The whole group has ended: what was asked for.
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
