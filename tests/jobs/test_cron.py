"""When a job is due: cron as cron means it, also on the days on which clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from jobs.cron import Cron, cron_trigger
from stream_ae.errors import ConfigError
from stream_ae.settings import ScheduleSettings

SUNDAY = datetime(2026, 11, 22, tzinfo=UTC)


def next_fires(cron: str, count: int, time_zone: str = "UTC") -> list[datetime]:
    return fires_of(cron_trigger(ScheduleSettings(cron=cron, time_zone=time_zone)), SUNDAY, count)


def fires_of(trigger: Cron, since: datetime, count: int) -> list[datetime]:
    """As a scheduler asks for them: the first from now on, then each after the one before."""
    fires: list[datetime] = []
    while len(fires) < count:
        now = fires[-1] if fires else since
        fire = trigger.get_next_fire_time(fires[-1] if fires else None, now)
        assert fire is not None
        fires.append(fire)
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


BEFORE_SPRING = datetime(2026, 3, 27, 12, tzinfo=UTC)
BEFORE_AUTUMN = datetime(2026, 10, 23, 12, tzinfo=UTC)


def utc(fires: list[datetime]) -> list[str]:
    return [fire.astimezone(UTC).strftime("%d %H:%M") for fire in fires]


def berlin(cron: str) -> Cron:
    return cron_trigger(ScheduleSettings(cron=cron, time_zone="Europe/Berlin"))


def test_a_job_for_a_time_that_the_clocks_leave_out_runs_once_an_hour_later_by_the_clock() -> None:
    assert utc(fires_of(berlin("30 2 * * *"), BEFORE_SPRING, 3)) == ["28 01:30", "29 01:30", "30 00:30"]


def test_a_job_for_a_time_that_the_clocks_show_twice_runs_once() -> None:
    assert utc(fires_of(berlin("30 2 * * *"), BEFORE_AUTUMN, 3)) == ["24 00:30", "25 00:30", "26 01:30"]
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert utc(fires_of(berlin("30 2 * * *"), between, 1)) == ["26 01:30"]


def test_a_job_of_every_hour_runs_every_hour_when_the_clocks_change() -> None:
    for night in (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)):
        fires = fires_of(berlin("0 * * * *"), night, 8)
        assert {later - earlier for earlier, later in pairwise(f.astimezone(UTC) for f in fires)} == {
            timedelta(hours=1)
        }


def test_jitter_makes_a_run_later_by_no_more_and_changes_nothing_about_the_next() -> None:
    trigger = cron_trigger(ScheduleSettings(cron="0 3 * * *", jitter_s=600.0))
    late = [fire - fire.replace(hour=3, minute=0, second=0, microsecond=0) for fire in fires_of(trigger, SUNDAY, 50)]
    assert all(timedelta(0) <= one <= timedelta(minutes=10) for one in late)
    assert len(set(late)) > 40
    days = [fire.day for fire in fires_of(trigger, SUNDAY, 5)]
    assert days == [22, 23, 24, 25, 26]


def test_a_date_that_never_comes_is_never_due() -> None:
    assert cron_trigger(ScheduleSettings(cron="0 3 30 2 *")).after(SUNDAY) is None
