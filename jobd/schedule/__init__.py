"""The meaning of a job's `interval`: `parse` turns the string into a Schedule, a pure value.

Each kind that a string can name has a file here and an entry in `_kind`. It is imported when a string needs it, because
most commands need none, and some kinds import time zones or cronsim. A job that runs once or after other jobs has no
string: see jobd.definition.
"""

from collections.abc import Callable
from functools import lru_cache, partial

from jobd.schedule.base import COUNT_LIMIT, SEPARATOR, Flaw, Schedule, ScheduleError

__all__ = ["COUNT_LIMIT", "Schedule", "ScheduleError", "discard_rules", "is_at_start", "load_kinds", "parse"]

MAX_LENGTH = 255  # characters: the width of the column `interval`


def parse(interval: str | None, runonce: bool, zone: str, name: str = "") -> Schedule:
    """The schedule of the job called `name`; `zone` applies where the string names none. Raises ScheduleError."""
    if interval is not None:
        # Only the H of a cron expression, which has blanks, depends on the name. All jobs with `1h` share a schedule.
        return _parse(interval, zone, name if "H" in interval.upper() and not interval.isalnum() else "")
    if runonce:
        return _once()
    raise ScheduleError("there is no interval and runonce is 0", "", 0, "give an interval, or set runonce to 1")


def load_kinds() -> None:
    """Import all kinds of schedules now, for a daemon that may have no free descriptor later."""
    from jobd.schedule import after, at, calendar, cron, days, every, once, reboot, union  # noqa: F401


def discard_rules() -> None:
    """Discard the cached rules of time zones and the schedules with them, because newer rules may be installed."""
    from jobd.schedule import zone

    zone.discard_rules()
    _parse.cache_clear()


def is_at_start(interval: str | None) -> bool:
    """Whether a job with this interval is due at the start of a daemon. Faster than `parse`."""
    if interval is None or "@reboot" not in interval.lower():
        return False
    return any(piece.split()[-1:] and piece.split()[-1].lower() == "@reboot" for piece in interval.split(SEPARATOR))


@lru_cache(maxsize=1)
def _once() -> Schedule:
    from jobd.schedule.once import Once

    return Once("once")


@lru_cache(maxsize=4096)
def _parse(interval: str, zone: str, name: str) -> Schedule:
    if len(interval) > MAX_LENGTH:
        message = f"it has {len(interval)} characters"
        raise ScheduleError(message, interval, MAX_LENGTH, f"at most {MAX_LENGTH} are allowed")
    parts: list[Schedule] = []
    start = 0
    for piece in interval.replace("\t", " ").split(SEPARATOR):
        text = piece.rstrip()
        try:
            part = _part(text, zone, name)
            if part.from_finish and SEPARATOR in interval:
                raise Flaw("`after` cannot stand beside another schedule", _blanks(text), "make it a job of its own")
        except Flaw as flaw:
            raise ScheduleError(str(flaw), interval, start + flaw.position, flaw.hint) from None
        parts.append(part)
        start += len(piece) + 1
    if len(parts) == 1:
        return parts[0]
    from jobd.schedule.union import Union

    return Union(parts)


def _part(text: str, zone: str, name: str) -> Schedule:
    """One schedule, with its zone. Raises Flaw, with a position in `text`."""
    rest = text.lstrip()  # always a suffix of `text`, so its length gives its position
    try:
        word = rest.partition("=")[0]
        if word != "TZ" and word.upper() in ("TZ", "CRON_TZ", "TIMEZONE"):
            raise Flaw(f"{word}= is not known", 0, f"write {'TZ' + rest[len(word) :][:64]!a}")
        if rest.startswith("TZ="):
            from jobd.schedule.zone import find_zone

            rest = rest[len("TZ=") :]
            zone, _, following = rest.partition(" ")
            find_zone(zone)
            rest = following.lstrip()
        if not rest:
            raise Flaw("it is empty", 0, "write 10s, after 10s, a cron expression, calendar … or at TIME")
        parse_kind, rest = _kind(rest, name)
        return parse_kind(rest, zone)
    except Flaw as flaw:
        raise Flaw(str(flaw), len(text) - len(rest) + flaw.position, flaw.hint) from None


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip())


def _kind(text: str, name: str) -> tuple[Callable[[str, str], Schedule], str]:
    """The parser for the kind of schedule in `text`, and the part of `text` that it reads."""
    head, _, rest = text.partition(" ")
    word, rest = head.lower(), rest.lstrip()
    if word == "after":
        from jobd.schedule.after import parse_after

        return parse_after, rest
    if word == "at":
        from jobd.schedule.at import parse_at

        return parse_at, rest
    if word == "calendar":
        from jobd.schedule.calendar import parse_calendar

        return parse_calendar, rest
    if text.lower() == "@reboot":
        from jobd.schedule.reboot import parse_reboot

        return parse_reboot, text
    every = word in ("every", "@every")
    if not every and (rest or word.startswith("@")):
        from jobd.schedule.cron import parse_cron

        return partial(parse_cron, name=name), text
    from jobd.schedule.every import parse_every

    return parse_every, rest if every else text
