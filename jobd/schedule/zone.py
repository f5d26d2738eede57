"""Time zones by their IANA names; an unknown one is refused with the nearest that exists."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jobd.schedule.base import ScheduleError


def find_zone(name: str, interval: str = "") -> ZoneInfo:
    """The time zone called `name`. Raises ScheduleError, whose text is the interval that named it."""
    try:
        if not name or name.startswith(("/", ".")) or ".." in name:
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from difflib import get_close_matches

        near = get_close_matches(name, available_timezones(), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "write a name like Europe/Berlin"
        raise ScheduleError(f"there is no time zone {name[:64]!r}", interval, 3, hint) from None
