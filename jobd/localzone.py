"""The time zone of this machine: the one that its C library uses, by a name that other machines know.

    TZ              a name, a path or a POSIX rule, with or without a colon in front; empty: UTC
    /etc/localtime  a link to the zone's file, or a copy of it, which is identified by its content
    /etc/timezone   the name, if there is no /etc/localtime
    neither         UTC, as localtime(5) says

A zone that is set but has no known name is an error. There is one difference: for a name without a file on this machine
the C library uses UTC, and jobd uses the zone of that name. (Debian 13 has the files of old names, such as `Japan`, in
the package tzdata-legacy.)
"""

import os
from collections.abc import Iterator, Mapping

from jobd.config_keys import ZONES, has_zone_file
from jobd.errors import ConfigError
from jobd.settings import Settings

_FOLDER = "/zoneinfo/"
_OTHER_CLOCKS = ("posix/", "right/")  # copies of all zones; those of `right` count leap seconds
_MAX_FILE = 2**20  # bytes
_FIRST_YEAR, _LAST_YEAR = 2025, 2100  # a rule must agree with its file from the first of these years to the last


def machine_zone(environ: Mapping[str, str] = os.environ, etc: str = "/etc") -> str:
    """The zone of this machine: a name of the IANA database, or a POSIX rule. Raises ConfigError."""
    text = environ.get("TZ")
    if text is None:
        return _of_files(etc)
    text = text.removeprefix(":")
    if not text:
        return "UTC"
    if text.startswith("/"):
        return _of_file(text, etc)
    name = _plain(text)
    if name == "localtime":
        return _of_files(etc)
    if ".." not in name and _is_zone(name):
        return name
    from jobd.schedule.rule import canonical_rule

    rule = canonical_rule(text)
    if rule is None:
        raise _unknown(f"TZ is {ascii(text)[:80]}, which is no zone, no file and no rule")
    return rule


def with_zone(settings: Settings) -> Settings:
    """`settings` for a daemon: with the machine's zone, if they name none. Raises ConfigError."""
    return settings if settings.timezone else settings._replace(timezone=machine_zone(), zone_of_machine=True)


def _of_files(etc: str) -> str:
    path = os.path.join(etc, "localtime")
    if os.path.lexists(path):
        return _of_file(path, etc)
    name = _timezone_file(etc)
    if name and not _is_zone(name):
        raise _unknown(f"{etc}/timezone says {ascii(name)[:80]}, and there is no such zone")
    return name or "UTC"


def _of_file(path: str, etc: str) -> str:
    """The name of the zone in `path`: a file of the zone database, a link to one, or a copy."""
    target = os.path.realpath(path)
    name = _plain(target.rpartition(_FOLDER)[2]) if _FOLDER in target else ""
    if name and _is_zone(name):
        return name
    try:
        with open(target, "rb") as file:
            content = file.read(_MAX_FILE)
    except OSError as error:
        raise _unknown(f"cannot read {path}: {error.strerror}") from None
    if not content.startswith(b"TZif"):
        raise _unknown(f"{path} holds no time zone")
    label = _timezone_file(etc)
    found = _same(content, label) or _rule_of(content, label)
    if found is None:
        raise _unknown(f"{path} is like no zone of {ZONES}")
    return found


def _same(content: bytes, label: str) -> str | None:
    """The name of a zone with this content: `label` if it is one, else UTC, else the name in zone1970.tab."""
    alike = [(name, file.path) for name, file in _files(ZONES) if file.stat().st_size == len(content)]
    names = [name for name, path in alike if _read(path) == content]
    if not names:
        return None
    for preferred in (label, "UTC"):
        if preferred in names:
            return preferred
    usual = _read(os.path.join(ZONES, "zone1970.tab")).decode("ascii", "replace")
    listed = [word for line in usual.splitlines() if line[:1] != "#" for word in line.split("\t")[2:3] if word in names]
    return listed[0] if listed else min(names, key=lambda name: ("/" not in name, name))


def _rule_of(content: bytes, label: str) -> str | None:
    """The name for a file that equals no zone's file: the zone `label` or the file's rule, if its clocks agree."""
    import io
    from zoneinfo import ZoneInfo

    from jobd.schedule.rule import canonical_rule
    from jobd.schedule.zone import known_zone

    rule = canonical_rule(content.rstrip(b"\n").rpartition(b"\n")[2].decode("ascii", "replace"))
    try:
        zone = ZoneInfo.from_file(io.BytesIO(content))
    except ValueError:
        return None
    for name in (label, rule):
        other = known_zone(name) if name else None
        if name and other is not None and _agree(zone, other):
            return name
    return None


def _agree(one: object, other: object) -> bool:
    """Whether two zones have the same offsets, compared every twelve hours."""
    from datetime import UTC, datetime, timedelta

    at, end, step = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(_LAST_YEAR, 1, 1, tzinfo=UTC), timedelta(hours=12)
    while at < end:
        if at.astimezone(one).utcoffset() != at.astimezone(other).utcoffset():  # type: ignore[arg-type]
            return False
        at += step
    return True


def _timezone_file(etc: str) -> str:
    lines = _read(os.path.join(etc, "timezone")).decode("utf-8", "replace").split("\n")
    return next((text for line in lines if (text := line.partition("#")[0].strip())), "")


def _files(folder: str, prefix: str = "") -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """(name, file) for the zones below `folder`, sorted."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir():
            if name + "/" not in _OTHER_CLOCKS:
                yield from _files(entry.path, name + "/")
        elif _is_zone(name):
            yield name, entry


def _is_zone(name: str) -> bool:
    """Whether schedules may name this zone. `jobd list` calls this, so slow modules are imported last."""
    if not name:
        return False
    if has_zone_file(name):
        return True
    from jobd.schedule.zone import known_zone

    return known_zone(name) is not None


def _plain(name: str) -> str:
    for folder in _OTHER_CLOCKS:
        name = name.removeprefix(folder)
    return name


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE)
    except OSError:
        return b""


def _unknown(why: str) -> ConfigError:
    return ConfigError(
        f"the time zone of this machine is not known: {why}", 'give it in jobd.toml: timezone = "Europe/Berlin"'
    )
