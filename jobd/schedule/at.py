"""`at 2026-12-24T18:00:00+01:00`: due once. A time without an offset is a clock time in the schedule's zone.

A clock time that the clocks skip means the first moment after the gap. One that comes twice means the first time.
"""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from jobd.clock import EARLIEST, LATEST, from_datetime, iso, to_datetime
from jobd.schedule.base import Flaw, Moved, Schedule
from jobd.schedule.zone import find_zone, moment_of

_FORM = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.[0-9]{1,6})?)?"
    r"(?P<offset>Z|[+-][0-9]{2}:[0-9]{2})?\Z"
)
_ALLOWED = "write it like 2026-12-24T18:00:00+01:00, or without the offset for local time"


class At(Schedule):
    """Due at one moment."""

    __slots__ = ("local", "moment", "zone")

    def __init__(self, moment: int, zone: ZoneInfo, local: bool) -> None:
        super().__init__(f"at {iso(moment)}")
        self.moment = moment
        self.zone = zone
        self.local = local  # it was given as a clock time in `zone`

    def first(self, now: int) -> int | None:
        return self.moment

    def after(self, moment: int, anchor: int) -> int | None:
        return self.moment if self.moment > moment else None

    def zones(self) -> frozenset[str]:
        return frozenset((self.zone.key,)) if self.local else frozenset()

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        return Moved(self.moment)

    def describe(self) -> str:
        return f"once, at {to_datetime(self.moment).astimezone(self.zone).isoformat(' ')}"


def parse_at(text: str, zone: str) -> At:
    """The schedule of the time after the word `at`. Raises Flaw."""
    place, form = find_zone(zone), _FORM.match(text)
    if form is None:
        raise Flaw(f"{text!a} is not a time" if text else "the time is missing", 0, _ALLOWED)
    if not 1970 <= int(form["year"]) <= 9998:
        raise Flaw(f"the year {form['year']} is out of range", 0, "years from 1970 to 9998 are allowed")
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        # Python's message begins with the name of the wrong part: "day is out of range for month".
        part = next((name for name in form.groupdict() if str(error).startswith(name)), "offset")
        raise Flaw(f"there is no such time: {part} {form[part]!r}", max(0, form.start(part)), _ALLOWED) from None
    moment = moment_of(value, place) if value.tzinfo is None else from_datetime(value)
    if not EARLIEST <= moment < LATEST:
        raise Flaw("the time is out of range", 0, "from 1970-01-02 to 9998-12-31")
    return At(moment, place, local=value.tzinfo is None)
