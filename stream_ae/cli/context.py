"""What the commands share: settings from the global options, and the two consoles."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # pydantic, which `--help` need not wait for
    from rich.console import Console
    from rich.progress import Progress

    from stream_ae.configuration import Loaded
    from stream_ae.settings import Settings

PIPE_WIDTH = 240


@dataclass
class Options:
    """The global options; settings are read when a command first asks for them."""

    config: Path | None = None

    @cached_property
    def loaded(self) -> "Loaded":
        from stream_ae.configuration import load

        return load(self.config)


def options(context: typer.Context) -> Options:
    """The global options of this invocation."""
    found = context.find_object(Options)
    return Options() if found is None else found


def settings(context: typer.Context) -> "Settings":
    """The effective settings; logging is set up as they say."""
    from stream_ae.telemetry import set_up_logging

    effective = options(context).loaded.settings
    set_up_logging(effective.log.level)
    return effective


def console() -> "Console":
    """Standard output: results."""
    from rich.console import Console

    # Piped output is for grep: wide lines rather than wrapped ones.
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def progress_console() -> "Console":
    """Standard error: what is going on, out of the way of results that are piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def saying(bars: "Progress") -> "Callable[[str], None]":
    """Sentences as lines above the bars, just as they are."""
    return partial(bars.console.print, soft_wrap=True, markup=False)


def progress_bars() -> "Progress":
    """Progress on standard error : what, bar, how many, how long; nothing where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = progress_console()
    return Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
