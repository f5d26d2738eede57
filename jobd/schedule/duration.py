"""Durations as people write them: `10s`, `1h30m`, `250ms`, `2d`, or ISO 8601 `PT10S`. Strict: no guessing.

Whole numbers in ASCII digits, units from the largest to the smallest, each at most once. Months and years have no fixed
length and are refused, and so is a number without a unit.
"""

import re

from jobd.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND, WEEK
from jobd.errors import BadValue

LONGEST = 3_650 * DAY
_UNITS = {"w": WEEK, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND, "us": 1}
_ALLOWED = "write 250ms, 10s, 5m, 1h30m, 2d, 1w or PT10S"
_PART = re.compile(r"([0-9]+)([A-Za-z\u00b5]*)")
_ISO = re.compile(r"P(?:([0-9]+)W|(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?)\Z", re.ASCII)


class DurationError(BadValue):
    """A duration that makes no sense; `position` (from 0) is where."""

    def __init__(self, message: str, position: int, hint: str = _ALLOWED) -> None:
        super().__init__(message, hint)
        self.position = position


def parse_duration(text: str) -> int:
    """The microseconds of `text`. Raises DurationError."""
    if not text:
        raise DurationError("the duration is empty", 0)
    if len(text) > 64:
        raise DurationError(f"the duration has {len(text)} characters", 0)
    total = _iso(text) if text[0] == "P" else _parts(text)
    if total > LONGEST:
        raise DurationError(f"{text!r} is longer than ten years", 0)
    return total


def format_duration(duration: int) -> str:
    """The shortest string that `parse_duration` reads as `duration`."""
    if not duration:
        return "0s"
    words = []
    for unit, size in _UNITS.items():
        count, duration = divmod(duration, size)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words)


def _parts(text: str) -> int:
    total, position, last = 0, 0, WEEK + 1
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise DurationError(f"{text!r}: a number is expected, not {text[position]!r}", position)
        number, unit = part.groups()
        if not unit:
            if part.end() == len(text):
                raise DurationError(f"{text!r} has no unit", part.end(), f"did you mean {text}s?")
            raise DurationError(f"{text!r}: a unit is expected, not {text[part.end()]!r}", part.end())
        size = _UNITS.get(unit)
        if size is None:
            raise DurationError(f"{text!r}: {unit!r} is not a unit", part.start(2), "units: w, d, h, m, s, ms, us")
        if size >= last:
            raise DurationError(f"{text!r}: {unit!r} stands twice, or after a smaller unit", part.start(2))
        total += int(number) * size
        position, last = part.end(), size
    return total


def _iso(text: str) -> int:
    match = _ISO.match(text)
    if match is None or text[-1] in "PT":
        raise DurationError(f"{text!r} is not an ISO 8601 duration without months and years", 0)
    sizes = (WEEK, DAY, HOUR, MINUTE, SECOND)
    return sum(int(number) * size for number, size in zip(match.groups(), sizes, strict=True) if number)
