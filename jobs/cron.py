"""When a job is due: cron's five fields, in a time zone whose clocks change, and what was missed of it."""

import re
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from stream_ae.errors import ConfigError
from stream_ae.settings import ScheduleSettings

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
ONE_TICK = timedelta(microseconds=1)


class Cron(BaseTrigger):  # type: ignore[misc]
    """The times of a cron expression, each late by a random part of `jitter_s`.

    APScheduler 3 runs what is set for an hour that the clocks show twice in both of them. A job of certain hours is one
    for each time that the clock on the wall shows: it is due in the first of them alone. One of every hour (`*`, `*/2`)
    is due in both, as in cron. What is set for an hour that is left out is due an hour later, by the clock.
    """

    def __init__(
        self, times: CronTrigger, every_hour: bool, jitter_s: float = 0.0, random: Random | None = None
    ) -> None:
        self._times = times
        self._every_hour = every_hour
        self._jitter_s = jitter_s
        self._random = random or Random()

    def after(self, time: datetime) -> datetime | None:
        """The first time that is due later than this, without jitter; None if there is none any more."""
        while True:
            due: datetime | None = self._times.get_next_fire_time(None, time.astimezone(UTC) + ONE_TICK)
            # A time that was moved over a gap shows itself only on its way through UTC.
            if due is None or self._every_hour or not due.astimezone(UTC).astimezone(due.tzinfo).fold:
                return due
            time = due

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """As APScheduler asks: after the time before this one if there was one, else from now on."""
        since = min(now, previous_fire_time) if previous_fire_time is not None else now - ONE_TICK
        due = self.after(since)
        if due is None:
            return None
        # In a time zone, a sum forgets which of the two hours of one name was meant.
        late = due.astimezone(UTC) + timedelta(seconds=self._random.uniform(0.0, self._jitter_s))
        return late.astimezone(due.tzinfo)


def missed(cron: Cron, settings: ScheduleSettings, last: datetime, now: datetime) -> datetime | None:
    """What has been due since the job last began, and shall be made up for; None if nothing has been, or shall.

    However many runs were missed, one makes up for all.
    """
    if settings.misfire == "skip":
        last = max(last, now - timedelta(seconds=settings.misfire_grace_s))
    due = cron.after(last)
    return due if due is not None and due <= now else None


def cron_trigger(settings: ScheduleSettings, name: str = "cron") -> Cron:
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
        times = CronTrigger(
            minute=fields[0],
            hour=fields[1],
            day=fields[2],
            month=fields[3],
            day_of_week=_weekdays(fields[4], name),
            timezone=zone,
        )
    except ValueError as error:
        raise ConfigError(f"schedule.{name} is {cron!r}: {error}") from None
    return Cron(times, fields[1].startswith("*"), settings.jitter_s)


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
