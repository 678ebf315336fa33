"""The schedule: cron as cron means it, one child at a time, ended in time."""

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.retrain import Outcome
from jobs.schedule import JobProcess, cron_trigger, job_command, triggers
from stream_ae.errors import ConfigError
from stream_ae.settings import ScheduleSettings

SUNDAY = datetime(2026, 11, 22, tzinfo=UTC)


def next_fires(cron: str, count: int, time_zone: str = "UTC") -> list[datetime]:
    trigger = cron_trigger(ScheduleSettings(cron=cron, time_zone=time_zone))
    fires: list[datetime] = []
    now = SUNDAY
    while len(fires) < count:
        fire = trigger.get_next_fire_time(fires[-1] if fires else None, now)
        fires.append(fire)
        now = fire
    return fires


@pytest.mark.parametrize(
    ("field", "weekdays"),
    [
        ("0", ["Sun"]),
        ("7", ["Sun"]),
        ("1", ["Mon"]),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("5-7", ["Sun", "Fri", "Sat"]),
        ("0,3", ["Sun", "Wed"]),
        ("*/3", ["Sun", "Wed", "Sat"]),
        ("1-5/2", ["Mon", "Wed", "Fri"]),
        ("mon-tue", ["Mon", "Tue"]),
        ("mon,6", ["Mon", "Sat"]),
    ],
)
def test_weekdays_mean_what_cron_means(field: str, weekdays: list[str]) -> None:
    fires = next_fires(f"30 4 * * {field}", len(weekdays))
    assert [fire.strftime("%a") for fire in fires] == weekdays
    assert {(fire.hour, fire.minute) for fire in fires} == {(4, 30)}


def test_the_time_zone_is_the_one_of_the_settings() -> None:
    assert next_fires("0 3 * * *", 1, "Asia/Tokyo")[0].astimezone(UTC).hour == 18


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("0 3 * *", "UTC"),
        ("61 3 * * *", "UTC"),
        ("0 3 * * 8", "UTC"),
        ("0 3 * * x1", "UTC"),
        ("0 3 * * *", "Mars/Base"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ConfigError, match="schedule"):
        cron_trigger(ScheduleSettings(cron=cron, time_zone=zone))


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
    both = triggers(ScheduleSettings(adapt_cron="30 * * * *"))
    assert both["adapt"].get_next_fire_time(None, SUNDAY).minute == 30
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
