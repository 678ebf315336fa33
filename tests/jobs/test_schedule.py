"""The schedule: cron as cron means it, one child at a time, ended in time."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs import schedule
from jobs.adapt import Outcome as Learning
from jobs.backfill import Outcome as Answering
from jobs.history import MEANINGS, told
from jobs.retrain import Outcome
from jobs.schedule import JobProcess, job_command, made_up_for, noted_run, run, triggers
from stream_ae.clock import SystemClock
from stream_ae.errors import ConfigError
from stream_ae.ports import JobRun
from stream_ae.registry.job_history import RedisJobHistory
from stream_ae.settings import RedisSettings, ScheduleSettings, Settings
from stream_ae.testing import InMemoryJobHistory, InMemoryRedis, ManualClock
from tests.end_to_end.world import eventually

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY_MS, AN_HOUR = 86_400_000, timedelta(hours=1)


def ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(ms(NOON))


@pytest.fixture
def redis(clock: ManualClock) -> InMemoryRedis:
    return InMemoryRedis(clock)


@pytest.fixture
def history(redis: InMemoryRedis) -> InMemoryJobHistory:
    return InMemoryJobHistory(redis)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_exit_code_of_the_child_is_handed_on() -> None:
    assert JobProcess(python("raise SystemExit(3)"), timeout_s=30).run() == 3


def test_a_child_that_takes_too_long_is_ended() -> None:
    assert JobProcess(python("import threading; threading.Event().wait()"), timeout_s=0.5).run() == 124


def test_stopping_ends_the_child_under_way() -> None:
    job = JobProcess(python("import threading; print(flush=True); threading.Event().wait()"), timeout_s=60)
    codes: list[int] = []
    runner = threading.Thread(target=lambda: codes.append(job.run()))
    runner.start()
    while job._child is None:
        threading.Event().wait(0.01)
    job.stop()
    runner.join()
    assert codes == [-signal.SIGTERM]
    assert job.run() == 0


def test_the_child_gets_the_same_configuration() -> None:
    assert job_command("retrain", Path("a.yaml"))[1:] == ["-m", "jobs.retrain", "--config", "a.yaml"]


def test_profiles_are_learnt_on_a_schedule_of_their_own_where_there_is_one() -> None:
    assert set(triggers(ScheduleSettings())) == {"retrain"}
    due = triggers(ScheduleSettings(adapt_cron="30 * * * *"))["adapt"].after(NOON)
    assert due is not None
    assert due.minute == 30
    with pytest.raises(ConfigError, match="schedule.adapt_cron is 'hourly'"):
        triggers(ScheduleSettings(adapt_cron="hourly"))


def test_a_wrong_schedule_is_one_line_and_exit_2(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("schedule: {cron: 'every day'}\n")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.schedule", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("schedule: error: schedule.cron is 'every day'")
    assert done.stderr.count("\n") == 1


def test_an_ended_retraining_is_an_interrupted_one_and_leaves_no_scratch_folder(tmp_path: Path) -> None:
    # A Redis that takes the connection and never answers keeps the retraining busy until it is ended.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        environment = {
            **os.environ,
            "TMPDIR": str(tmp_path),
            "STREAM_AE_REDIS__URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
            "STREAM_AE_REDIS__TIMEOUT_S": "60",
        }
        child = subprocess.Popen([sys.executable, "-m", "jobs.retrain"], env=environment)
        silent.accept()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == Outcome.INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_noted_when_it_begins_and_when_it_ends(history: InMemoryJobHistory, clock: ManualClock) -> None:
    clock.advance(1)
    noted_run("retrain", JobProcess(python("raise SystemExit(3)"), timeout_s=30), history, clock)
    assert history.runs() == [JobRun("retrain", ms(NOON) + 1000, ms(NOON) + 1000, 3)]
    said = told(history.runs()[0])
    assert "2026-11-22 12:00:01 UTC" in said
    assert "exit code 3: the champion was better and stays" in said
    assert told(JobRun("adapt", ms(NOON))).endswith("under way, or its scheduler was killed")


def test_with_redis_away_jobs_run_all_the_same(
    history: InMemoryJobHistory, redis: InMemoryRedis, clock: ManualClock, tmp_path: Path
) -> None:
    redis.away()
    touch = f"open({str(tmp_path / 'ran')!r}, 'w')"
    noted_run("retrain", JobProcess(python(touch), timeout_s=30), history, clock)
    assert (tmp_path / "ran").exists()
    assert made_up_for(triggers(ScheduleSettings()), history, ScheduleSettings(), NOON) == {}


def test_a_stopped_schedule_notes_no_run_that_did_not_begin(history: InMemoryJobHistory, clock: ManualClock) -> None:
    job = JobProcess(python(""), timeout_s=30)
    job.stop()
    noted_run("retrain", job, history, clock)
    assert history.runs() == []


@pytest.mark.parametrize(
    ("last", "misfire", "now", "made_up"),
    [
        (NOON - 3 * AN_HOUR, "run_once", NOON, False),
        (NOON - 24 * AN_HOUR, "run_once", NOON, True),
        (NOON - 2400 * AN_HOUR, "run_once", NOON, True),
        (NOON - 24 * AN_HOUR, "skip", NOON, False),
        (NOON - 24 * AN_HOUR, "skip", NOON - 8.5 * AN_HOUR, True),
    ],
    ids=["nothing missed", "one missed", "a hundred missed", "over the grace", "within the grace"],
)
def test_what_was_missed_while_the_scheduler_was_off_is_made_up_for_once_if_it_shall(
    history: InMemoryJobHistory, last: datetime, misfire: str, now: datetime, made_up: bool
) -> None:
    settings = ScheduleSettings.model_validate({"misfire": misfire})
    history.note(JobRun("retrain", ms(last), ms(last) + 1000))
    assert set(made_up_for(triggers(settings), history, settings, now)) == ({"retrain"} if made_up else set())


def test_a_job_that_never_ran_has_missed_nothing(history: InMemoryJobHistory) -> None:
    settings = ScheduleSettings(adapt_cron="30 * * * *")
    history.note(JobRun("adapt", ms(NOON) - DAY_MS, ms(NOON) - DAY_MS))
    assert set(made_up_for(triggers(settings), history, settings, NOON)) == {"adapt"}


@pytest.mark.parametrize("exit_code", [Outcome.INTERRUPTED, -signal.SIGTERM])
def test_a_run_that_ended_with_its_scheduler_is_made_up_for(history: InMemoryJobHistory, exit_code: int) -> None:
    begun = ms(NOON) - 9 * 3_600_000
    history.note(JobRun("retrain", begun - DAY_MS, begun - DAY_MS + 1))
    history.note(JobRun("retrain", begun, begun + 1, exit_code=exit_code))
    assert set(made_up_for(triggers(ScheduleSettings()), history, ScheduleSettings(), NOON)) == {"retrain"}


def test_a_scheduler_that_starts_after_a_day_off_runs_the_job_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, redis: InMemoryRedis
) -> None:
    clock, stop = SystemClock(), threading.Event()
    now_ms = clock.wall_ms()
    history = InMemoryJobHistory(redis)
    for days in (3, 2):
        history.note(JobRun("retrain", now_ms - days * DAY_MS, now_ms - days * DAY_MS))
    monkeypatch.setattr(schedule, "job_command", lambda name, config: python("raise SystemExit(4)"))
    scheduler = threading.Thread(target=run, args=(Settings(), None, stop, history, clock))
    scheduler.start()
    eventually(lambda: history.runs()[0].exit_code == 4, "the missed run is made up for")
    stop.set()
    scheduler.join()
    assert len(history.runs()) == 3
    assert history.runs()[0].begun_ms >= now_ms


def test_every_outcome_of_a_job_has_a_meaning() -> None:
    assert {*Outcome, *Learning, *Answering} <= set(MEANINGS)


def test_the_history_is_printed_from_redis(redis_url: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"pipeline: {tmp_path.name}\nredis: {{url: '{redis_url}'}}\n")
    command = [sys.executable, "-m", "jobs.schedule", "--config", str(config), "--history"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "no run yet\n"
    with closing(RedisJobHistory(RedisSettings.model_validate({"url": redis_url}), tmp_path.name)) as known:
        known.note(JobRun("retrain", ms(NOON), ms(NOON) + 61_000, 6))
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert " ".join(printed.split()) == (
        "retrain 2026-11-22 12:00:00 UTC 61 s exit code 6: rolled back: the workers were not well on it"
    )
