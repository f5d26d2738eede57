"""Days on which a job does not run, such as holidays. A due time on them is skipped, or moved to a working day."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from jobd.schedule.base import Flaw, Moved, Schedule, in_time
from jobd.schedule.zone import clock_time, find_zone, moment_of, moved_clock

NEXT = "next"
MAX_DATES = 1_000  # items in a list of dates
_MAX_STEPS = 20_000  # of a search for the next due time: up to three for each day
_LAST_DAYS = timedelta(days=1_000)
_FIRST_DAY = date(1970, 1, 1)
_DAYS_OF_A_YEAR = 366
_SATURDAY, _WEEKEND = 5, timedelta(days=2)
_ALLOWED = "write 2026-12-24, 2026-12-24..2027-01-01, or 12-25 for every year"
_ONE_DAY = timedelta(days=1)


class Days:
    """A set of days: ranges of dates, and (month, day) pairs for every year."""

    def __init__(self, ranges: Sequence[tuple[date, date]], yearly: Sequence[tuple[int, int]]) -> None:
        self._ranges = _merged(ranges)
        self._firsts = [first for first, _ in self._ranges]
        self._yearly = frozenset(yearly)

    def __contains__(self, day: date) -> bool:
        return (day.month, day.day) in self._yearly or self._range_with(day) is not None

    def free_from(self, day: date) -> date | None:
        """The first day, from `day` on, that is not one of these; None: the calendar ends before it."""
        return self._free(day, 1)

    def free_until(self, day: date) -> date | None:
        """The last day, up to `day`, that is not one of these; None: the calendar begins after it."""
        return self._free(day, 0)

    def _free(self, day: date, side: int) -> date | None:
        """The first free day from `day` on (`side` 1), or the last one up to it (0)."""
        if len(self._yearly) == _DAYS_OF_A_YEAR:
            return None
        end, step = (date.max, _ONE_DAY) if side else (date.min, -_ONE_DAY)
        while day in self:
            day = (self._range_with(day) or (day, day))[side]
            if day == end:
                return None
            day += step
        return day

    def _range_with(self, day: date) -> tuple[date, date] | None:
        place = bisect_right(self._firsts, day) - 1
        return self._ranges[place] if place >= 0 and day <= self._ranges[place][1] else None


def _merged(ranges: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """The same days, in order and each in one range."""
    merged: list[tuple[date, date]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


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
        day = self.days.free_from(clock_time(due, self.zone).date())
        return None if day is None else in_time(self._start_of(day))

    def _working_from(self, day: date) -> date | None:
        """The first working day from `day` on; None: the calendar ends before it."""
        free = self.days.free_from(day)
        while free is not None and free.weekday() >= _SATURDAY:
            if free > date.max - _WEEKEND:
                return None
            free = self.days.free_from(free + _ONE_DAY)
        return free

    def _working_until(self, day: date) -> date | None:
        """The last working day up to `day`; None: the calendar begins after it."""
        free = self.days.free_until(day)
        while free is not None and free.weekday() >= _SATURDAY:
            if free < date.min + _WEEKEND:
                return None
            free = self.days.free_until(free - _ONE_DAY)
        return free

    def _moved(self, due: int) -> int | None:
        """The same clock time on the next working day."""
        clock = clock_time(due, self.zone)
        day = self._working_from(clock.date() + _ONE_DAY)
        return None if day is None else in_time(moment_of(datetime.combine(day, clock.time()), self.zone))

    def _moved_after(self, moment: int, anchor: int) -> int | None:
        """The first due time after `moment`, including due times that were moved from earlier days.

        A block of days with more than _MAX_STEPS due times is longer than 20 years, or its schedule is due on each of
        them. Then the search goes on with its last days: what is due each day is due then too.
        """
        day = clock_time(moment, self.zone).date()
        worked, works = self._working_until(day - _ONE_DAY), self._working_from(day)
        if works is None:
            return None
        first = max(worked + _ONE_DAY, _FIRST_DAY) if worked is not None else _FIRST_DAY
        best, cursor = self._first_moved(self._start_of(first) - 1, moment, anchor)
        if cursor is not None:
            late = max(cursor, self._start_of(max(works - _LAST_DAYS, first)) - 1)
            best = min(filter(None, (best, self._first_moved(late, moment, anchor)[0])), default=None)
        return best

    def _first_moved(self, cursor: int, moment: int, anchor: int) -> tuple[int | None, int | None]:
        """The first due time after `moment`, of those after `cursor`; and where a search of _MAX_STEPS has stopped."""
        best: int | None = None
        for _ in range(_MAX_STEPS):
            due = self.inner.after(cursor, anchor)
            if due is None or (best is not None and due >= best):
                return best, None
            off = self._off(due)
            at = self._moved(due) if off else due
            if at is not None and at > moment:
                best = at if best is None else min(best, at)
                if not off:
                    return best, None  # all later ones are later than this
            # Of a day only the first due time counts that comes after `moment`, so skip the rest of it.
            cursor = max(due, self._next_of_interest(due, at, moment) - 1)
        return best, cursor

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
