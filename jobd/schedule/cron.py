"""Cron expressions: five fields, or six with seconds first; names, ranges, steps, lists, `L`, `LW`, `#`; `@daily`.

The arithmetic is cronsim's, which follows Debian's cron: day of month and day of week are alternatives unless one of
them begins with `*`; a fixed time that the clocks skip runs right after the gap, one that comes twice runs once, and a
wildcard hour follows the real hours.
"""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobd.clock import from_datetime, to_datetime
from jobd.schedule.base import Schedule, ScheduleError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = (
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31, L or LW"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of week", "0 to 7 or SUN to SAT, 5L, FRI#2"),
)
_CHARACTERS = re.compile(r"[0-9A-Za-z*/,#-]+\Z", re.ASCII)
_ONE_VALUE_RANGE = re.compile(r"(?<![0-9A-Za-z])([0-9]+)-\1/[0-9]+(?![0-9])")
_LAST_YEAR = 9_990


class Cron(Schedule):
    """Due whenever the clocks of `zone` match `expression`."""

    __slots__ = ("expression", "zone")

    def __init__(self, text: str, expression: str, zone: ZoneInfo) -> None:
        super().__init__(text)
        self.expression = expression
        self.zone = zone

    def first(self, now: int) -> int | None:
        return self.after(now, now)

    def after(self, moment: int, anchor: int) -> int | None:
        local = to_datetime(moment).astimezone(self.zone)
        if local.year >= _LAST_YEAR:
            return None
        for due in CronSim(self.expression, local):
            found = from_datetime(due)
            if found > moment:
                return found
        return None

    def describe(self) -> str:
        words = str(CronSim(self.expression, datetime(2026, 1, 1, tzinfo=self.zone)).explain())
        return f"{words[:1].lower()}{words[1:]} ({self.zone.key})"


def parse_cron(text: str, zone: ZoneInfo) -> Cron:
    """The schedule of a cron expression. Raises ScheduleError (positions in `text`)."""
    expression = ALIASES.get(text.lower(), text)
    if expression.startswith("@"):
        raise ScheduleError(f"{text!r} is not known", text, 0, "known: " + ", ".join(ALIASES))
    words = [(match.group(), match.start()) for match in re.finditer(r"\S+", expression)]
    if len(words) not in (5, 6):
        hint = "cron has five fields: minute, hour, day of month, month, day of week (or six, with seconds first)"
        raise ScheduleError(f"there are {len(words)} fields", text, len(text), hint)
    fields = _FIELDS[-len(words) :]
    for (word, position), (name, allowed) in zip(words, fields, strict=True):
        if not _CHARACTERS.match(word):
            raise ScheduleError(
                f"bad {name} {word!r}", text, position, f"allowed: {allowed}; *, ranges, steps and lists"
            )
    # cronsim reads a range of one value with a step, 6-6/2, as 6/2.
    expression = " ".join(_ONE_VALUE_RANGE.sub(r"\1", word) for word, _ in words)
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=zone)))
    except CronSimError as error:
        raise _explained(str(error), text, words, fields) from None
    except StopIteration:
        raise ScheduleError("no such day ever comes", text, words[-3][1], "it would never be due") from None
    return Cron(text, expression, zone)


def _explained(
    message: str, text: str, words: list[tuple[str, int]], fields: tuple[tuple[str, str], ...]
) -> ScheduleError:
    """cronsim says only "Bad minute": find the field, and say what it may hold."""
    for (word, position), (name, allowed) in zip(words, fields, strict=True):
        if name.replace(" ", "-") in message.lower().replace(" ", "-"):
            return ScheduleError(
                f"bad {name} {word!r}", text, position, f"allowed: {allowed}; *, ranges, steps and lists"
            )
    return ScheduleError(message, text, words[-3][1], "it would never be due")
