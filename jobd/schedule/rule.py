"""Zones that have no name: a POSIX rule, as the variable TZ may hold one, is a zone of its own.

    CET-1CEST,M3.5.0,M10.5.0/3     std offset [dst [offset] , begin[/time] , end[/time]]
    <+03>-3                        a name that is not all letters stands in angle brackets

The rule is put into a minimal TZif file of version 3, whose footer it is (RFC 9636), so that zoneinfo reads it.
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
_USUAL = ",M3.2.0,M11.1.0"  # when the clocks change where a rule does not say, as the C library has it
MAX_LENGTH = 64  # of the name of a zone in the database
_BLOCK = struct.pack(">4sc15x6L", b"TZif", b"3", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB4s", 0, 0, 0, b"UTC\0")


def canonical_rule(text: str) -> str | None:
    """The rule that `text` is, written so that nobody takes it for a slip in a name (`UTC+2`); None: it is none."""
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
    """The zone of a canonical rule; None when it is none."""
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
    """By how many days this Python is early where a rule counts the days from 0: Python 3.11 is by one."""
    moment = datetime(2026, 2, 28, 12, tzinfo=UTC)  # of the day before day 59
    return 1 if moment.astimezone(_read("AAA0BBB,59/0,300/0", "")).utcoffset() else 0


def is_rule(name: str) -> bool:
    """Whether `name` has the form of a rule rather than of a name."""
    return name.startswith("<") or "," in name
