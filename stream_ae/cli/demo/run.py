"""One run of the demo from the first server to the last line."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from stream_ae.cli.demo.denoising import Denoised, denoise
from stream_ae.cli.demo.life import PIPELINE, Lived, live
from stream_ae.cli.demo.material import Material, material
from stream_ae.cli.demo.outcome import Outcome, read_outcome
from stream_ae.cli.demo.screen import Screen
from stream_ae.cli.demo.story import Told, tell
from stream_ae.cli.demo.world import World, temporary_world
from stream_ae.clock import Clock
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev import sample_data
from stream_ae.localdev.page import html
from stream_ae.localdev.picture import png
from stream_ae.localdev.report import Numbers, events_found, false_alarms_per_10k, lines, table
from stream_ae.telemetry import set_up_logging

# Of 8640 a server: enough to learn from, and the whole demo stays within minutes on two cores.
TRAIN_ROWS = 6000
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command's options."""

    report: Path | None
    out: Path
    keep: bool
    rate: float | None
    machines: int


@dataclass(frozen=True, slots=True)
class Spent:
    """Until the servers answered, and altogether."""

    startup_s: float
    total_s: float


def run(wanted: Wanted, clock: Clock, console: Console) -> bool:
    """Tell the story and report it; whether nothing was lost or doubled."""
    quiet()
    began_s = clock.monotonic_s()
    screen = Screen(console, clock)
    replayed = material(sample_data.NAMES[: wanted.machines], TRAIN_ROWS, clock.wall_ms())
    with temporary_world(clock) as (stack, build):
        with screen.step("starting Kafka, Valkey and MLflow") as step:
            stack.start()
            step.done = f"Kafka {stack.kafka.address}, {stack.valkey.address}, MLflow {stack.mlflow.address}"
        startup_s = clock.monotonic_s() - began_s
        world = build()
        told = tell(world, replayed, screen, wanted.rate)
        denoised = denoise(world, screen)
        lived = live(world, screen)
        with screen.step("reading the topics and drawing") as step:
            outcome = _outcome(world, replayed)
            spent = Spent(startup_s, clock.monotonic_s() - began_s)
            numbers = _numbers(told, outcome, denoised, lived, spent)
            written = _write(wanted, numbers, outcome, told)
            step.done = f"report: {', '.join(str(file) for file in written)}"
        console.print()
        console.print(table(lines(numbers)))
        if wanted.keep:
            _keep(world, console)
    return numbers.lost == numbers.doubled == 0


def quiet() -> None:
    """Client libraries warn of servers that are still warming up; what matters is raised, or in the report."""
    set_up_logging("ERROR")
    logging.getLogger().setLevel(logging.ERROR)


def _outcome(world: World, replayed: Material) -> Outcome:
    reader = open_reader(world.settings.kafka, world.clock)
    try:
        return read_outcome(reader, world.settings.topics, replayed.machines, replayed.begin_ms)
    finally:
        reader.close()


def _numbers(told: Told, outcome: Outcome, denoised: Denoised, lived: Lived, spent: Spent) -> Numbers:
    found, events = events_found(outcome.streams)
    audited = told.audited.report
    p50, p99 = np.percentile(told.latency_ms, [50, 99]).tolist()
    return Numbers(
        records_in=audited.raw + told.audited.pending,
        cleaned=audited.cleaned,
        flagged=outcome.flagged,
        dead_letters=audited.dead_letters,
        lost=audited.lost + lived.audited.report.lost,
        doubled=audited.doubled + lived.audited.report.doubled,
        events_found=found,
        events_total=events,
        false_alarms_per_10k=round(false_alarms_per_10k(outcome.streams), 1),
        latency_p50_ms=round(p50, 1),
        latency_p99_ms=round(p99, 1),
        reload_s=round(told.reload_s, 3),
        snr_in_db=denoised.snr_in_db,
        snr_out_db=denoised.snr_out_db,
        relearnt_s=round(lived.relearnt_s, 1),
        refused=lived.refused,
        rolled_back=lived.taken_back,
        startup_s=round(spent.startup_s, 1),
        total_s=round(spent.total_s, 1),
    )


def _write(wanted: Wanted, numbers: Numbers, outcome: Outcome, told: Told) -> list[Path]:
    """Picture, page and, if asked for, the numbers; which files were written."""
    picture = png(outcome.streams)
    story = (
        f"{len(outcome.streams)} servers' telemetry (ASD data set, 19 metrics, a sample every five minutes) streamed "
        f"through Kafka at {told.rate:.0f} records a second; two workers denoised and scored every record, and swapped "
        "to a newly trained model meanwhile."
    )
    files: dict[Path, bytes] = {
        wanted.out / "report.png": picture,
        wanted.out / "report.html": html(lines(numbers), picture, outcome.events, story).encode(),
    }
    if wanted.report is not None:
        files[wanted.report] = numbers.as_json()
    wanted.out.mkdir(exist_ok=True)
    for file, content in files.items():
        file.write_bytes(content)
    return list(files)


def _keep(world: World, console: Console) -> None:
    """Say how to look at everything, and wait to be interrupted."""
    console.print("\n[bold]Everything is still up.[/bold] In another terminal:\n")
    wanted = {**world.stack.settings_overrides(), "STREAM_AE_PIPELINE": world.settings.pipeline}
    for name, value in wanted.items():
        console.print(f"  export {name}={value}", soft_wrap=True, markup=False)
    for command in ("status", "tail flagged --follow", "tail dead-letters", "models list", "audit"):
        console.print(f"  stream-ae {command}", markup=False)
    console.print("")
    for pipeline in (world.settings.pipeline, PIPELINE):
        link = f"{world.stack.mlflow.address}/#/models/{pipeline}?workflowType=machine_learning"
        console.print(f"  models in MLflow: {link}", soft_wrap=True, markup=False)
    console.print("\nCtrl-C ends it all.")
    never = threading.Event()
    # Workers and the monitor; one of the trainings has ended with an exit code that was asked for.
    serving = [child for child in world.children if child.exit_code is None]
    while True:
        for child in serving:
            child.check_running()
        world.clock.wait(never, LOOK_EVERY_S)
