"""What jobs have in common that run once and tell a scheduler by their exit code how it ended."""

import signal as signals
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir
from typing import Final, NoReturn

import typer

from stream_ae.configuration import load as load_settings
from stream_ae.errors import ConfigError
from stream_ae.settings import Settings
from stream_ae.telemetry import set_up_logging

TAG: Final = "stream_ae."
"""Before the names of the tags that jobs give to versions."""
RUN_KEY: Final = f"{TAG}run_key"

EXIT_CRASHED, EXIT_CONFIG, EXIT_AWAY, EXIT_INTERRUPTED = 1, 2, 7, 130


def software() -> str:
    """The release that a version was made by."""
    return f"stream-ae {version('stream-ae')}"


def no_room(error: OSError) -> str:
    """What to say of a file that cannot be written."""
    return f"a file cannot be written ({error}): make room in {gettempdir()}, or set TMPDIR to another folder"


def run_once(name: str, config: Path | None, run: Callable[[Settings], int]) -> NoReturn:
    """Run a job with the settings of `config` and end with its exit code; wrong settings are one line."""
    # A scheduler's SIGTERM is Ctrl-C: the lock is given back and the scratch folder goes.
    signals.signal(signals.SIGTERM, signals.default_int_handler)
    try:
        settings = load_settings(config).settings
        set_up_logging(settings.log.level)
        raise typer.Exit(run(settings))
    except ConfigError as error:
        typer.echo(f"{name}: error: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
