"""Plain words for a schedule, compiled to a schedule string: `weekday at 18:30` → `30 18 * * MON-FRI`.

The grammar is small. Words that it does not contain are refused with a suggestion; nothing is guessed. Only `at` uses
the current time: `tomorrow 09:00` depends on today's date.

    every   DURATION | [NUMBER] UNIT | DAYS at TIMES | DAY of the month at TIMES | ORDINAL DAYNAME of the month at TIMES
    at      today | tomorrow | DAYNAME, TIME (either first)
"""

import re
from datetime import datetime, timedelta

from jobd.schedule.base import Flaw

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHORT = [day[:3].upper() for day in DAYS]
_GROUPS = {"day": "*", "weekday": "MON-FRI", "workday": "MON-FRI", "weekend": "SAT,SUN"}
_ORDINALS = {"first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "last": 0}
_UNITS = {"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "day": "d", "week": "w"}
_OTHER_WORDS = {
    "daily": "'day at 09:00'",
    "hourly": "1h",
    "minutely": "1m",
    "weekly": "'monday at 09:00'",
    "monthly": "'first day of the month at 09:00'",
    "month": "'first day of the month at 09:00'",
    "yearly": "--cron '0 9 1 1 *'",
    "year": "--cron '0 9 1 1 *'",
    "quarter": "--cron '0 9 1 */3 *'",
    "quarterly": "--cron '0 9 1 */3 *'",
    "other day": "2d",
    "biweekly": "2w",
    "fortnight": "2w",
    "half hour": "30m",
    "noon": "'day at noon'",
    "midnight": "'day at midnight'",
}
_CLOCKS = {"noon": (12, 0), "midnight": (0, 0)}
_CLOCK = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))? ?(am|pm)?\Z")
_PERIOD = re.compile(r"(?:([0-9]{1,9}) ?)?(second|sec|minute|min|hour|hr|day|week)(s?)")
_CRON = re.compile(r"[0-9*?,/-]+( [0-9*?,/-]+){3}.*")
_NTH = re.compile(r"([0-9]{1,2})(st|nd|rd|th)\Z")
EVERY_HINT = "write 10s, 2h, 'day at 09:00', 'weekday at 18:30', 'monday and friday at 9' or '15th of the month at 12'"


def compile_every(text: str) -> str:
    """The schedule string for the words after `every`; a duration is returned unchanged. Raises Flaw."""
    words = " ".join(text.lower().replace(",", " , ").split())
    if not words.isascii():
        raise Flaw(f"{text!a} is not understood", 0, EVERY_HINT)
    if other := _elsewhere(" ".join(text.split())):
        raise Flaw(f"{text!a} is no interval", 0, f"write {other}")
    if period := _PERIOD.fullmatch(words):
        number, unit, plural = period.groups()
        if number is None and (unit in ("day", "week") or plural):
            raise Flaw(f"{text!a} could mean two things", 0, f"write 1{_UNITS[unit]}, or 'day at 09:00'")
        return f"{number or 1}{_UNITS[unit]}"
    days, at, times = words.partition(" at ")
    if hint := _OTHER_WORDS.get(days.removesuffix("s")):
        hint = f"'day at {times}'" if at and days == "daily" else hint
        raise Flaw(f"{text!a} is not understood", 0, f"write {hint}")
    if not at:
        if _are_days(words):
            raise Flaw(f"{text!a} names no time of day", len(text), f"write '{words} at 09:00'")
        if re.fullmatch("[a-z ]+|[0-9]+ [a-z]+", words):
            raise Flaw(f"{text!a} is not understood", 0, EVERY_HINT)
        return text  # a duration, or a text that its parser refuses
    day, weekday = _days(days, text)
    clocks = [_clock(part, text) for part in re.split(r" ?, ?| and ", times)]
    return _crons(clocks, day, weekday)


def compile_duration(text: str) -> str:
    """The duration for words like `2 hours`; any other text is returned unchanged."""
    period = _PERIOD.fullmatch(" ".join(text.lower().split()))
    return f"{period[1]}{_UNITS[period[2]]}" if period and period[1] else text


def _elsewhere(text: str) -> str:
    """A correction for a schedule that needs another form or option; "": there is none."""
    first, _, rest = text.partition(" ")
    if step := re.fullmatch(r"\*/([0-9]+)", text):
        return f"{step[1]}m"
    if first == "@every":
        return rest
    if text.startswith("@") or _CRON.fullmatch(text):
        return f"--cron '{text}'"
    if first.lower() in ("after", "calendar") and rest:
        return f"--{first.lower()} '{rest}'"
    clock = text.lower().removeprefix("at ")
    return f"'day at {clock}'" if (form := _CLOCK.match(clock)) and (form[2] or form[3]) else ""


def compile_at(text: str, now: datetime) -> str:
    """The ISO 8601 clock time for the words after `at`; `now` is the current clock time. Raises Flaw."""
    words = " ".join(text.lower().split())
    first, _, rest = words.partition(" ")
    last, _, front = words[::-1].partition(" ")
    last, front = last[::-1], front[::-1]
    if first in ("today", "tomorrow", *DAYS):
        day, time = first, rest
    elif last in ("today", "tomorrow", *DAYS):
        day, time = last, front
    else:
        _refuse_words(words)
        return text  # an ISO 8601 time, or a text that its parser refuses
    time = time.removeprefix("at ").removesuffix(" on").strip()
    if not time:
        raise Flaw(f"{text!a} names no time of day", len(text), f"write '{day} 09:00'")
    hour, minute = _clock(time, text)
    clock = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if day == "tomorrow":
        clock += timedelta(days=1)
    elif day in DAYS:
        clock += timedelta(days=(DAYS.index(day) - now.weekday()) % 7)
        if clock <= now:
            clock += timedelta(days=7)
    return clock.isoformat(timespec="minutes")


def _refuse_words(words: str) -> None:
    """Raise Flaw for words that name a time but no day."""
    if words in _CLOCKS or ((form := _CLOCK.match(words)) and (form[2] or form[3])):
        _clock(words, words)
        raise Flaw(f"{words!a} names no day", 0, f"write 'today {words}' or 'tomorrow {words}'")
    if words == "now":
        raise Flaw("'now' is no time", 0, "--once is due at once")
    if words.startswith("in "):
        raise Flaw(f"{words!a} is no time", 0, f"write --in {compile_duration(words[3:]).replace(' ', '')}")


def _are_days(words: str) -> bool:
    try:
        _days(words, words)
    except Flaw:
        return False
    return True


def _days(text: str, whole: str) -> tuple[str, str]:
    """The day fields (of the month, of the week) of a cron expression."""
    if text in _GROUPS or text.removesuffix("s") in _GROUPS:
        return "*", _GROUPS[text if text in _GROUPS else text.removesuffix("s")]
    found = re.fullmatch(r"(?:the )?(.+?) (?:of the month|of every month|of each month)", text)
    if found:
        return _day_of_month(found[1], whole)
    if span := re.fullmatch(r"(\w+)(?: to | through | ?- ?)(\w+)", text):
        first, last = (_SHORT.index(_day_name(word, whole)) for word in span.groups())
        if first < last:
            return "*", f"{_SHORT[first]}-{_SHORT[last]}"
        return "*", ",".join((_SHORT * 2)[first : last + 8])  # past Sunday, which a range in cron cannot cross
    return "*", ",".join(_day_name(name, whole) for name in re.split(r" ?, and | ?, ?| and ", text))


def _day_of_month(text: str, whole: str) -> tuple[str, str]:
    if text in ("last day", "last weekday", "last workday"):
        return ("L" if text == "last day" else "LW"), "*"
    if text == "first day":
        return "1", "*"
    ordinal, _, name = text.partition(" ")
    if ordinal in _ORDINALS and name and not name.startswith((",", "and ")):
        number = _DAY_NUMBERS[_day_name(name, whole)]
        return "*", f"{number}L" if ordinal == "last" else f"{number}#{_ORDINALS[ordinal]}"
    numbers = []
    for part in re.split(r" ?, ?| and ", text):
        nth = _NTH.match(part.removeprefix("the "))
        if nth is None or not 1 <= int(nth[1]) <= 31:
            raise Flaw(f"{whole!a}: {part!a} is no day of the month", max(0, whole.lower().find(part)), EVERY_HINT)
        numbers.append(nth[1])
    return ",".join(numbers), "*"


_DAY_NUMBERS = {short: number % 7 for number, short in enumerate(_SHORT, 1)}


def _day_name(word: str, whole: str) -> str:
    for day, short in zip(DAYS, _SHORT, strict=True):
        if word in (day, day + "s", short.lower()):
            return short
    raise Flaw(f"{whole!a}: {word!a} is no day", max(0, whole.lower().find(word)), _near_day(word))


def _near_day(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, [*DAYS, *_GROUPS], 1, 0.6)
    return f"did you mean {near[0]}?" if near else EVERY_HINT


def _clock(text: str, whole: str) -> tuple[int, int]:
    """(hour, minute) of a time of day."""
    text = text.strip()
    if text in _CLOCKS:
        return _CLOCKS[text]
    form = _CLOCK.match(text)
    hour, minute = (int(form[1]), int(form[2] or 0)) if form else (99, 0)
    if form and form[3]:
        hour = hour % 12 + (12 if form[3] == "pm" else 0) if 1 <= hour <= 12 else 99
    if hour > 23 or minute > 59:
        raise Flaw(
            f"{whole!a}: {text!a} is no time of day", max(0, whole.lower().find(text)), "write 9:00, 18:30 or 6pm"
        )
    return hour, minute


def _crons(clocks: list[tuple[int, int]], day: str, weekday: str) -> str:
    """Cron expressions for these (hour, minute) pairs: one for each different minute."""
    hours: dict[int, list[int]] = {}
    for hour, minute in sorted(set(clocks)):
        hours.setdefault(minute, []).append(hour)
    return "; ".join(f"{minute} {','.join(map(str, some))} {day} * {weekday}" for minute, some in hours.items())
