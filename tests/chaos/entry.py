"""What the processes of a round run: the very commands that users run, and those that are made to die at a step."""

import sys
from pathlib import Path

import typer

from jobs import retrain
from tests.chaos.fatal import Step, deadly
from tests.end_to_end import forked

# Ports are opened by name in these.
WORKER_MODULES = [module for name, module in sys.modules.items() if name.startswith("stream_ae.worker.")]


def run_worker(config: Path, log: Path, step: Step | None) -> None:
    """`stream-ae worker`."""
    with deadly(WORKER_MODULES, step):
        forked.run_worker(config, log, {})


def run_retrain(config: Path, log: Path, step: Step | None) -> None:
    """`python -m jobs.retrain`."""
    forked.become_a_process(log)
    sys.argv = ["retrain", "--config", str(config)]
    with deadly([retrain], step):
        typer.run(retrain.main)
