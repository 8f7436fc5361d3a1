"""Schedules: when they fire, and which are refused."""

from datetime import UTC, datetime, timedelta

import pytest

from perdure.host.triggers.errors import ScheduleError
from perdure.host.triggers.schedule import Schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 */5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("0 */5 * * * *", "2026-01-01T00:04:59", "2026-01-01T00:05:00"),
        ("0 */5 * * * *", "2026-01-01T00:04:59.999999", "2026-01-01T00:05:00"),
        ("*/2 * * * * *", "2026-01-01T00:00:00", "2026-01-01T00:00:02"),
        ("30 9 * * MON-FRI", "2026-01-02T10:00:00", "2026-01-05T09:30:00"),
        ("0 30 9 * * 1-5", "2026-01-02T10:00:00", "2026-01-05T09:30:00"),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 13 * 5", "2026-01-01T00:00:00", "2026-02-13T00:00:00"),  # Friday the 13th: both fields have to match
        ("0 0 0 1 JAN *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("00:05:00", "2026-01-01T00:00:03", "2026-01-01T00:05:03"),
        ("1.00:00:00", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("00:00:00.5", "2026-01-01T00:00:00", "2026-01-01T00:00:00.500000"),
    ],
)
def test_the_next_occurrence(schedule: str, after: str, expected: str) -> None:
    assert Schedule(schedule).next_after(at(after)) == at(expected)


def test_a_time_zone_moves_with_daylight_saving() -> None:
    schedule = Schedule("0 0 9 * * *", "Europe/Berlin")
    assert schedule.next_after(at("2026-01-10T12:00:00")) == at("2026-01-11T08:00:00")
    assert schedule.next_after(at("2026-07-10T12:00:00")) == at("2026-07-11T07:00:00")


def test_an_hour_that_a_day_skips_does_not_fire_twice() -> None:
    schedule = Schedule("0 30 2 * * *", "Europe/Berlin")  # 2026-03-29 has no 02:30
    occurrences = [at("2026-03-27T12:00:00")]
    while len(occurrences) < 5:
        occurrences.append(schedule.next_after(occurrences[-1]))
    assert occurrences == sorted(set(occurrences))
    assert occurrences[-1] - occurrences[1] <= timedelta(days=4)


def test_missed_occurrences_are_not_made_up_for() -> None:
    assert Schedule("0 0 * * * *").next_due(at("2026-01-01T01:00:00"), at("2026-01-01T05:10:00")) == at("2026-01-01T06:00:00")
    assert Schedule("01:00:00").next_due(at("2026-01-01T01:00:00"), at("2026-01-01T05:10:00")) == at("2026-01-01T06:10:00")


def test_an_interval_keeps_its_rhythm_whatever_the_function_takes() -> None:
    assert Schedule("00:10:00").next_due(at("2026-01-01T01:00:00"), at("2026-01-01T01:03:00")) == at("2026-01-01T01:10:00")


def test_a_clock_that_was_set_back_repeats_nothing() -> None:
    assert Schedule("0 0 * * * *").next_due(at("2026-01-01T05:00:00"), at("2026-01-01T03:30:00")) == at("2026-01-01T06:00:00")


@pytest.mark.parametrize(
    ("schedule", "zone", "problem"),
    [
        ("", "UTC", "can't be used"),
        ("* * *", "UTC", "can't be used"),
        ("61 * * * * *", "UTC", "Bad second"),
        ("0 0 0 30 2 *", "UTC", "can't be used"),
        ("00:00:00", "UTC", "without end"),
        ("24:00:00", "UTC", "hours go to 23"),
        ("00:60:00", "UTC", "hours go to 23"),
        ("* * * * * *", "Mars/Base", "no time zone 'Mars/Base'"),
        ("* * * * * *", "../etc", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str, zone: str, problem: str) -> None:
    with pytest.raises(ScheduleError, match=problem):
        Schedule(schedule, zone)
