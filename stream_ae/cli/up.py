"""`up`: the three servers on this machine, for a developer, until Ctrl-C."""

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import progress_console

if TYPE_CHECKING:
    from stream_ae.localdev.stack import Stack

LOOK_EVERY_S = 1.0


def up(
    folder: Annotated[
        Path | None, typer.Option(help="Keep the data here; by default they go when the servers do.")
    ] = None,
    topics: Annotated[bool, typer.Option(help="Create the four topics, 3 partitions each.")] = True,
) -> None:
    """Run a real Kafka, Valkey and MLflow on this machine's loopback until Ctrl-C.

    Prints their addresses as export lines for another terminal. Nothing outlives this command, even if it is killed.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _serve(folder.absolute(), topics)
        return
    with tempfile.TemporaryDirectory(prefix="stream-ae-up-") as scratch:
        _serve(Path(scratch), topics)


def _serve(folder: Path, topics: bool) -> None:
    from stream_ae.configuration import load
    from stream_ae.kafka.admin import TopicSpec, create_topics
    from stream_ae.localdev.stack import Stack

    stack = Stack(folder)
    try:
        with progress_console().status("starting Kafka, Valkey and MLflow (about 20 s)"):
            stack.start()
        overrides = stack.settings_overrides()
        effective = load(environment={**os.environ, **overrides}).settings
        if topics:
            create_topics(effective.kafka, [TopicSpec(name) for name in effective.topics.names()])
        for name, value in overrides.items():
            typer.echo(f"export {name}={value}")
        progress_console().print(f"\nMLflow: {stack.mlflow.address}/#/models?workflowType=machine_learning")
        progress_console().print("Paste the lines above into another terminal. Ctrl-C here ends the servers.")
        _watch(stack)
    finally:
        stack.stop()


def _watch(stack: "Stack") -> None:
    """Wait until interrupted; TransientError if a server ends by itself."""
    from stream_ae.clock import SystemClock
    from stream_ae.errors import TransientError

    clock, never = SystemClock(), threading.Event()
    while True:
        for server in stack.servers:
            if not server.running:
                raise TransientError(f"{server.name} ended by itself; look into {server.log}")
        clock.wait(never, LOOK_EVERY_S)
