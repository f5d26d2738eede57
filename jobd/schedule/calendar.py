"""`calendar Mon..Fri *-*-* 09:00`: systemd's calendar expressions, as systemd.time(7) describes them.

The library oncalendar parses them and searches clock times. Its handling of zones is not used, so that all kinds of
schedules convert between clock times and moments in the same way (jobd.schedule.zone). As in systemd, and unlike cron,
a time that the clocks skip is not due, and a time that comes twice is due once, the first time.
"""

import re
from copy import copy
from datetime import datetime
from zoneinfo import ZoneInfo

from oncalendar import BaseIterator, OnCalendarError

from jobd.clock import LATEST
from jobd.schedule.base import Flaw, Moved, Schedule
from jobd.schedule.zone import (
    clock_notes,
    clock_time,
    find_zone,
    is_skipped,
    known_zone,
    moment_of,
    moved_clock,
    zone_spelt,
)

_ALLOWED = "write it as systemd does: Mon..Fri *-*-* 09:00:00, *-*-1 12:00, *:0/15, daily"
_ZONE = re.compile(r"[A-Za-z_]+/[A-Za-z0-9_+/-]+")  # also matches a zone that does not exist
_SYNONYMS = dict.fromkeys(("biannually", "bi-annually", "semi-annually"), "semiannually") | {"anually": "annually"}


class CalendarTimes(Schedule):
    """Due whenever the clocks of `zone` show a time that `expression` matches."""

    __slots__ = ("_rule", "expression", "zone")

    def __init__(self, expression: str, rule: BaseIterator, zone: ZoneInfo) -> None:
        super().__init__(f"TZ={zone.key} calendar {expression}")
        self.expression = expression
        self.zone = zone
        self._rule = rule

    def first(self, now: int) -> int | None:
        return self.after(now, now)

    def after(self, moment: int, anchor: int) -> int | None:
        try:
            clock = self._match(clock_time(moment, self.zone))
            while is_skipped(clock, self.zone) or (due := moment_of(clock, self.zone)) <= moment:
                clock = self._match(clock)
        except (OverflowError, ValueError, StopIteration):
            return None
        return due if due < LATEST else None

    def zones(self) -> frozenset[str]:
        return frozenset((self.zone.key,))

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        before = was.zone if isinstance(was, CalendarTimes) else self.zone
        return moved_clock(self, due, before, self.zone, now, late=False)

    def describe(self) -> str:
        return f"whenever the calendar shows {self.expression} ({self.zone.key})"

    def notes(self, since: int, until: int) -> list[str]:
        skipped, twice = "is skipped by the clocks and not due", "comes twice and is due the first time"
        return clock_notes(self._match, self.zone, since, until, skipped, twice)

    def _match(self, clock: datetime) -> datetime:
        """The first matching clock time after `clock`, both naive."""
        search = copy(self._rule)  # a search changes the rule, and schedules are shared
        search.dt = clock.replace(microsecond=0)
        return next(search)


def parse_calendar(text: str, zone: str) -> CalendarTimes:
    """The schedule of a calendar expression; a zone at its end takes precedence over `zone`. Raises Flaw."""
    if not text:
        raise Flaw("the calendar expression is missing", 0, _ALLOWED)
    front, _, last = text.rpartition(" ")
    if front and (known_zone(last) or _ZONE.fullmatch(last)):
        zone, text = last, front.rstrip()
    place = find_zone(zone)
    try:
        rule = BaseIterator(_SYNONYMS.get(text.lower(), text), datetime(1970, 1, 1))  # noqa: DTZ001  a naive clock time
        next(copy(rule))
    except OnCalendarError as error:
        raise Flaw(str(error).lower(), _position(text, str(error)), _hint(text)) from None
    except StopIteration:
        raise Flaw("there is no such day", 0, "it would never be due") from None
    return CalendarTimes(text, rule, place)


def _hint(text: str) -> str:
    """A correction to suggest."""
    last = text.rpartition(" ")[2]
    if re.search(r"[0-9/]\.[0-9]", text):
        return "whole seconds only; a shorter interval is written like 500ms"
    if text[1:].isalpha() and text.startswith("@"):
        return f"write {text[1:]}, or give it as --cron"
    if known_zone(text):
        return f"a zone alone is no time: write 09:00 {text}"
    if last.isalpha() and (name := zone_spelt(last)):
        return f"did you mean {name}?"
    return _ALLOWED


def _position(text: str, message: str) -> int:
    """The position in `text` of the part that the library's message names."""
    words = list(re.finditer("[^ ]+", text))
    if message.endswith(("hour", "minute", "second", "time")):
        return words[-1].start()
    if message.endswith(("year", "month", "date")) and not message.endswith("day-of-month"):
        return next((word.start() for word in words if "-" in word.group()), 0)
    return 0
