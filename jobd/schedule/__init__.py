"""What a job's `interval` means: `parse` turns the string into a Schedule, a pure value.

A kind of schedule is a file here and a line in `_kind`. Kinds that need time zones or cronsim are imported when a
string asks for them: most commands never do.
"""

from collections.abc import Callable
from functools import lru_cache

from jobd.schedule.after import parse_after
from jobd.schedule.base import COUNT_LIMIT, Flaw, Schedule, ScheduleError
from jobd.schedule.every import parse_every
from jobd.schedule.once import Once

__all__ = ["COUNT_LIMIT", "Schedule", "ScheduleError", "parse"]

MAX_LENGTH = 255


def parse(interval: str | None, runonce: bool, zone: str) -> Schedule:
    """The meaning of a job's interval; `zone` is used where the string names none. Raises ScheduleError."""
    if interval is not None:
        return _parse(interval, zone)
    if runonce:
        return Once("once")
    raise ScheduleError("there is no interval and runonce is 0", "", 0, "give an interval, or set runonce to 1")


@lru_cache(maxsize=4096)
def _parse(interval: str, zone: str) -> Schedule:
    if len(interval) > MAX_LENGTH:
        message = f"it has {len(interval)} characters"
        raise ScheduleError(message, interval, MAX_LENGTH, f"at most {MAX_LENGTH} are allowed")
    text = interval.rstrip().replace("\t", " ")
    rest = text.lstrip()  # always the end of `text`, so that its length tells where it stands
    try:
        if rest.startswith("TZ="):
            from jobd.schedule.zone import find_zone

            rest = rest[len("TZ=") :]
            zone, _, following = rest.partition(" ")
            find_zone(zone)
            rest = following.lstrip()
        if not rest:
            raise Flaw("it is empty", 0, "write 10s, after 10s, a cron expression or at TIME")
        parse_kind, rest = _kind(rest)
        return parse_kind(rest, zone)
    except Flaw as flaw:
        raise ScheduleError(str(flaw), interval, len(text) - len(rest) + flaw.position, flaw.hint) from None


def _kind(text: str) -> tuple[Callable[[str, str], Schedule], str]:
    """The parser of the kind of schedule that `text` is, and the part of `text` that it reads."""
    head, _, rest = text.partition(" ")
    word, rest = head.lower(), rest.lstrip()
    if word in ("every", "@every"):
        return parse_every, rest
    if word == "after":
        return parse_after, rest
    if word == "at":
        from jobd.schedule.at import parse_at

        return parse_at, rest
    if rest or word.startswith("@"):
        from jobd.schedule.cron import parse_cron

        return parse_cron, text
    return parse_every, text
