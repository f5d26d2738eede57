"""Time zones: lookup by IANA name or POSIX rule, and conversion between clock times and moments in UTC.

`aware + timedelta` loses which of two equal local times is meant, so nothing here adds to an aware datetime. A clock
time of a zone is a naive `datetime`; moments are µs in UTC, and offsets and durations are µs.
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
# A smaller change corrects a clock; a larger one means that it was wrong before. As in Debian's cron(8).
MAX_CLOCK_CORRECTION = 3 * HOUR
_MICROSECOND = timedelta(microseconds=1)
_NONE = timedelta()


def find_zone(name: str) -> ZoneInfo:
    """The time zone called `name`, which is never used as a path. Raises Flaw, with the nearest existing name."""
    zone = known_zone(name)
    if zone is None:
        raise Flaw(f"there is no time zone {name[:64]!a}", 0, _nearest(name))
    return zone


def known_zone(name: str) -> ZoneInfo | None:
    """The time zone called `name` in the IANA database, or of the POSIX rule `name`; None: there is none."""
    if name.upper() == "UTC":
        name = "UTC"
    if _NAME.match(name) and name.partition("/")[0] not in NO_ZONES:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None  # "Europe" is a folder, "tzdata.zi" is not a zone
    if is_rule(name):
        return zone_of_rule(name)
    return None


def clock_time(moment: int, zone: ZoneInfo) -> datetime:
    """The clock time in `zone` at `moment`, naive."""
    return to_datetime(moment).astimezone(zone).replace(tzinfo=None, fold=0)


def offset_at(moment: int, zone: ZoneInfo) -> int:
    """The offset of `zone` from UTC at `moment`, in µs; positive if its clocks are ahead."""
    return (to_datetime(moment).astimezone(zone).utcoffset() or _NONE) // _MICROSECOND


def moment_of(clock: datetime, zone: ZoneInfo) -> int:
    """The moment when the clocks of `zone` show the naive time `clock`.

    A time that they skip means the first moment after the gap. A time that comes twice means the first time.
    """
    before = (clock.replace(tzinfo=zone, fold=0).utcoffset() or _NONE) // _MICROSECOND
    later = (clock.replace(tzinfo=zone, fold=1).utcoffset() or _NONE) // _MICROSECOND
    as_utc = from_datetime(clock)
    return as_utc - before if later <= before else change_between(as_utc - later, as_utc - before, zone)


def is_skipped(clock: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of `zone` never show the naive time `clock`."""
    return clock.replace(tzinfo=zone, fold=1).utcoffset() > clock.replace(tzinfo=zone, fold=0).utcoffset()  # type: ignore[operator]


class ClockChange(NamedTuple):
    """A change of a zone's offset from UTC at `moment`, from `before` to `after` (µs)."""

    moment: int
    before: int
    after: int

    def clocks(self) -> tuple[datetime, datetime]:
        """The range [first, last) of clock times that are skipped or come twice."""
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
    """The moment in (low, high] at which the offset of `zone` changes. It must change exactly once there.

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
    """A sentence for each change of the clocks that affects a rule. `match` finds the rule's next clock time."""
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
    """The due time with the same clock time in the new zone, so that each clock time is due once.

    If `due` is in the future and that moment has passed, the job is due at once if `late` is true and the due time
    moved by less than three hours, as at any change of the clocks. Otherwise the due times up to now are skipped.
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
    """The due time by new rules, which move it by at most three hours; `due` if the new one has already passed."""
    if due <= now or schedule.after(due - 1, due) == due:
        return due
    sooner = schedule.after(due - MAX_CLOCK_CORRECTION, due)
    return sooner if sooner is None or sooner > now else due


def discard_rules() -> None:
    """Discard the cached rules of zones, because newer ones may be installed."""
    ZoneInfo.clear_cache()
    rules_version.cache_clear()


@lru_cache(maxsize=1)
def rules_version() -> str:
    """A fingerprint of the rules of all zones. It is cached, because it takes about 20 ms."""
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
    """Files in a folder of TZPATH that may be zones; `available_timezones` would cost a daemon 2 MiB of imports."""
    for path, folders, names in os.walk(folder):
        inner = os.path.relpath(path, folder)
        if inner == os.curdir:
            folders[:] = [name for name in folders if name not in NO_ZONES]
            yield from (name for name in names if name != "posixrules")
        else:
            yield from (os.path.join(inner, name) for name in names)


def zone_spelt(name: str) -> str | None:
    """The name of the zone that differs from `name` at most in case; None: there is none."""
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
