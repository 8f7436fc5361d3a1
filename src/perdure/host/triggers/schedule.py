"""Schedules of timer triggers: six-field NCRONTAB (five fields mean second 0), or a TimeSpan, in a time zone."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from perdure.host.triggers.errors import ScheduleError

_TIME_SPAN = re.compile(
    r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})(?:\.(?P<ticks>\d{1,7}))?"
)


class Schedule:
    """When a timer fires. All moments are aware, in UTC."""

    def __init__(self, text: str, time_zone: str = "UTC") -> None:
        """Understands ``text``.

        Raises:
            ScheduleError: it is neither NCRONTAB nor a TimeSpan, never comes true, or the time zone is unknown.
        """
        self.text = text.strip()
        self.time_zone = time_zone
        self._interval = _time_span(self.text)
        try:
            self._zone = UTC if time_zone.upper() == "UTC" else ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ScheduleError(
                f"there is no time zone '{time_zone}'. Use a name such as Europe/Berlin (Windows needs: pip install tzdata)"
            ) from None
        if self._interval is None:
            self.next_after(datetime(2000, 1, 1, tzinfo=UTC))

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence after ``moment``."""
        if self._interval is not None:
            return moment + self._interval
        from cronsim import CronSim, CronSimError  # most apps have no timer

        fields = self.text.split()
        try:
            occurrences = CronSim(" ".join(["0", *fields] if len(fields) == 5 else fields), moment.astimezone(self._zone))
            # NCRONTAB wants both the day of the month and that of the week to match; cron is content with one of them.
            occurrences.day_and = True
            return next(occurrences).astimezone(UTC)
        except (CronSimError, StopIteration) as error:
            problem = "it never comes true" if isinstance(error, StopIteration) else str(error)
            raise ScheduleError(
                f"the schedule '{self.text}' can't be used: {problem}. It needs six fields "
                "(second minute hour day month weekday; '0 */5 * * * *' is every five minutes), or a TimeSpan ('00:05:00')"
            ) from None

    def next_due(self, due: datetime, now: datetime) -> datetime:
        """What follows the occurrence ``due`` once that has been handled. It is in the future: nothing missed is made up for."""
        if self._interval is not None and now < due + self._interval:
            return due + self._interval  # in its own rhythm, whatever the function took
        return self.next_after(max(due, now))


def _time_span(text: str) -> timedelta | None:
    found = _TIME_SPAN.fullmatch(text)
    if found is None:
        return None
    parts = {name: int(value or 0) for name, value in found.groupdict().items()}
    if parts["hours"] > 23 or parts["minutes"] > 59 or parts["seconds"] > 59:
        raise ScheduleError(
            f"'{text}' is not a TimeSpan: hours go to 23, minutes and seconds to 59; days come first ('1.00:00:00')"
        )
    ticks = (found["ticks"] or "").ljust(7, "0")
    span = timedelta(
        days=parts["days"], hours=parts["hours"], minutes=parts["minutes"], seconds=parts["seconds"], microseconds=int(ticks[:6])
    )
    if not span:
        raise ScheduleError(f"the schedule '{text}' has no length: it would fire without end")
    return span
