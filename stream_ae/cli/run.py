"""`worker`, `retrain`, `adapt` and `monitor`: the processes that a pipeline consists of."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import options, progress_bars, progress_console, saying, settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from jobs import retrain as retraining
    from jobs.summary import Summary
    from stream_ae.training import Epoch


class Promote(StrEnum):
    """Whether what was trained comes into service."""

    GATE = "gate"
    ALWAYS = "always"
    NEVER = "never"


def worker(context: typer.Context) -> None:
    """Answer raw records with the model in service until SIGTERM or Ctrl-C, then drain and commit.

    Start as many as there are partitions; Kafka shares the work among them. Models are replaced while running.
    /healthz, /readyz and /metrics answer at worker.http_host:http_port.

    Exit codes: 0 drained, 1 failed, 2 configuration, 75 another process has this worker's place, Kafka or the device
    will not go on with it, or it made no progress for worker.stall_exit_s: start it again.
    """
    # A wrong setting is said at once; what is imported here takes seconds.
    effective = settings(context)
    from stream_ae.worker.process import run_worker

    raise typer.Exit(run_worker(effective))


def retrain(
    context: typer.Context,
    promote: Annotated[
        Promote | None, typer.Option(help="gate: if nothing is worse; never: register only. Default: retrain.promote.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and compare; register nothing.")] = False,
    offsets: Annotated[
        str | None,
        typer.Option(metavar="SPANS", help="Train on exactly these: partition:first-end, as 0:17-900,1:0-450."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Train this one again: its records, settings and seed.")
    ] = None,
) -> None:
    """Train on the newest span of the raw topic; register, promote if it is no worse, roll out, and watch.

    One shot: run it by hand, from cron, or leave it to stream-ae schedule. Settings: retrain.*, training.*

    Exit codes: 0 promoted or already done, 2 configuration, 3 the gate kept the champion, 4 the data cannot be used,
    5 another retraining is running, 6 the workers did not come up on it or not stay healthy and the champion before is
    back, 7 a server is away or a disk is full, 130 interrupted.
    """
    from jobs.retrain import run
    from jobs.training_data import Asked

    effective = settings(context)
    if promote is not None:
        retraining = effective.retrain.model_copy(update={"promote": promote.value})
        effective = effective.model_copy(update={"retrain": retraining})
    with progress_bars() as bars:
        shown = _shown(bars)
        code = run(effective, shown, dry_run, Asked(offsets, like))
    summary_lines(shown.summary, progress_console())
    raise typer.Exit(code)


def summary_lines(summary: "Summary", out: "Console") -> None:
    """What came of it: a table on a terminal, plain lines elsewhere."""
    from rich.table import Table
    from rich.text import Text

    rows = list(summary.rows())
    if not out.is_terminal:
        for name, text in rows:
            out.print(f"{name}: {text}", soft_wrap=True, markup=False)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, text in rows:
        style = "red" if text.startswith("failed") else "green" if text.startswith("passed") else ""
        table.add_row(Text(name, style="bold"), Text(text, style=style))
    out.print(table)


def adapt(context: typer.Context) -> None:
    """Learn what is a stream's own (its threshold) from what it lately sent; workers take it up while running.

    Needs no labels. One shot: run it by hand, from cron, or set schedule.adapt_cron for stream-ae schedule.

    Exit codes: 0 published or nothing new to do, 2 configuration, 4 there is no model or no stream with enough rows,
    5 another learning is running, 7 a server is away, 130 interrupted.
    """
    from jobs.adapt import Progress, run

    effective = settings(context)
    with progress_bars() as bars:
        collecting = bars.add_task("collecting", total=None)
        progress = Progress(
            say=saying(bars),
            collected=lambda done, total: bars.update(collecting, total=total, completed=done),
        )
        raise typer.Exit(run(effective, progress))


def schedule(
    context: typer.Context,
    history: Annotated[
        bool, typer.Option("--history", help="Print the newest runs and how they ended, and exit.")
    ] = False,
) -> None:
    """Retrain on schedule.cron and learn profiles on schedule.adapt_cron, until SIGTERM or Ctrl-C.

    The jobs are child processes with a time limit, schedule.job_timeout_s. What was missed is made up for once.
    """
    effective = settings(context)
    from jobs.schedule import newest_runs, serve

    if history:
        typer.echo(newest_runs(effective))
        return
    raise typer.Exit(serve(effective, options(context).config))


def monitor(context: typer.Context) -> None:
    """Write to MLflow how every deployed version does, until SIGTERM or Ctrl-C; retrain where scores or inputs drift.

    One is in service, others wait until it is gone. monitor.retrain_on_drift is off unless set.
    """
    effective = settings(context)
    from jobs.monitor import run
    from stream_ae.worker.stopping import stop_on_signals

    with stop_on_signals() as stop:
        raise typer.Exit(run(effective, options(context).config, stop))


def _shown(bars: "Progress") -> "retraining.Progress":
    """Collecting and training as bars, everything else as lines above them."""
    from jobs import retrain as retraining

    collecting = bars.add_task("collecting", total=None)
    training = bars.add_task("training", total=None, visible=False)

    def epoch(done: "Epoch") -> None:
        seen = f"training, validation loss {done.validation_loss:.4g}"
        bars.update(training, visible=True, total=done.of, completed=done.number, description=seen)

    return retraining.Progress(
        say=saying(bars),
        collected=lambda done, total: bars.update(collecting, total=total, completed=done),
        epoch=epoch,
    )
