"""jobd.toml → `Settings`: finds and reads the file, checks all of it and fills in the defaults.

An environment variable overrides a key: `JOBD_` and the key in capitals, with `__` between table and key
(`JOBD_LOG__FORMAT`, `JOBD_POOL__REPORTS__WORKERS`). All mistakes are reported in one ConfigError, each with its file,
line and key. jobd.config_keys defines the keys.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TextIO

from jobd.clock import MILLISECOND, SECOND
from jobd.config_keys import CALENDAR, DEFAULTS, KEYS, MAX_WORKERS, WORKERS, Key
from jobd.errors import BadValue, ConfigError
from jobd.job import DEFAULT_POOL, Options
from jobd.settings import HistorySettings, LogSettings, Settings
from jobd.toml import parse_toml

FILE = "jobd.toml"
SYSTEM_FOLDER, SYSTEM_STATE = "/etc/jobd", "/var/lib/jobd"
CREDENTIAL = "jobd-database-password"
MIN_LEASE, MIN_POLL = 5 * SECOND, 20 * MILLISECOND
MAX_FILE = 2**20  # bytes
BOM = "\ufeff"  # some editors put it at the start of a file; the codec utf-8-sig would have to be imported
MAX_TABLES = 100  # nested tables


def load(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the file at `path`, or of the first file found. Raises ConfigError with all mistakes."""
    file = _find(path, environ)
    text = _read(file)
    try:
        document = parse_toml(text)
    except BadValue as error:
        raise ConfigError(f"{file}: {error}") from None
    return _Reading(file, text, document, environ).settings()


def _find(path: str | None, environ: Mapping[str, str]) -> str:
    given = path or environ.get("JOBD_CONFIG")
    if given:
        return os.path.abspath(given)
    personal = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    places = [os.path.abspath(FILE), os.path.join(personal, "jobd", FILE), os.path.join(SYSTEM_FOLDER, FILE)]
    for place in places:
        if os.path.exists(place):
            _refuse_planted(place)
            return place
    raise ConfigError(f"there is no {FILE} here, in {personal}/jobd or in {SYSTEM_FOLDER}", "run `jobd init`")


def _refuse_planted(file: str) -> None:
    """Raise ConfigError for another user's file in a world-writable folder: its plugins would run as this user."""
    trusted = (0, os.geteuid())
    owners = {os.lstat(file).st_uid, os.stat(file).st_uid}
    if os.stat(os.path.dirname(file)).st_mode & stat.S_IWOTH and not owners <= set(trusted):
        raise ConfigError(
            f"{file} belongs to another user and lies in a world-writable folder",
            "if you trust it, give it with --config",
        )


def _read(file: str) -> str:
    try:
        with _opened(file) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if os.geteuid() == 0 and mode & stat.S_IWOTH:
                raise ConfigError(f"{file} is world-writable", f"jobd runs as root: chmod o-w {file}")
            return stream.read().removeprefix(BOM)
    except OSError as error:
        hint = "run `jobd init`" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"cannot read {file}: {error.strerror}", hint) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: byte {error.start}") from None


def _opened(file: str) -> TextIO:
    """Open a regular file of up to MAX_FILE. Raises OSError for others, because reading a pipe could block forever."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE:
        return open(descriptor, encoding="utf-8")
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), file)
    if stat.S_ISREG(status.st_mode):
        raise OSError(errno.EFBIG, f"it is larger than 1 MiB ({MAX_FILE:,} bytes)", file)
    raise OSError(errno.EINVAL, "it is not a regular file", file)


class _Reading:
    """One reading of a file: its values, their line numbers and the mistakes in them."""

    def __init__(self, file: str, text: str, document: dict[str, Any], environ: Mapping[str, str]) -> None:
        self._file = file
        self._text = text
        self._environ = environ
        self._problems: list[str] = []
        self._from: dict[str, str] = {}  # key → environment variable that overrides it
        self._given = dict(_flat(document))
        self._overrides()
        self._values = {name: self._value(name, key) for name, key in KEYS.items()}
        self._pools = self._read_pools()
        self._calendars = {
            calendar: self._value(name, CALENDAR) or () for name in self._given if (calendar := _calendar(name))
        }
        for name in self._given:
            self._refuse_unknown(name)

    def settings(self) -> Settings:
        """The complete settings. Raises ConfigError."""
        get = self._values.__getitem__
        self._check()
        password = self._password()
        if self._problems:
            self._fail()
        database = self._database()
        commands = get("commands")
        return Settings(
            path=self._file,
            database=database,
            password=password,
            plugins=self._path(get("plugins")),
            state_dir=self._state_dir(),
            timezone=get("timezone") or "",
            commands=database.startswith("sqlite:") if commands is None else commands,
            poll=get("poll"),
            lease=get("lease"),
            stop_timeout=get("stop_timeout"),
            on_db_loss=get("on_db_loss"),
            log=self._log(),
            history=HistorySettings(get("history.keep"), get("history.keep_per_job"), get("history.output")),
            pools=self._pools,
            defaults=Options(**{name: get(f"defaults.{name}") for name in DEFAULTS}),
            retry_times=get("defaults.retry_times"),
            calendars=self._calendars,
        )

    def _overrides(self) -> None:
        """Replace values of the file by values of the environment."""
        known = {"JOBD_" + name.upper().replace(".", "__"): name for name in KEYS}
        for variable, text in self._environ.items():
            if not variable.startswith("JOBD_"):
                continue
            name = known.get(variable)
            if pool := re.fullmatch(r"JOBD_POOL__(.+)__WORKERS", variable):
                written = {key.upper(): key for key in self._given if _pool(key)}
                name = written.get(f"POOL.{pool[1]}.WORKERS", f"pool.{pool[1].lower()}.workers")
            if name is None:
                if re.match(r"JOBD_(LOG|HISTORY|DEFAULTS|POOL)__", variable):
                    key = variable[5:].lower().replace("__", ".")
                    self._problems.append(f"${variable}: there is no such key{_nearest(key)}")
                elif variable not in ("JOBD_CONFIG", "JOBD_DEBUG"):
                    from difflib import get_close_matches

                    # Other programs set JOBD_ variables (Kubernetes does, for services), so only near misses count.
                    near = get_close_matches(variable, known, 1, 0.9)
                    self._problems += [f"${variable}: there is no such key; did you mean ${name}?" for name in near]
                continue
            self._from[name] = variable
            self._given[name] = _literal(text) if KEYS.get(name, WORKERS).literal or text.isdecimal() else text

    def _value(self, name: str, key: Key) -> Any:
        if name not in self._given:
            return key.default
        try:
            return key.read(self._given[name])
        except BadValue as error:
            hint = f"; {error.hint}" if error.hint else ""
            self._problem(name, f"{_shown(name, self._given[name])}{error}{hint}")
            return key.default

    def _read_pools(self) -> dict[str, int]:
        pools = {DEFAULT_POOL: self._values["workers"] or min(max(2, len(os.sched_getaffinity(0))), MAX_WORKERS)}
        for name, pool in [(name, pool) for name in self._given if (pool := _pool(name))]:
            if pool == DEFAULT_POOL:
                self._problem(name, "the default pool has the workers of the top-level key `workers`")
            elif len(pool) > 64 or not pool.isprintable():
                self._problem(name, "the name of a pool has at most 64 characters, all visible")
            else:
                pools[pool] = self._value(name, WORKERS) or 1
        return pools

    def _check(self) -> None:
        """Check the rules that concern two keys."""
        lease, poll = self._values["lease"], self._values["poll"]
        if lease < MIN_LEASE:
            self._problem("lease", "give at least 5s")
        elif not MIN_POLL <= poll <= lease // 4:
            self._problem("poll", "give at least 20ms and at most a quarter of `lease`")
        if sum(self._pools.values()) > MAX_WORKERS:
            self._problem("workers", f"all pools together have more than {MAX_WORKERS} workers")

    def _refuse_unknown(self, name: str) -> None:
        if name not in KEYS and not _pool(name) and not _calendar(name):
            self._problem(name, f"there is no such key{_nearest(name)}")

    def _problem(self, name: str, message: str) -> None:
        place = self._file
        if name in self._from:
            place = f"${self._from[name]}"
        elif name in self._lines:
            place = f"{place}:{self._lines[name]}"
        self._problems.append(f"{place}: {name if name.isprintable() else ascii(name)}: {message}")

    def _fail(self) -> None:
        if len(self._problems) == 1:
            raise ConfigError(self._problems[0])
        raise ConfigError.of_lines([f"{self._file} has {len(self._problems)} mistakes", *self._problems])

    def _path(self, path: str) -> str:
        return os.path.normpath(os.path.join(os.path.dirname(self._file), os.path.expanduser(path)))

    def _state_dir(self) -> str:
        """The given folder; else the unit's StateDirectory; else SYSTEM_STATE for a file in /etc/jobd; else `state`."""
        given: str | None = self._values["state_dir"]
        if given is None:
            given = self._environ.get("STATE_DIRECTORY", "").split(":")[0] or None
        if given is None:
            given = SYSTEM_STATE if os.path.dirname(self._file) == SYSTEM_FOLDER else "state"
        return self._path(given)

    def _database(self) -> str:
        """The URL. A relative path of an SQLite file is made absolute, from the folder of jobd.toml."""
        url: str = self._values["database"]
        relative = url.removeprefix("sqlite:///")
        if not relative or relative == url or relative.startswith(("/", ":")):
            return url
        folder = os.path.dirname(self._file)
        for char in "%?#":
            folder = folder.replace(char, f"%{ord(char):02X}")
        return "sqlite:///" + os.path.normpath(os.path.join(folder, relative))

    def _password(self) -> str | None:
        """The content of `password_file`, or the unit's credential; None: neither exists."""
        credentials = self._environ.get("CREDENTIALS_DIRECTORY")
        if self._values["password_file"]:
            path = self._path(self._values["password_file"])
        elif credentials and os.path.exists(os.path.join(credentials, CREDENTIAL)):
            path = os.path.join(credentials, CREDENTIAL)
        else:
            return None
        try:
            with _opened(path) as stream:
                return stream.read().removeprefix(BOM).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._problem("password_file", f"cannot read {path}: {reason}")
            return None

    def _log(self) -> LogSettings:
        log = LogSettings(*(self._values[f"log.{field}"] for field in LogSettings._fields))
        return log if log.file is None else log._replace(file=self._path(log.file))

    @cached_property
    def _lines(self) -> dict[str, int]:
        return _lines(self._text)


def _pool(name: str) -> str:
    """The NAME of the key `pool.NAME.workers`; "" for another key."""
    return name[5:-8] if name.startswith("pool.") and name.endswith(".workers") else ""


def _calendar(name: str) -> str:
    """The NAME of the key `calendar.NAME.dates`; "" for another key."""
    return name[9:-6] if name.startswith("calendar.") and name.endswith(".dates") else ""


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) for each value in nested tables."""
    for key, value in table.items():
        if isinstance(value, dict) and value and prefix.count(".") < MAX_TABLES:
            yield from _flat(value, f"{prefix}{key}.")
        elif value or not isinstance(value, dict):
            yield prefix + key, value


def _lines(text: str) -> dict[str, int]:
    """The line of each key, from `[table]` and `key =` at the start of a line: tomllib gives no line numbers."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, _ = line.partition("=")
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = _bare(header[1]) + "."
        elif equals and re.fullmatch(r"[\w.\s\"'-]+", key):
            lines.setdefault(table + _bare(key), number)
    return lines


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _literal(text: str) -> Any:
    """`text` as a TOML integer or boolean if it is one, else unchanged."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _shown(name: str, value: object) -> str:
    """The start of a message that shows the refused value; empty if the value may be a secret."""
    if name in ("database", "password_file"):
        return ""
    text = ascii(value) if isinstance(value, str) else str(value).lower()
    return f"invalid value {text if len(text) <= 60 else text[:57] + '...'}: "


def _nearest(name: str) -> str:
    """A hint for the unknown key `name`: the keys below it, a key with a similar name, or all keys of its table."""
    from difflib import get_close_matches

    known = [*KEYS, "pool.NAME.workers", "calendar.NAME.dates"]
    if inside := [key for key in known if key.startswith(name + ".")]:
        return f"; it is a table of {', '.join(inside)}"
    tails = {key.rpartition(".")[2]: key for key in known}
    table, _, tail = name.rpartition(".")
    found = get_close_matches(tail, tails, n=1)
    if found:
        return f"; did you mean {tails[found[0]]}?"
    return "; known are: " + ", ".join([key for key in known if key.rpartition(".")[0] == table] or known)
