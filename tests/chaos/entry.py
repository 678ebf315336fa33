"""What the processes of a round run: the very commands that users run, in a fork of a process that has imported them.

Without that, each start would spend five seconds of a core on imports, and a round is mostly starts.
"""

import ctypes
import faulthandler
import os
import signal
import sys
from pathlib import Path

import typer

import stream_ae.kafka.confluent.sink
import stream_ae.kafka.confluent.source
import stream_ae.worker.process  # noqa: F401  imported here so that forks have it
from jobs import retrain
from stream_ae.cli import main as command_line
from tests.chaos.fatal import Step, deadly

PR_SET_PDEATHSIG = 1
# Ports are opened by name in these.
WORKER_MODULES = [module for name, module in sys.modules.items() if name.startswith("stream_ae.worker.")]


def run_worker(config: Path, log: Path, step: Step | None) -> None:
    """`stream-ae worker`."""
    _become_a_process(log)
    sys.argv = ["stream-ae", "--config", str(config), "worker"]
    with deadly(WORKER_MODULES, step):
        command_line()


def run_retrain(config: Path, log: Path, step: Step | None) -> None:
    """`python -m jobs.retrain`."""
    _become_a_process(log)
    sys.argv = ["retrain", "--config", str(config)]
    with deadly([retrain], step):
        typer.run(retrain.main)


def _become_a_process(log: Path) -> None:
    """Its own log, no life after its parent's, none of a terminal's signals; SIGUSR1 writes its stacks to the log."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
    faulthandler.register(signal.SIGUSR1)
