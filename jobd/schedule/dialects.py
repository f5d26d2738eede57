"""Cron expressions of other programs that jobd does not accept, and corrections for them."""

import re
from collections.abc import Mapping, Sequence

from jobd.schedule.base import Flaw
from jobd.schedule.zone import known_zone

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ELSEWHERE = {
    "@every_minute": "* * * * *",
    "@minutely": "* * * * *",
    "@every_second": "1s",
    "@secondly": "1s",
    "@startup": "@reboot",
    "@boot": "@reboot",
    "@start": "@reboot",
    "@quarterly": "0 0 1 */3 *",
    "@weekdays": "0 0 * * MON-FRI",
    "@noon": "0 12 * * *",
}
_FIELDS = "cron has five: minute, hour, day of month, month, day of week (or seconds first); durations have no blanks"
_NAMES = "SUN|MON|TUE|WED|THU|FRI|SAT|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_FIELD = re.compile(rf"[0-9*?HLW,/#~()-]+|[0-9,L-]*\b(?:{_NAMES})[^/]*(?:/[0-9]+)?", re.IGNORECASE)
_YEAR = re.compile(r"\*|[0-9]{4}([-,/][0-9]+)*")


def refuse_dialects(text: str, words: Sequence[re.Match[str]]) -> None:
    """Raise Flaw if `text`, split into `words`, is another program's expression or has a wrong number of fields."""
    aws = re.match(r"(cron|rate)\(", text)
    if aws:
        inside = text[aws.end() :].rstrip(")")
        hint = f"write --every '{inside}'" if aws[1] == "rate" else "write its fields alone, * for ?, and no year"
        raise Flaw(f"{aws[1]}(...) is AWS's", 0, hint)
    for word in (*words[:1], *words[5:]):
        zone = word.group().rpartition("TZ=")[2].strip("\"'")
        if zone.isascii() and zone[:1].isalpha() and known_zone(zone):
            others = " ".join(other.group() for other in words if other is not word)
            raise Flaw("a time zone is no field", word.start(), f"write 'TZ={zone} {others}'")
    if len(words) > 5 and not _FIELD.fullmatch(words[5].group()):
        raise Flaw(
            f"{words[5].group()!a} is no field",
            words[5].start(),
            "a schedule holds no user and no command: give its five fields; a program stands after --",
        )
    if len(words) == 7 and _YEAR.fullmatch(words[6].group()):
        raise Flaw("there are 7 fields", words[6].start(), "no field is for the year: see --start and --end")
    if len(words) not in (5, 6):
        systemd = any(":" in word.group() or ".." in word.group() for word in words)
        raise Flaw(f"there are {len(words)} fields", len(text), f"write calendar {text}" if systemd else _FIELDS)


def item_hint(text: str, names: Mapping[str, int]) -> str:
    """A correction for an item of a field that another cron accepts, or for a long name; "": there is none."""
    upper = text.upper()
    if text == "?":
        return "? is Quartz's: write *, and days of the week by name, which Quartz counts from 1"
    if random := re.fullmatch(r"([0-9]*)~([0-9]*)", text):
        return (
            f"~ is OpenBSD's: write H({random[1]}-{random[2]})" if all(random.groups()) else "~ is OpenBSD's: write H"
        )
    if last := re.fullmatch(r"L-([0-9]{1,2})", upper):
        return f"L-{last[1]} is Quartz's: write calendar *-*~{int(last[1]) + 1:02} 09:00"
    if re.fullmatch(r"[0-9]{1,2}W", upper):
        return "the nearest weekday is not known here; LW is the month's last one"
    parts = upper.split("-")
    if text.isascii() and all(len(part) > 3 and part[:3] in names and part.isalpha() for part in parts):
        return "did you mean " + "-".join(part[:3] for part in parts) + "?"
    return ""


def near_alias(text: str) -> str:
    """A correction for an unknown word that begins with `@`."""
    from difflib import get_close_matches

    if text.lower() in _ELSEWHERE:
        return f"write {_ELSEWHERE[text.lower()]}"
    near = get_close_matches(text.lower(), ALIASES, 1, 0.6)
    return f"did you mean {near[0]}?" if near else "known: " + ", ".join([*ALIASES, "@reboot", "@every 10s"])
