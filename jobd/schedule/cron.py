"""Cron expressions: five fields, or six with seconds first; names, ranges, steps, lists, `L`, `LW`, `#`; `@daily`.

`H` is from Jenkins: a value derived from the job's name, so that many jobs do not all start together.

cronsim parses the fields, applies Debian's rule for the two day fields (alternatives, unless one of them begins with
`*`) and searches naive clock times. Zones are handled here, because cronsim 2.8 steps by whole hours. So it misses due
times where the clocks change by half an hour or at midnight (Lord Howe, São Paulo). It also treats six fields
differently from five. The rule here:

    neither minute nor hour begins with `*`   a fixed time: if the clocks skip it, it is due right after the gap;
                                              if it comes twice, it is due once, the first time
    otherwise                                 follows the clocks: a skipped time is not due, a repeated one is due twice
"""

import re
from collections.abc import Mapping
from copy import copy
from datetime import datetime, time, timedelta
from typing import NamedTuple
from zlib import crc32
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS

from jobd.clock import DAY, LATEST, SECOND, from_datetime, to_datetime
from jobd.schedule.base import Flaw, Moved, Schedule
from jobd.schedule.dialects import ALIASES, item_hint, near_alias, refuse_dialects
from jobd.schedule.zone import change_between, clock_notes, clock_time, find_zone, moment_of, moved_clock, offset_at

SUNDAY = 7  # also 0
_ORDINAL = re.compile(r"\b([0-9]+)th\b")
_MONTHS = {name: number for number, name in enumerate(SYMBOLIC_MONTHS, 1)}
_DAYS = {name: number for number, name in enumerate(SYMBOLIC_DAYS)}


class _Field(NamedTuple):
    """The values that a field allows: numbers, names, and in some fields `special` items (upper case)."""

    name: str
    least: int
    greatest: int
    allowed: str
    names: Mapping[str, int] = {}
    special: str = "(?!)"

    @property
    def most(self) -> int:
        """The greatest value, not counting 7 for Sunday, which is also 0."""
        return SUNDAY - 1 if self.names is _DAYS else self.greatest


_FIELDS = (
    _Field("second", 0, 59, "0 to 59"),
    _Field("minute", 0, 59, "0 to 59"),
    _Field("hour", 0, 23, "0 to 23"),
    _Field("day of month", 1, 31, "1 to 31, L or LW", special="LW?"),
    _Field("month", 1, 12, "1 to 12 or JAN to DEC", _MONTHS),
    _Field("day of week", 0, 7, "0 to 7, SUN to SAT, 5L or FRI#2", _DAYS, f"[0-7]L|([0-7]|{'|'.join(_DAYS)})#[1-5]"),
)
_ITEM = re.compile(r"(?:\*|([0-9]{1,4}|[A-Z]{3})(?:-([0-9]{1,4}|[A-Z]{3}))?)(?:/([0-9]{1,4}))?\Z")
_HASHED = re.compile(r"H(?:\(([0-9]{1,2})-([0-9]{1,2})\))?(?:/([0-9]{1,4}))?\Z", re.IGNORECASE)
_HASHED_MOST = {"day of month": 28, "day of week": 6}  # every month has 28 days; 0 and 7 are the same day
_ONE_DAY = timedelta(days=1)
_WINDOW = 2 * DAY  # no zone has changed its clocks twice within two days, or by that much


class Cron(Schedule):
    """Due whenever the clocks of `zone` match `expression`."""

    __slots__ = ("_fixed", "_rule", "expression", "zone")

    def __init__(self, expression: str, rule: CronSim, zone: ZoneInfo) -> None:
        super().__init__(f"TZ={zone.key} {expression}")
        self.expression = expression
        self.zone = zone
        self._rule = rule
        minute, hour = expression.split()[-5:-3]
        self._fixed = not minute.startswith("*") and not hour.startswith("*")

    def first(self, now: int) -> int | None:
        return self.after(now, now)

    def after(self, moment: int, anchor: int) -> int | None:
        try:
            due = self._fixed_after(moment) if self._fixed else self._clock_after(moment)
        except (OverflowError, ValueError, StopIteration):
            return None  # the calendar ends with the year 9999
        return due if due < LATEST else None

    def zones(self) -> frozenset[str]:
        return frozenset((self.zone.key,))

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        if not self._fixed:  # it follows the clocks, so the next match in the new zone applies
            return Moved(due if due <= now else self.after(now, now))
        return moved_clock(self, due, was.zone if isinstance(was, Cron) else self.zone, self.zone, now, late=True)

    def count(self, after: int, until: int, anchor: int) -> int:
        """Counted by whole days. Near a change of the clocks, due times are counted one by one."""
        if until - after <= DAY or until > LATEST:
            return super().count(after, until, anchor)
        day, last = (clock_time(moment, self.zone).date() for moment in (after, until))
        total = 0
        while day <= last:
            begin, end = (moment_of(datetime.combine(one, time()), self.zone) for one in (day, day + _ONE_DAY))
            low, high = max(after, begin - 1), min(until, end - 1)
            if offset_at(begin - DAY, self.zone) != offset_at(end + DAY, self.zone):
                total += self._enumerated(low, high)
            elif self._rule.match_day(day) and day.month in self._rule.months:
                total += self._in_day(high - begin) - self._in_day(low - begin)
            day += _ONE_DAY
        return total

    def _in_day(self, since: int) -> int:
        """The number of due times in a matching day up to `since` (µs after its start); 0 if that is negative."""
        if since < 0:
            return 0
        minutes, second = divmod(since // SECOND, 60)
        hour, minute = divmod(minutes, 60)
        rule = self._rule
        in_minute = sum(one <= second for one in rule.seconds) if minute in rule.minutes else 0
        in_hour = sum(one < minute for one in rule.minutes) * len(rule.seconds) + in_minute if hour in rule.hours else 0
        return sum(one < hour for one in rule.hours) * len(rule.minutes) * len(rule.seconds) + in_hour

    def _enumerated(self, after: int, until: int) -> int:
        found, due = 0, self.after(after, after)
        while due is not None and due <= until:
            found, due = found + 1, self.after(due, due)
        return found

    def describe(self) -> str:
        words = _ORDINAL.sub(_ordinal, str(self._rule.explain()))
        return f"{words[:1].lower()}{words[1:]} ({self.zone.key})"

    def notes(self, since: int, until: int) -> list[str]:
        *_, hour, day, _, weekday = self.expression.split()
        found = []
        if self._fixed:
            skipped, twice = "is skipped by the clocks: it is due right after", "comes twice and is due the first time"
        else:
            skipped, twice = "is skipped by the clocks and not due", "comes twice and is due both times"
        if not hour.startswith("*"):  # users expect this of an hourly schedule
            found = clock_notes(self._match, self.zone, since, until, skipped, twice)
        if not day.startswith("*") and not weekday.startswith("*"):
            found.insert(0, "day of month and day of week are both given: it is due when either matches")
        return found

    def _match(self, clock: datetime) -> datetime:
        """The first matching clock time after `clock`, both naive."""
        search = copy(self._rule)  # a search changes the rule, and schedules are shared
        search.dt = clock.replace(microsecond=0)
        return next(search)

    def _fixed_after(self, moment: int) -> int:
        clock = self._match(clock_time(moment, self.zone))
        while (due := moment_of(clock, self.zone)) <= moment:  # the clocks show it a second time
            clock = self._match(clock)
        return due

    def _clock_after(self, moment: int) -> int:
        """Clock times advance evenly with UTC up to the next change of the clocks, where the search restarts."""
        offset = offset_at(moment, self.zone)
        while True:
            due = from_datetime(self._match(to_datetime(moment + offset).replace(tzinfo=None))) - offset
            end = min(due, moment + _WINDOW)
            if (later := offset_at(end, self.zone)) != offset:
                # One second earlier, because the moment of the change itself may be due.
                moment, offset = change_between(moment, end, self.zone) - SECOND, later
            elif end == due:
                return due
            else:
                moment = max(end, due - _WINDOW)
                offset = offset_at(moment, self.zone)


def parse_cron(text: str, zone: str, name: str = "") -> Cron:
    """The schedule of a cron expression or alias; the values of `H` are derived from `name`. Raises Flaw."""
    place = find_zone(zone)
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise Flaw(f"{text!a} is not known", 0, near_alias(text))
        text = ALIASES[text.lower()]
    words = list(re.finditer("[^ ]+", text))
    refuse_dialects(text, words)
    fields = _FIELDS[-len(words) :]
    expression = " ".join(
        _field(word.group(), word.start(), field, name) for word, field in zip(words, fields, strict=True)
    )
    try:
        rule = CronSim(expression, datetime(2026, 1, 1))  # noqa: DTZ001  a naive clock time
        if "#" in expression or not expression.split()[-3].startswith("*"):  # the day may not exist
            next(copy(rule))
    except (CronSimError, StopIteration):
        raise Flaw("there is no such day", words[-3].start(), "it would never be due") from None
    return Cron(expression, rule, place)


def _field(word: str, position: int, field: _Field, name: str) -> str:
    """One field in cronsim's form. Raises Flaw with the position of the wrong item."""
    items = []
    for item in word.split(","):
        hashed = _HASHED.match(item)
        items.append(_spread(hashed, position, field, name) if hashed else _item(item, position, field))
        position += len(item) + 1
    return ",".join(items)


def _item(text: str, position: int, field: _Field) -> str:
    """One item of a field's list: `5`, `*`, `MON-FRI`, `*/10`, `8-18/2`, `L`. Raises Flaw."""
    upper = text.upper() if text.isascii() else ""
    form = _ITEM.match(upper)
    if form is None:
        if re.fullmatch(field.special, upper):
            return upper
        raise _bad(text, position, field)
    first, last, step = form.groups()
    low, high = (_value(word, field) if word else field.least for word in (first, last or first))
    if low is None or high is None or (step is not None and int(step) == 0):
        raise _bad(text, position, field)
    if field.names is _DAYS and low > high:  # Sunday is both 0 and 7
        low, high = (0, high) if low == SUNDAY else (low, high or SUNDAY)
    if low > high:
        allowed = f"allowed: {field.allowed}; write {_two_ranges(first, last, step, field)}"
        raise Flaw(f"the range {text!a} runs backwards", position, allowed)
    if step is not None:
        _check_step(text, position, field, low, int(step))
    if last is None:
        return upper
    # cronsim reads a range of one value with a step, 6-6/2, as 6/2, which extends to the end of the field.
    return str(low) if low == high else f"{low}-{high}" + (f"/{step}" if step else "")


def _two_ranges(first: str, last: str, step: str | None, field: _Field) -> str:
    """A correction for a range that crosses the end of its field."""
    if step is not None:
        return "two ranges"
    least, most = str(field.least), str(field.most)
    if not first.isdigit():
        by_number = {number: name for name, number in field.names.items()}
        least, most = by_number[field.least], by_number[field.most]
    return ",".join(one if one == other else f"{one}-{other}" for one, other in ((first, most), (least, last)))


def _check_step(text: str, position: int, field: _Field, low: int, step: int) -> None:
    """Raise Flaw for a step that exceeds its field: it restarts with each larger unit, so only one value remains."""
    if step <= field.most - field.least:
        return
    whole = text[:1] in "*Hh" and "(" not in text
    unit = {"second": "s", "minute": "m", "hour": "h", "day of month": "d"}.get(field.name)
    write = f"write {low}" + (f", or {step}{unit} for an interval" if whole and unit else "")
    raise Flaw(f"the step of {text!a} leaves one {field.name}, {low}", position, write)


def _spread(form: re.Match[str], position: int, field: _Field, name: str) -> str:
    """`H`, `H/15`, `H(0-29)`, `H(8-17)/2`: as in Jenkins, fixed values derived from the job's `name`. Raises Flaw."""
    low, high, step = (int(word) if word else None for word in form.groups())
    if low is None or high is None:
        low, high = field.least, min(field.greatest, _HASHED_MOST.get(field.name, field.greatest))
    if step is not None:
        _check_step(form.group(), position, field, low, step)
    if not field.least <= low <= high <= field.greatest or (step is not None and not 0 < step <= high - low):
        raise _bad(form.group(), position, field)
    value = crc32(f"{name}\0{field.name}".encode())
    if step is None:
        return str(low + value % (high - low + 1))
    first = low + value % step
    return f"{first}-{high}/{step}" if first < high else str(first)


def _value(word: str, field: _Field) -> int | None:
    value = field.names.get(word, int(word) if word.isdigit() else None)
    return value if value is not None and field.least <= value <= field.greatest else None


def _bad(text: str, position: int, field: _Field) -> Flaw:
    hint = item_hint(text, field.names) or f"allowed: {field.allowed}; *, ranges, steps and lists"
    return Flaw(f"bad {field.name} {text!a}", position, hint)


def _ordinal(form: re.Match[str]) -> str:
    """`21st` instead of cronsim's `21th`."""
    number = form[1]
    ending = "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number + ending
