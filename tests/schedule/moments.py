"""Moments as a person writes them, for readable tables."""

from datetime import datetime
from zoneinfo import ZoneInfo

from jobd.clock import from_datetime, to_datetime
from jobd.schedule import Schedule, parse

NOW = 1_795_465_213_000_000  # 2026-11-23 20:20:13 UTC


def moment(text: str, zone: str = "UTC") -> int:
    """The moment of an ISO 8601 time; without an offset it is one of `zone`."""
    value = datetime.fromisoformat(text)
    return from_datetime(value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone)))


def shown(due: int | None, zone: str = "UTC") -> str:
    """What the clocks of `zone` show at `due`, with the offset."""
    return "never" if due is None else to_datetime(due).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S%z")


def due_times(schedule: Schedule, start: int, until: int, anchor: int = 0) -> list[int]:
    """Every due time in (start, until], one `after` at a time."""
    found: list[int] = []
    due = schedule.after(start, anchor)
    while due is not None and due <= until:
        found.append(due)
        due = schedule.after(due, anchor)
    return found


def parsed(text: str, zone: str = "UTC") -> Schedule:
    """The schedule of `text`."""
    return parse(text, False, zone)
