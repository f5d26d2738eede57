"""Time zones without a name: a POSIX rule, as in the environment variable TZ, is a zone of its own.

    CET-1CEST,M3.5.0,M10.5.0/3     std offset [dst [offset] , begin[/time] , end[/time]]
    <+03>-3                        a name with other characters than letters is in angle brackets

zoneinfo reads the rule as the footer of a minimal TZif file of version 3 (RFC 9636).
"""

import io
import re
import struct
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_OFFSET = r"[+-]?[0-9]{1,2}(?::[0-9]{1,2}){0,2}"
_DAY = r"(?:M[0-9]{1,2}\.[0-9]\.[0-9]|J?[0-9]{1,3})"
_CHANGE = rf",{_DAY}(?:/[+-]?[0-9]{{1,3}}(?::[0-9]{{1,2}}){{0,2}})?"
_RULE = re.compile(rf"({_NAME})({_OFFSET})(?:({_NAME})((?:{_OFFSET})?)((?:{_CHANGE}{_CHANGE})?))?\Z")
_DAY_FROM_0 = re.compile(r",([0-9]+)")
_USUAL = ",M3.2.0,M11.1.0"  # the clock changes for a rule without them, as in the C library
MAX_LENGTH = 64  # characters: the width of the columns for zones
_BLOCK = struct.pack(">4sc15x6L", b"TZif", b"3", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB4s", 0, 0, 0, b"UTC\0")


def canonical_rule(text: str) -> str | None:
    """The rule `text` in a form that does not look like a misspelt name, as `UTC+2` does; None: it is not a rule."""
    form = _RULE.match(text)
    if form is None:
        return None
    name, offset, summer, summer_offset, changes = form.groups()
    if summer is None:
        rule = f"{name if name[0] == '<' else f'<{name}>'}{offset}"
    else:
        rule = f"{name}{offset}{summer}{summer_offset}{changes or _USUAL}"
    return rule if zone_of_rule(rule) is not None else None


@lru_cache(maxsize=64)
def zone_of_rule(rule: str) -> ZoneInfo | None:
    """The zone of a canonical rule; None: it is not one."""
    if not is_rule(rule) or len(rule) > MAX_LENGTH or not _RULE.match(rule):
        return None
    try:
        footer = _DAY_FROM_0.sub(lambda day: f",{int(day[1]) + _days_early()}", rule)
        return _read(footer, rule)
    except ValueError:
        return None


def _read(footer: str, name: str) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(_BLOCK * 2 + b"\n" + footer.encode() + b"\n"), key=name)


@lru_cache(maxsize=1)
def _days_early() -> int:
    """The days by which this Python is early for a rule that counts days from 0: one in Python 3.11."""
    moment = datetime(2026, 2, 28, 12, tzinfo=UTC)  # noon on the day before day 59
    return 1 if moment.astimezone(_read("AAA0BBB,59/0,300/0", "")).utcoffset() else 0


def is_rule(name: str) -> bool:
    """Whether `name` has the form of a rule, not of a name."""
    return name.startswith("<") or "," in name
