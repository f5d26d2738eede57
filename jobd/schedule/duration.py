"""Durations: `10s`, `1h30m`, `250ms`, `2d`, or ISO 8601 `PT10S`. The parser is strict and does not guess.

Numbers are whole and in ASCII digits. Units go from the largest to the smallest, each at most once. Months and years
are refused because they have no fixed length, and so is a number without a unit.
"""

from collections.abc import Mapping

from jobd.clock import DAY, HOUR, MAX_DURATION, MILLISECOND, MINUTE, SECOND, WEEK
from jobd.schedule.base import Flaw

MAX_LENGTH = 64  # characters
_UNITS = {"w": WEEK, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND, "us": 1}
_ISO_DATE = {"W": WEEK, "D": DAY}
_ISO_TIME = {"H": HOUR, "M": MINUTE, "S": SECOND}
_SPELT = {
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "week": "w",
    "h": "h",
}
_ALLOWED = "write 250ms, 10s, 5m, 1h30m, 2d, 1w or PT10S"
_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse_duration(text: str) -> int:
    """The duration `text` in µs. Raises Flaw."""
    if not text:
        raise Flaw("the duration is empty", 0, _ALLOWED)
    if len(text) > MAX_LENGTH:
        raise Flaw(f"the duration has {len(text)} characters", 0, _ALLOWED)
    total = _iso(text) if text[0] == "P" else _sum(text, 0, len(text), _UNITS)
    if total > MAX_DURATION:
        raise Flaw(f"{text!a} is longer than ten years", 0, f"the longest is {MAX_DURATION // DAY}d")
    return total


def format_duration(duration: int) -> str:
    """The canonical string of `duration` (µs), which `parse_duration` reads."""
    words = []
    for unit, size in _UNITS.items():
        count, duration = divmod(duration, size)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words) or "0s"


def _iso(text: str) -> int:
    date, designator, time = text[1:].partition("T")
    if not (time if designator else date):
        raise Flaw(f"{text!a} ends too early", len(text), _ALLOWED)
    middle = 1 + len(date)
    return _sum(text, 1, middle, _ISO_DATE) + _sum(text, middle + 1, len(text), _ISO_TIME)


def _sum(text: str, position: int, end: int, units: Mapping[str, int]) -> int:
    """The sum of the parts of `text` from `position` to `end`, in µs. Each unit must be smaller than the one before."""
    total, left = 0, dict(units)
    while position < end:
        number = _leading(_DIGITS, text[position:end])
        place = position + len(number)
        unit = _leading(_LETTERS, text[place:end])
        if not number:
            raise Flaw(f"{text!a}: a number is expected, not {text[position]!a}", position, _ALLOWED)
        if not unit and place == end:
            raise Flaw(f"{text!a} has no unit", place, _unit_for(text, left))
        if not unit:
            raise Flaw(f"{text!a}: a whole number and a unit are expected, not {text[place]!a}", place, _ALLOWED)
        if unit not in units:
            short = _SPELT.get(unit.lower().removesuffix("s"))
            hint = f"did you mean {number}{short}?" if short else "units: " + ", ".join(units)
            raise Flaw(f"{text!a}: {unit!r} is not a unit here", place, hint)
        if unit not in left:
            raise Flaw(f"{text!a}: {unit!r} stands twice, or after a smaller unit", place, "write 1h30m, not 30m1h")
        total += int(number) * units[unit]
        left = {name: size for name, size in left.items() if size < units[unit]}
        position = place + len(unit)
    return total


def _leading(chars: str, text: str) -> str:
    """The longest prefix of `text` that consists of `chars`."""
    return text[: len(text) - len(text.lstrip(chars))]


def _unit_for(text: str, left: Mapping[str, int]) -> str:
    """A correction for a missing unit: most users mean seconds by a lone number, and minutes by the 30 of `1h30`."""
    unit = next(iter(left), None) if text.strip("0123456789") else "s"
    return f"did you mean {text}{unit}?" if unit else _ALLOWED
