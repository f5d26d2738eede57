"""The keys of jobd.toml, each with its default and the function that reads its value.

A reader returns the value in the form of `jobd.settings.Settings`, or raises BadValue with the allowed values.
"""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from jobd import option_kinds
from jobd.clock import DAY, SECOND
from jobd.errors import BadValue
from jobd.job import MAX_BIGINT, MAX_RETRIES
from jobd.options import OPTION_TABLE
from jobd.schedule.base import NO_ZONES
from jobd.schedule.duration import parse_duration

MAX_WORKERS = 160  # select() accepts descriptors below 1024, and a worker needs six
ZONES = "/usr/share/zoneinfo/"
LEVELS = ("trace", "debug", "info", "success", "warning", "error", "critical")


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise BadValue("give a text in quotes")
    if not value:
        raise BadValue("give a text that is not empty")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValue("give true or false")
    return value


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadValue(f"give a whole number from {low} to {high}")
        return value

    return read


def _choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise BadValue("give one of: " + ", ".join(words))
        return value

    return read


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise BadValue('give a duration in quotes, like "30s" or "1h30m"')
    duration: int = parse_duration(value)
    return duration


def read_size(value: object) -> int:
    """The number of bytes in `value`: 65536 or "64KiB". Raises BadValue."""
    units = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BIGINT:
        return value
    found = re.fullmatch(r"([0-9]{1,12}) ?([KMG]i?B|B)", value) if isinstance(value, str) else None
    if not found:
        raise BadValue('give a size, like "64KiB"')
    return int(found[1]) * units[found[2]]


def _output(value: object) -> int:
    size = read_size(value)
    if size > 8 * 2**20:
        raise BadValue("give at most 8MiB")
    return size


def _rotation(value: object) -> str:
    try:
        read_size(value)
    except BadValue:
        try:
            _duration(value)
        except BadValue:
            raise BadValue('give a size, like "10MiB", or an age, like "1d"') from None
    return str(value)


def _retention(value: object) -> str | int:
    if isinstance(value, int):
        return _whole(0, 100_000)(value)
    try:
        _duration(value)
    except BadValue:
        raise BadValue('give a number of files, or an age, like "30d"') from None
    return str(value)


def _timezone(value: object) -> str:
    name = _text(value)
    if has_zone_file(name):
        return name
    from jobd.schedule.zone import known_zone

    zone = known_zone(name)
    if zone is None:
        raise BadValue('there is no such time zone; give a name like "Europe/Berlin"')
    return zone.key


def has_zone_file(name: str) -> bool:
    """Whether ZONES has a file for `name`. False is not conclusive: zoneinfo searches more places, but is slower."""
    if name[0] in "/." or os.path.normpath(name) != name or name.partition("/")[0] in NO_ZONES:
        return False
    try:
        with open(ZONES + name, "rb") as file:
            return file.read(4) == b"TZif"
    except (OSError, ValueError):
        return False


def _days(value: object) -> tuple[str, ...]:
    from jobd.schedule.days import parse_days

    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadValue('give a list of days in quotes, like ["2026-12-24", "2026-12-27..2027-01-01", "05-01"]')
    days = tuple(value)
    parse_days(days)
    return days


class Key(NamedTuple):
    """A key of jobd.toml. `literal`: an environment variable holds a TOML integer or boolean, not text."""

    read: Callable[[object], Any]
    default: Any = None
    literal: bool = False


CALENDAR = Key(_days)
WORKERS = Key(_whole(1, MAX_WORKERS), literal=True)


def _default(kind: option_kinds.Kind) -> Key:
    """The key of [defaults] for an option of this kind."""
    match kind:
        case option_kinds.Choice():
            return Key(_choice(*kind.words))
        case option_kinds.Duration():
            return Key(_duration)
    return Key(_text)


KEYS: dict[str, Key] = {
    "database": Key(_text, "sqlite:///jobd.db"),
    "password_file": Key(_text),
    "plugins": Key(_text, "plugins"),
    "state_dir": Key(_text),
    "workers": WORKERS,
    "timezone": Key(_timezone),
    "commands": Key(_flag, literal=True),
    "poll": Key(_duration, SECOND),
    "lease": Key(_duration, 30 * SECOND),
    "stop_timeout": Key(_duration, 60 * SECOND),
    "on_db_loss": Key(_choice("finish", "kill"), "finish"),
    "log.level": Key(_choice(*LEVELS), "info"),
    "log.format": Key(_choice("text", "json"), "text"),
    "log.context": Key(_flag, False, literal=True),
    "log.file": Key(_text),
    "log.rotation": Key(_rotation, "10MiB"),
    "log.retention": Key(_retention, 10),
    "history.keep": Key(_duration, 30 * DAY),
    "history.keep_per_job": Key(_whole(1, 1_000_000), 1_000, literal=True),
    "history.output": Key(_output, 64 * 1024),
    "defaults.retry_times": Key(_whole(0, MAX_RETRIES), 0, literal=True),
    **{f"defaults.{option.name}": _default(option.kind) for option in OPTION_TABLE if option.default_key},
}
DEFAULTS = tuple(option.name for option in OPTION_TABLE if option.default_key)
