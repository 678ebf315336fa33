"""Run `jobs.retrain`, and where asked for `jobs.adapt`, on cron expressions, as child processes with a time limit.

    python -m jobs.schedule --config stream-ae.yaml

Ends on SIGTERM or SIGINT, and ends a job that is under way with it.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from jobs.cron import Cron, cron_trigger, missed
from jobs.history import told
from jobs.one_shot import EXIT_AWAY, EXIT_CONFIG, EXIT_INTERRUPTED
from stream_ae.clock import Clock, SystemClock
from stream_ae.configuration import load
from stream_ae.errors import ConfigError, TransientError
from stream_ae.ports import JobHistory, JobRun
from stream_ae.registry.job_history import RedisJobHistory
from stream_ae.settings import ScheduleSettings, Settings
from stream_ae.telemetry import Log, set_up_logging
from stream_ae.worker.stopping import stop_on_signals

log = Log("schedule")

HISTORY_SHOWN = 20
TERMINATION_GRACE_S = 20.0


class JobProcess:
    """One run of a job at a time, as a child process, ended after a time limit or on demand."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self) -> int:
        """Run the child to its end and return its exit code; 124 if the time limit ended it."""
        if self.stopped:
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
        self.stopped = True
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


def triggers(settings: ScheduleSettings) -> dict[str, Cron]:
    """When each job runs, by its name."""
    found = {"retrain": cron_trigger(settings)}
    if settings.adapt_cron is not None:
        found["adapt"] = cron_trigger(settings, "adapt_cron")
    return found


def made_up_for(
    when: Mapping[str, Cron], history: JobHistory, settings: ScheduleSettings, now: datetime
) -> dict[str, datetime]:
    """The jobs of which a run was missed while nobody scheduled them, and when the first of these was due.

    A job that is not known to have run before has missed nothing. Neither has one while Redis is away: it would rather
    not run now than twice.
    """
    try:
        runs = history.runs()
    except TransientError as error:
        log.warning("missed runs not looked for", reason=str(error))
        return {}
    # What ended with its scheduler has yet to be done; by the signal itself while it was starting.
    done = [run for run in runs if run.exit_code not in (EXIT_INTERRUPTED, -signal.SIGTERM)]
    last = {run.job: run.begun_ms for run in sorted(done, key=lambda run: run.begun_ms)}
    due = {
        name: missed(cron, settings, datetime.fromtimestamp(last[name] / 1000, UTC), now)
        for name, cron in when.items()
        if name in last
    }
    return {name: at for name, at in due.items() if at is not None}


def noted_run(name: str, job: JobProcess, history: JobHistory, clock: Clock) -> None:
    """One run of a job, with its begin and its end in the history; with Redis away it runs all the same."""
    if job.stopped:
        return
    run = JobRun(name, clock.wall_ms())
    _note(history, run)
    code = job.run()
    _note(history, replace(run, ended_ms=clock.wall_ms(), exit_code=code))


def run(settings: Settings, config: Path | None, stop: threading.Event, history: JobHistory, clock: Clock) -> int:
    """Run the jobs on the schedule until `stop` is set."""
    schedule = settings.schedule
    when = triggers(schedule)
    jobs = {name: JobProcess(job_command(name, config), schedule.job_timeout_s) for name in when}
    now = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
    overdue = made_up_for(when, history, schedule, now)
    # A thread each: profiles are learnt also while a retraining takes long.
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(len(jobs))}, timezone=UTC)
    grace_s = None if schedule.misfire == "run_once" else max(round(schedule.misfire_grace_s), 1)
    for name, trigger in when.items():
        first = {"next_run_time": now} if name in overdue else {}
        scheduler.add_job(
            noted_run, trigger, (name, jobs[name], history, clock), id=name, coalesce=True, max_instances=1,
            misfire_grace_time=grace_s, **first,
        )  # fmt: skip
        if name in overdue:
            log.info("run missed: made up for now", job=name, due=overdue[name].isoformat())
    scheduler.start()
    for one in scheduler.get_jobs():
        log.info("schedule started", job=one.id, next=one.next_run_time.isoformat())
    try:
        stop.wait()
    finally:
        for job in jobs.values():
            job.stop()
        scheduler.shutdown(wait=True)
    log.info("schedule stopped")
    return 0


def _note(history: JobHistory, run: JobRun) -> None:
    try:
        history.note(run)
    except TransientError as error:
        log.warning("run not noted", job=run.job, reason=str(error))


def job_command(name: str, config: Path | None) -> list[str]:
    """The child's command line: this interpreter, the job, the same configuration."""
    return [sys.executable, "-m", f"jobs.{name}", *(["--config", str(config)] if config else [])]


def serve(settings: Settings, config: Path | None) -> int:
    """Run the jobs on the schedule until SIGTERM or SIGINT."""
    with closing(RedisJobHistory(settings.redis, settings.pipeline)) as history, stop_on_signals() as stop:
        return run(settings, config, stop, history, SystemClock())


def newest_runs(settings: Settings) -> str:
    """When the jobs ran and how they ended, a line each, for a person."""
    with closing(RedisJobHistory(settings.redis, settings.pipeline)) as history:
        return "\n".join(map(told, history.runs(HISTORY_SHOWN))) or "no run yet"


def main(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Print the newest runs and how they ended, and exit.")
    ] = False,
) -> None:
    """Retrain on schedule.cron, learn profiles on schedule.adapt_cron, until stopped."""
    try:
        settings = load(config).settings
        set_up_logging(settings.log.level)
        if history:
            typer.echo(newest_runs(settings))
            raise typer.Exit
        raise typer.Exit(serve(settings, config))
    except (ConfigError, TransientError) as error:
        typer.echo(f"schedule: error: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_AWAY) from None


if __name__ == "__main__":
    typer.run(main)
