"""How the demo looks in a terminal: steps as lines, the one under way with a spinner or a bar."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from stream_ae.clock import Clock


class Step:
    """The step under way; `done` is the line that stays when it is over."""

    def __init__(self, progress: Progress, task: TaskID, doing: str) -> None:
        self._progress = progress
        self._task = task
        self.done = doing

    def show(self, text: str, completed: int | None = None) -> None:
        self._progress.update(self._task, description=text, completed=completed)


class Screen:
    """Prints a tick and the time for each step that is done."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._clock = clock

    @contextmanager
    def step(self, doing: str, total: int | None = None) -> Iterator[Step]:
        """A step; its line is printed only if it ends well."""
        began_s = self._clock.monotonic_s()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            step = Step(progress, progress.add_task(doing, total=total), doing)
            yield step
        took_s = self._clock.monotonic_s() - began_s
        self.console.print(f"[green]✓[/green] {step.done} [dim]({took_s:.1f} s)[/dim]")
