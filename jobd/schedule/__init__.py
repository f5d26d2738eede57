"""What a job's `interval` means: `parse` turns the string into a Schedule, a pure value.

A kind of schedule is a file here and a line in `_parse_kind`. Kinds that need time zones or cronsim are imported when a
string asks for them: most commands never do.
"""

from functools import lru_cache

from jobd.schedule.after import parse_after
from jobd.schedule.base import COUNT_LIMIT, Schedule, ScheduleError
from jobd.schedule.duration import DurationError
from jobd.schedule.every import parse_every
from jobd.schedule.once import Once

__all__ = ["COUNT_LIMIT", "Schedule", "ScheduleError", "parse"]

MAX_LENGTH = 255


@lru_cache(maxsize=4096)
def parse(interval: str | None, runonce: bool, zone: str) -> Schedule:
    """The meaning of a job's interval; `zone` is used where the string names none. Raises ScheduleError."""
    if interval is None:
        if runonce:
            return Once("once")
        raise ScheduleError("there is no interval and runonce is 0", "", 0, "give an interval, or set runonce to 1")
    if len(interval) > MAX_LENGTH:
        raise ScheduleError(
            f"it has {len(interval)} characters", interval, MAX_LENGTH, f"at most {MAX_LENGTH} are allowed"
        )
    text, start = interval, 0
    if text.startswith("TZ="):
        name, _, text = text[3:].partition(" ")
        zone, start = name, len(interval) - len(text)
    text, start = text.strip(), start + len(text) - len(text.lstrip())
    if not text:
        raise ScheduleError(
            "it is empty", interval, len(interval), "write 10s, after 10s, a cron expression or at TIME"
        )
    try:
        return _parse_kind(text, zone, interval)
    except DurationError as error:
        offset = text.rfind(" ") + 1
        raise ScheduleError(str(error), interval, start + offset + error.position, error.hint) from None
    except ScheduleError as error:
        if error.text is interval:
            raise
        offset = 3 if text.lower().startswith("at ") else 0
        message = str(error).partition(" is not understood: ")[2].rpartition(" (at position")[0]
        raise ScheduleError(message, interval, start + offset + error.position, error.hint) from None


def _parse_kind(text: str, zone: str, interval: str) -> Schedule:
    word, _, rest = text.partition(" ")
    word, rest = word.lower(), rest.strip()
    if word in ("every", "@every"):
        return parse_every(rest)
    if word == "after":
        return parse_after(rest)
    if word == "at":
        from jobd.schedule.at import parse_at
        from jobd.schedule.zone import find_zone

        return parse_at(rest, find_zone(zone, interval))
    if not rest and not word.startswith("@"):
        return parse_every(text)
    from jobd.schedule.cron import parse_cron
    from jobd.schedule.zone import find_zone

    return parse_cron(text, find_zone(zone, interval))
