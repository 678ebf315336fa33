"""Run `jobs.retrain`, and where asked for `jobs.adapt`, on cron expressions, as child processes with a time limit.

    python -m jobs.schedule --config stream-ae.yaml

Ends on SIGTERM or SIGINT, and ends a job that is under way with it.
"""

import os
import re
import signal as signals
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path
from types import FrameType
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from stream_ae.configuration import load
from stream_ae.errors import ConfigError
from stream_ae.settings import ScheduleSettings, Settings
from stream_ae.telemetry import Log, set_up_logging

log = Log("schedule")

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
MISFIRE_GRACE_S = 3600
TERMINATION_GRACE_S = 20.0


def cron_trigger(settings: ScheduleSettings, name: str = "cron") -> CronTrigger:
    """The trigger of the five cron fields of one setting, with cron's weekdays: 0 and 7 are Sunday.

    APScheduler 3 counts weekdays from Monday = 0 and refuses 7, so numbers are translated to names.
    """
    cron: str = getattr(settings, name)
    fields = cron.split()
    if len(fields) != 5:
        raise ConfigError(
            f"schedule.{name} is {cron!r}: five fields are needed (minute hour day month weekday), "
            f"such as '0 3 * * *'; {len(fields)} given"
        )
    try:
        zone = ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"schedule.time_zone {settings.time_zone!r} is not known: use a name such as UTC") from None
    try:
        return CronTrigger(
            minute=fields[0],
            hour=fields[1],
            day=fields[2],
            month=fields[3],
            day_of_week=_weekdays(fields[4], name),
            timezone=zone,
        )
    except ValueError as error:
        raise ConfigError(f"schedule.{name} is {cron!r}: {error}") from None


def _weekdays(field: str, name: str) -> str:
    """Cron's numbers as names, ranges and steps spelt out: `0-2` is `sun,mon,tue`."""
    names: list[str] = []
    for part in field.split(","):
        if not re.search(r"\d", part):
            names.append(part)
            continue
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or (step and not step.isdigit()):
            if span == "*" and step.isdigit() and int(step):
                names += WEEKDAYS[: 7 : int(step)]
                continue
            raise ConfigError(f"schedule.{name}: weekday {part!r} is neither numbers 0-7 nor names such as mon-fri")
        begin, end = int(first), int(last or ("6" if step else first))
        if not begin <= end <= 7 or (step and not int(step)):
            raise ConfigError(f"schedule.{name}: weekday {part!r} is not in 0-7")
        names += WEEKDAYS[begin : end + 1 : int(step or 1)]
    return ",".join(dict.fromkeys(names))


class JobProcess:
    """One run of a job at a time, as a child process, ended after a time limit or on demand."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> int:
        """Run the child to its end and return its exit code; 124 if the time limit ended it."""
        if self._stopped:
            return 0
        log.info("job started", command=" ".join(self._command))
        self._child = child = subprocess.Popen(self._command)
        try:
            code = child.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            log.error("job took too long", command=" ".join(self._command), timeout_s=self._timeout_s)
            self._end(child)
            code = 124
        log.info("job ended", command=" ".join(self._command), exit_code=code)
        return code

    def stop(self) -> None:
        """End the child, if one runs; start no other."""
        self._stopped = True
        if self._child is not None and self._child.poll() is None:
            self._end(self._child)

    @staticmethod
    def _end(child: "subprocess.Popen[bytes]") -> None:
        child.terminate()
        try:
            child.wait(TERMINATION_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def triggers(settings: ScheduleSettings) -> dict[str, CronTrigger]:
    """When each job runs, by its name."""
    found = {"retrain": cron_trigger(settings)}
    if settings.adapt_cron is not None:
        found["adapt"] = cron_trigger(settings, "adapt_cron")
    return found


def run(settings: Settings, config: Path | None, stop: threading.Event) -> int:
    """Run the jobs on the schedule until `stop` is set."""
    when = triggers(settings.schedule)
    jobs = {name: JobProcess(job_command(name, config), settings.schedule.job_timeout_s) for name in when}
    # A thread each: profiles are learnt also while a retraining takes long.
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(len(jobs))}, timezone=UTC)
    scheduled = {
        name: scheduler.add_job(
            jobs[name].run, trigger, coalesce=True, max_instances=1, misfire_grace_time=MISFIRE_GRACE_S, name=name
        )
        for name, trigger in when.items()
    }
    scheduler.start()
    for name, one in scheduled.items():
        log.info("schedule started", job=name, next=one.next_run_time.isoformat())
    try:
        stop.wait()
    finally:
        for job in jobs.values():
            job.stop()
        scheduler.shutdown(wait=True)
    log.info("schedule stopped")
    return 0


def job_command(name: str, config: Path | None) -> list[str]:
    """The child's command line: this interpreter, the job, the same configuration."""
    return [sys.executable, "-m", f"jobs.{name}", *(["--config", str(config)] if config else [])]


def _stop_on_signals(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    return on_signal


def main(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
) -> None:
    """Retrain on schedule.cron, learn profiles on schedule.adapt_cron, until stopped."""
    try:
        settings = load(config).settings
        set_up_logging(settings.log.level)
        stop = threading.Event()
        for number in (signals.SIGTERM, signals.SIGINT):
            signals.signal(number, _stop_on_signals(stop))
        raise typer.Exit(run(settings, config, stop))
    except ConfigError as error:
        typer.echo(f"schedule: error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
