"""Instants of the store: naive UTC in, naive UTC out, whatever the zone of the machine or of the database."""

from datetime import UTC, date, datetime

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


def utc(value: datetime | date | str) -> datetime:
    """Return `value` as a naive UTC datetime: an offset is converted, none means UTC, a date means its midnight.

    ISO 8601 text is accepted too. Raises ValueError, naming the value, where it is no instant.

    >>> utc("2026-03-01T02:00:00+02:00"), utc("2026-03-01Z"), utc(date(2026, 3, 1)) == utc("2026-03-01")
    (datetime.datetime(2026, 3, 1, 0, 0), datetime.datetime(2026, 3, 1, 0, 0), True)
    """
    instant = _parsed(value) if isinstance(value, str) else value
    if not isinstance(instant, date) or instant != instant:  # pandas' NaT is a datetime that differs from itself
        raise ValueError(f"{value!r} is no instant; give a datetime, a date, or ISO 8601 text such as 2026-03-01T00:00:00")
    if not isinstance(instant, datetime):
        return datetime(instant.year, instant.month, instant.day)
    if instant.tzinfo is not None:
        instant = instant.astimezone(UTC)
    return datetime.combine(instant.date(), instant.time())  # a plain datetime, also of a pandas Timestamp


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        return None


def now() -> datetime:
    """Return the present instant, naive UTC, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


class UtcDateTime(TypeDecorator[datetime]):
    """A column of naive UTC instants: TIMESTAMP WITHOUT TIME ZONE, so no session's zone can shift it."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert to naive UTC on the way in; nothing needs converting on the way out."""
        return None if value is None else utc(value)
