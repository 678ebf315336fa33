"""`stream-ae worker` as a process that users run, in a fork of a process that has imported everything.

Without that, each start would spend five seconds of a core on imports. Whole processes, imports and all, are those of
the demo.
"""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import stream_ae.kafka.confluent.sink
import stream_ae.kafka.confluent.source
import stream_ae.worker.process  # noqa: F401  imported here so that forks have it
from stream_ae.cli import main as command_line

PR_SET_PDEATHSIG = 1
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.end_to_end.forked", "jobs.retrain"])


def run_worker(config: Path, log: Path, environment: Mapping[str, str]) -> None:
    """`stream-ae worker`."""
    become_a_process(log)
    os.environ.update(environment)
    sys.argv = ["stream-ae", "--config", str(config), "worker"]
    command_line()


def become_a_process(log: Path) -> None:
    """Its own log, no life after its parent's, none of a terminal's signals; SIGUSR1 writes its stacks to the log."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
    faulthandler.register(signal.SIGUSR1)
