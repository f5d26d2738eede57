"""Time zones: finding one by its IANA name, and the walk between its clocks and the moments of UTC.

`aware + timedelta` forgets which of two equal local times is meant, so nothing here adds to an aware datetime: what
the clocks of a zone show is a naive `datetime`, and everything else is whole microseconds of UTC.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jobd.clock import DAY, HOUR, LATEST, SECOND, from_datetime, to_datetime
from jobd.schedule.base import NO_ZONES, Flaw, Moved, Schedule
from jobd.schedule.rule import is_rule, zone_of_rule

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*\Z")
MAX_CLOCK_CORRECTION = (
    3 * HOUR
)  # a clock that is moved by less is put right; one that is moved by more was wrong: Debian's cron(8)
_MICROSECOND = timedelta(microseconds=1)
_NONE = timedelta()


def find_zone(name: str) -> ZoneInfo:
    """The time zone called `name`, which is never used as a path. Raises Flaw, with the nearest name that exists."""
    zone = known_zone(name)
    if zone is None:
        raise Flaw(f"there is no time zone {name[:64]!a}", 0, _nearest(name))
    return zone


def known_zone(name: str) -> ZoneInfo | None:
    """The time zone called `name`, in the IANA database or by a POSIX rule; None when there is none."""
    if name.upper() == "UTC":
        name = "UTC"
    if _NAME.match(name) and name.partition("/")[0] not in NO_ZONES:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None  # "Europe" is a folder, "tzdata.zi" no zone
    if is_rule(name):
        return zone_of_rule(name)
    return None


def clock_time(moment: int, zone: ZoneInfo) -> datetime:
    """What the clocks of `zone` show at `moment`, naive."""
    return to_datetime(moment).astimezone(zone).replace(tzinfo=None, fold=0)


def offset_at(moment: int, zone: ZoneInfo) -> int:
    """How far the clocks of `zone` are ahead of UTC at `moment`."""
    return (to_datetime(moment).astimezone(zone).utcoffset() or _NONE) // _MICROSECOND


def moment_of(clock: datetime, zone: ZoneInfo) -> int:
    """The moment when the clocks show the naive time `clock`.

    A time that they skip means the first moment after the gap; of one that comes twice, the first is meant.
    """
    before = (clock.replace(tzinfo=zone, fold=0).utcoffset() or _NONE) // _MICROSECOND
    later = (clock.replace(tzinfo=zone, fold=1).utcoffset() or _NONE) // _MICROSECOND
    as_utc = from_datetime(clock)
    return as_utc - before if later <= before else change_between(as_utc - later, as_utc - before, zone)


def is_skipped(clock: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of `zone` never show the naive time `clock`."""
    return clock.replace(tzinfo=zone, fold=1).utcoffset() > clock.replace(tzinfo=zone, fold=0).utcoffset()  # type: ignore[operator]


class ClockChange(NamedTuple):
    """The clocks of a zone are put forward or back: by `after - before` microseconds, at `moment`."""

    moment: int
    before: int
    after: int

    def clocks(self) -> tuple[datetime, datetime]:
        """The clock times [first, last) that are skipped, or come twice."""
        first, last = sorted((self.moment + self.before, self.moment + self.after))
        return to_datetime(first).replace(tzinfo=None), to_datetime(last).replace(tzinfo=None)

    @property
    def forward(self) -> bool:
        return self.after > self.before


def changes(zone: ZoneInfo, since: int, until: int) -> Iterator[ClockChange]:
    """Every change of the clocks of `zone` in (since, until]."""
    until = min(until, LATEST)
    while since < until:
        end = min(since + DAY, until)
        before, after = offset_at(since, zone), offset_at(end, zone)
        if before != after:
            yield ClockChange(change_between(since, end, zone), before, after)
        since = end


def change_between(low: int, high: int, zone: ZoneInfo) -> int:
    """The moment in (low, high] from which the clocks are no longer as far ahead as at `low`; they change once there.

    All changes are at whole seconds.
    """
    offset = offset_at(low, zone)
    first, last = low // SECOND, -(-high // SECOND)
    while last - first > 1:
        middle = (first + last) // 2
        if offset_at(middle * SECOND, zone) == offset:
            first = middle
        else:
            last = middle
    return last * SECOND


def clock_notes(
    match: Callable[[datetime], datetime], zone: ZoneInfo, since: int, until: int, skipped: str, twice: str
) -> list[str]:
    """What the changes of the clocks mean for a rule, whose next time `match` finds: a sentence for each it meets."""
    found = []
    for change in changes(zone, since, until):
        first, last = change.clocks()
        try:
            clock = match(first - timedelta(seconds=1))
        except (OverflowError, ValueError, StopIteration):
            break
        if clock < last:
            found.append(f"{clock:%Y-%m-%d %H:%M} {skipped if change.forward else twice}")
    return found


def moved_clock(schedule: Schedule, due: int, was: ZoneInfo, zone: ZoneInfo, now: int, late: bool) -> Moved:
    """A clock time keeps what the clocks show and moves with its zone, so that each comes once.

    What the change skips is due at once (`late`) when it moved by less than three hours, as at any change of the
    clocks; else it is skipped.
    """
    if was.key == zone.key:
        return Moved(_by_new_rules(schedule, due, now))
    same = moment_of(clock_time(due, was), zone)
    if same > now or due <= now:
        return Moved(schedule.after(same - 1, same))
    if late and due - same < MAX_CLOCK_CORRECTION:
        return Moved(same)
    return Moved(schedule.after(now, now), schedule.count(same - 1, now, now))


def _by_new_rules(schedule: Schedule, due: int, now: int) -> int | None:
    """The due time in hand by rules that moved the clocks by an hour or three; one that would have passed stays."""
    if due <= now or schedule.after(due - 1, due) == due:
        return due
    sooner = schedule.after(due - MAX_CLOCK_CORRECTION, due)
    return sooner if sooner is None or sooner > now else due


def forget_rules() -> None:
    """Read the zones' rules again where they are asked for next: they may be newer ones."""
    ZoneInfo.clear_cache()
    rules_version.cache_clear()


@lru_cache(maxsize=1)
def rules_version() -> str:
    """A fingerprint of the rules of all zones. To make it takes some 20 ms, so it is kept."""
    total = 0
    for folder in TZPATH:
        for name in sorted(_files(folder)):
            with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
                if (rules := file.read()).startswith(b"TZif"):
                    total = crc32(rules, crc32(name.encode(), total))
    if total:
        return f"{total:08x}"
    from importlib.metadata import version

    return version("tzdata")


def _files(folder: str) -> Iterator[str]:
    """What may be zones in a folder of TZPATH. (`available_timezones` costs a daemon 2 MiB for what it imports.)"""
    for path, folders, names in os.walk(folder):
        inner = os.path.relpath(path, folder)
        if inner == os.curdir:
            folders[:] = [name for name in folders if name not in NO_ZONES]
            yield from (name for name in names if name != "posixrules")
        else:
            yield from (os.path.join(inner, name) for name in names)


def zone_spelt(name: str) -> str | None:
    """The name of the zone that is spelt like this but for the case of its letters."""
    return _by_case().get(name.casefold())


def _by_case() -> dict[str, str]:
    return {zone.casefold(): zone for zone in available_timezones() if zone.partition("/")[0] not in NO_ZONES}


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    if not name or name.partition("/")[0] in NO_ZONES:
        return "write a name like Europe/Berlin"
    known = _by_case()
    near = get_close_matches(name.casefold(), known, 1, 0.6)
    return f"did you mean {known[near[0]]}?" if near else "write a name like Europe/Berlin"
