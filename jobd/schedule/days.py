"""Days on which a job does not run, such as holidays. A due time on them is skipped, or moved to a working day."""

import re
from collections.abc import Sequence
from datetime import MAXYEAR, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from jobd.schedule.base import Flaw, Moved, Schedule, in_time
from jobd.schedule.zone import clock_time, find_zone, moment_of, moved_clock

NEXT = "next"
MAX_DATES = 1_000  # items in a list of dates
_MAX_DAYS = 4_000  # days that are searched from one due time
_MAX_STEPS = 20_000  # of a search for the next due time: a few for each day
_ALLOWED = "write 2026-12-24, 2026-12-24..2027-01-01, or 12-25 for every year"
_ONE_DAY = timedelta(days=1)


class Days:
    """A set of days: ranges of dates, and (month, day) pairs for every year."""

    def __init__(self, ranges: Sequence[tuple[date, date]], yearly: Sequence[tuple[int, int]]) -> None:
        self._ranges = tuple(ranges)
        self._yearly = frozenset(yearly)

    def __contains__(self, day: date) -> bool:
        return (day.month, day.day) in self._yearly or any(first <= day <= last for first, last in self._ranges)


@lru_cache(maxsize=256)
def parse_days(texts: tuple[str, ...]) -> Days:
    """The days in a list of dates. Raises Flaw."""
    if len(texts) > MAX_DATES:
        raise Flaw(f"there are {len(texts)} dates", 0, f"at most {MAX_DATES}; write ranges")
    ranges, yearly = [], []
    for text in texts:
        if re.fullmatch(r"[0-9]{2}-[0-9]{2}", text):
            leap = _date(f"2024-{text}", text)
            yearly.append((leap.month, leap.day))
            continue
        first, dots, last = text.partition("..")
        begin, end = _date(first, text), _date(last, text) if dots else _date(first, text)
        if end < begin:
            raise Flaw(f"{text!a} ends before it begins", len(first) + 2, _ALLOWED)
        ranges.append((begin, end))
    return Days(ranges, yearly)


class Skipping(Schedule):
    """`inner` without due times on `days`, by the clocks of `zone`. If `instead` is NEXT, they are moved."""

    __slots__ = ("aligned", "at_once", "days", "from_finish", "inner", "instead", "on_event", "zone")

    def __init__(self, inner: Schedule, days: Days, zone: ZoneInfo, instead: str) -> None:
        super().__init__(inner.text)
        self.inner, self.days, self.zone, self.instead = inner, days, zone, instead
        self.at_once, self.aligned = inner.at_once, inner.aligned
        self.from_finish, self.on_event = inner.from_finish, inner.on_event

    def first(self, now: int) -> int | None:
        due = self.inner.first(now)
        if due is None or not self._off(due):
            return due
        if self.at_once:
            return self._end_of_block(due)
        return self._moved(due) if self.instead == NEXT else self.after(due, due)

    def after(self, moment: int, anchor: int) -> int | None:
        if self.instead == NEXT:
            return self._moved_after(moment, anchor)
        due = self.inner.after(moment, anchor)
        while due is not None and self._off(due):
            end = self._end_of_block(due)
            due = end if self.from_finish or end is None else self.inner.after(end - 1, anchor)
        return due

    def zones(self) -> frozenset[str]:
        return self.inner.zones() | {self.zone.key}

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        before = was if isinstance(was, Skipping) else self
        if self.instead == NEXT:
            return moved_clock(self, due, before.zone, self.zone, now, late=True)
        moved = self.inner.moved(due, before.inner, now, anchor)
        if moved.due is None or moved.due <= now or not self._off(moved.due):
            return moved
        return moved._replace(due=self.after(moved.due - 1, anchor))

    def describe(self) -> str:
        what = "moved to the next working day" if self.instead == NEXT else "skipped"
        return f"{self.inner.describe()}; on certain days {what}"

    def notes(self, since: int, until: int) -> list[str]:
        return self.inner.notes(since, until)

    def _off(self, due: int) -> bool:
        return clock_time(due, self.zone).date() in self.days

    def _end_of_block(self, due: int) -> int | None:
        """The start of the first day after `due` that is not one of `days`; None: the calendar ends before it."""
        day = clock_time(due, self.zone).date()
        for _ in range(_MAX_DAYS):
            if day not in self.days or day.year == MAXYEAR:
                break
            day += _ONE_DAY
        end = in_time(moment_of(datetime.combine(day, time()), self.zone))
        return end if end is None or end > due else None  # equal or less: the calendar ends within the block

    def _works(self, day: date) -> bool:
        return day.weekday() < 5 and day not in self.days

    def _moved(self, due: int) -> int | None:
        """The same clock time on the next working day."""
        clock = clock_time(due, self.zone)
        day = clock.date() + _ONE_DAY
        for _ in range(_MAX_DAYS):
            if self._works(day) or day.year == MAXYEAR:
                break
            day += _ONE_DAY
        return in_time(moment_of(datetime.combine(day, clock.time()), self.zone))

    def _moved_after(self, moment: int, anchor: int) -> int | None:
        """The first due time after `moment`, including due times that were moved from earlier days."""
        day = clock_time(moment, self.zone).date()
        for _ in range(_MAX_DAYS):
            if self._works(day - _ONE_DAY):
                break
            day -= _ONE_DAY
        best: int | None = None
        cursor = self._start_of(day) - 1
        for _ in range(_MAX_STEPS):
            due = self.inner.after(cursor, anchor)
            if due is None or (best is not None and due >= best):
                break
            off = self._off(due)
            at = self._moved(due) if off else due
            if at is not None and at > moment:
                best = at if best is None else min(best, at)
                if not off:
                    break  # all later ones are later than this
            # Of a day only the first due time counts that comes after `moment`, so skip the rest of it.
            cursor = max(due, self._next_of_interest(due, at, moment) - 1)
        return best

    def _next_of_interest(self, due: int, at: int | None, moment: int) -> int:
        """The time from which on the next due time may matter, after `due`, which is moved to `at`."""
        day = clock_time(due, self.zone).date()
        clock = clock_time(moment, self.zone)
        if at is not None and at <= moment and clock_time(at, self.zone).date() == clock.date():
            return moment_of(datetime.combine(day, clock.time()), self.zone) + 1
        return self._start_of(day + _ONE_DAY) if day < date.max else due + 1

    def _start_of(self, day: date) -> int:
        return moment_of(datetime.combine(day, time()), self.zone)


def without(inner: Schedule, texts: tuple[str, ...], zone: str, instead: str) -> Schedule:
    """`inner` without due times on the dates in `texts`. Raises Flaw."""
    if instead == NEXT and (inner.at_once or inner.from_finish or inner.on_event):
        raise Flaw("only clock times can be moved to the next working day", 0, "give a cron expression, or skip them")
    place = getattr(inner, "zone", None) or find_zone(zone)
    return Skipping(inner, parse_days(texts), place, instead)


def _date(text: str, whole: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Flaw(f"{whole[:40]!a} is no day", 0, _ALLOWED) from None
