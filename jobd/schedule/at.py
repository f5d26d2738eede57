"""`at 2026-12-24T18:00:00+01:00`: once, then. Without an offset the time is one of the schedule's zone.

A time that the clocks skip means the moment right after the gap; of one that comes twice the first is meant.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from jobd.clock import EARLIEST, LATEST, from_datetime, to_datetime
from jobd.schedule.base import Schedule, ScheduleError


class At(Schedule):
    """Due at one moment."""

    __slots__ = ("moment", "zone")

    def __init__(self, text: str, moment: int, zone: ZoneInfo) -> None:
        super().__init__(text)
        self.moment = moment
        self.zone = zone

    def first(self, now: int) -> int | None:
        return self.moment

    def after(self, moment: int, anchor: int) -> int | None:
        return self.moment if self.moment > moment else None

    def describe(self) -> str:
        return f"once, at {to_datetime(self.moment).astimezone(self.zone).isoformat(' ')}"


def parse_at(text: str, zone: ZoneInfo) -> At:
    """The schedule of the time after the word `at`. Raises ScheduleError (positions in `text`)."""
    try:
        value = datetime.fromisoformat(text)
        if not text.isascii() or len(text) < len("2026-12-24T18:00"):
            raise ValueError
    except ValueError:
        hint = "write it like 2026-12-24T18:00:00+01:00, or without the offset for local time"
        raise ScheduleError("this is not a time", text, 0, hint) from None
    if not 1970 <= value.year <= 9998:
        raise ScheduleError(f"the year {value.year} is out of range", text, 0, "years from 1970 to 9998 are allowed")
    moment = from_datetime(value) if value.tzinfo is not None else from_local(value, zone)
    if not EARLIEST <= moment < LATEST:
        raise ScheduleError("the time is out of range", text, 0, "from 1970-01-02 to 9998-12-31")
    return At(f"at {text}", moment, zone)


def from_local(value: datetime, zone: ZoneInfo) -> int:
    """The moment of a naive local time."""
    local = value.replace(tzinfo=zone, fold=0)
    back = local.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if back == value:
        return from_datetime(local)
    # In a gap: what the clocks showed before it and after it differ by its length; it ends where the later rule begins.
    before, later = local.utcoffset() or timedelta(), value.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    low, high = from_datetime(value - max(before, later)), from_datetime(value - min(before, later))
    offset = to_datetime(low).astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if to_datetime(middle).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high
