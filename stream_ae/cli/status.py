"""`status`: workers, versions, lag, in one look or continuously."""

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import console, settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stream_ae.ports import Desired, JobHistory, JobRun, ModelSignal, ModelStore
    from stream_ae.settings import Settings
    from stream_ae.status import ShadowStatus, WorkerStatus

WATCH_EVERY_S = 1.0
JOB_RUNS = 3


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything `status` shows. A server that did not answer is in `problems`, its part is empty.

    lag:  records not yet committed, by partition of the raw topic.
    jobs: the newest runs of scheduled jobs, newest first.
    workers_read: False where Redis did not tell, so that no worker may be known though some are running.
    """

    pipeline: str
    workers: "tuple[WorkerStatus, ...]"
    desired: "Desired | None"
    champion: str
    lag: dict[str, int]
    problems: tuple[str, ...]
    jobs: "tuple[JobRun, ...]" = ()
    workers_read: bool = True


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the workers, the versions they run and how far they are behind; exit 1 if something is wrong."""
    from stream_ae.clock import SystemClock
    from stream_ae.registry.job_history import RedisJobHistory
    from stream_ae.registry.signal import RedisSignal
    from stream_ae.registry.store import MlflowStore

    effective = settings(context)
    clock = SystemClock()
    signal = RedisSignal(effective.redis, effective.pipeline, clock)
    asked = (
        signal,
        MlflowStore(effective.mlflow, effective.pipeline),
        RedisJobHistory(effective.redis, effective.pipeline),
    )
    try:
        picture = take_picture(effective, *asked)
        if as_json:
            import orjson

            typer.echo(orjson.dumps(asdict(picture), option=orjson.OPT_INDENT_2).decode())
        elif watch:
            _watch(effective, *asked)
        else:
            console().print(drawn(picture, clock.wall_ms()))
    finally:
        signal.close()
        asked[-1].close()
    raise typer.Exit(1 if picture.problems or any(worker.problems for worker in picture.workers) else 0)


def take_picture(effective: "Settings", signal: "ModelSignal", store: "ModelStore", history: "JobHistory") -> Picture:
    """Ask Redis, MLflow and Kafka; each may be away without hiding the others."""
    from stream_ae.errors import StreamAEError
    from stream_ae.kafka.admin import group_lag

    problems: list[str] = []
    workers: list[WorkerStatus] = []
    desired = None
    champion = ""
    lag: dict[str, int] = {}
    runs: list[JobRun] = []
    workers_read = True
    try:
        workers, desired, runs = signal.workers(), signal.desired(), history.runs(JOB_RUNS)
    except StreamAEError as error:
        workers_read = False
        problems.append(str(error))
    try:
        found = store.champion()
        champion = "" if found is None else f"{found.name}/{found.version}"
    except StreamAEError as error:
        problems.append(str(error))
    try:
        by_partition = group_lag(effective.kafka, effective.topics.raw)
        lag = {f"{partition.topic}/{partition.number}": behind for partition, behind in sorted(by_partition.items())}
    except StreamAEError as error:
        problems.append(str(error))
    return Picture(
        effective.pipeline, tuple(workers), desired, champion, lag, tuple(problems), tuple(runs), workers_read
    )


def drawn(picture: Picture, now_ms: int) -> "RenderableType":
    """The picture as tables for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from jobs.history import told

    desired = picture.desired
    wanted = "-" if desired is None else f"{desired.model.name}/{desired.model.version}"
    head = Text.assemble(("pipeline ", "dim"), picture.pipeline, ("   champion ", "dim"), picture.champion or "-")
    head.append_text(Text.assemble(("   desired ", "dim"), wanted))
    if desired is not None and desired.reason:
        head.append(f" ({desired.reason})", "dim")
    behind = str(sum(picture.lag.values())) if picture.lag else "unknown"
    per_partition = ", ".join(f"{name}: {count}" for name, count in picture.lag.items())
    lag = Text.assemble(("lag ", "dim"), behind, (f"   {per_partition}" if per_partition else "", "dim"))
    table = Table(box=None, pad_edge=False)
    for heading in ("worker", "health", "model", "partitions"):
        table.add_column(heading)
    for heading in ("records", "flagged", "dead letters", "lag", "seen s ago"):
        table.add_column(heading, justify="right")
    for worker in picture.workers:
        table.add_row(*_cells(worker, now_ms))
    nobody = Text("no worker is running" if picture.workers_read else "workers unknown", "yellow")
    lines: list[RenderableType] = [head, lag, table if picture.workers else nobody]
    for worker in picture.workers:
        if worker.shadow is not None:
            lines.append(Text(f"{worker.worker}: {shadow_told(worker.shadow)}", "dim"))
        lines += [Text(f"{worker.worker}: {problem}", "yellow") for problem in worker.problems]
        if worker.lost:
            lines.append(
                Text(f"{worker.worker}: retention deleted {worker.lost:,} offsets before they were read", "red")
            )
    lines += [Text(told(run), "dim") for run in picture.jobs]
    lines += [Text(problem, "red") for problem in picture.problems]
    return Group(*lines)


def shadow_told(shadow: "ShadowStatus") -> str:
    """One line on a challenger beside the champion."""
    name = f"shadow {shadow.model.name}/{shadow.model.version}"
    if not shadow.windows:
        return f"{name} has answered nothing yet"
    flagged, by_champion, agreed = (
        count / shadow.windows for count in (shadow.flagged, shadow.flagged_by_champion, shadow.agreed)
    )
    return (
        f"{name} flags {flagged:.2%} (the champion {by_champion:.2%}), agrees on {agreed:.2%} of {shadow.windows:,} "
        f"windows, {1000 * shadow.busy_s / shadow.batches:.1f} ms a batch"
    )


def _cells(worker: "WorkerStatus", now_ms: int) -> list[str]:
    model = "-" if worker.model is None else f"{worker.model.name}/{worker.model.version}"
    if worker.profiles is not None:
        model += f" (profiles {worker.profiles.version})"
    return [
        worker.worker,
        worker.health.value,
        model,
        ", ".join(worker.partitions) or "-",
        f"{worker.records:,}",
        f"{worker.flagged:,}",
        f"{worker.dead_letters:,}",
        f"{worker.lag:,}",
        f"{max(now_ms - worker.updated_ms, 0) / 1000:.1f}",
    ]


def _watch(effective: "Settings", signal: "ModelSignal", store: "ModelStore", history: "JobHistory") -> None:
    """Draw until Ctrl-C."""
    from rich.live import Live

    from stream_ae.clock import SystemClock

    clock, never = SystemClock(), threading.Event()
    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(drawn(take_picture(effective, signal, store, history), clock.wall_ms()), refresh=True)
            clock.wait(never, WATCH_EVERY_S)
