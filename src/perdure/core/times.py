"""Conversions between datetimes (at the API) and integer microseconds since the Unix epoch, UTC (inside)."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """A naive datetime counts as UTC, as in Durable Functions."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """An aware datetime in UTC."""
    return _EPOCH + us * _MICROSECOND


def duration_us(duration: timedelta) -> int:
    """Whole microseconds."""
    return duration // _MICROSECOND
