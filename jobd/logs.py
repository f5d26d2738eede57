"""The daemon's log, through loguru: one line per message.

`format = "json"` prints exactly `level`, `msg` and `time` (with `context` also `job` and `run`); `text` is for
people. A message is data, never a format string. Unprintable characters are escaped, so that no task can forge a
line. A log that cannot be written never stops the daemon: lost lines are counted.
"""

import os
import sys
from datetime import datetime, timedelta
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from jobd.config_keys import read_size
from jobd.errors import BadValue, ConfigError
from jobd.printable import escape
from jobd.schedule.duration import parse_duration
from jobd.settings import LogSettings

if TYPE_CHECKING:
    from loguru import Logger, Message, Record

NAMES = {
    "trace": "TRACE",
    "debug": "DEBUG",
    "info": "INFO",
    "success": "SUCCESS",
    "warning": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
}
PRIORITIES = {"trace": 7, "debug": 7, "info": 6, "success": 5, "warning": 4, "error": 3, "critical": 2}


class _State:
    """The result of `setup`, and the count of lost lines."""

    logger: "Logger | None" = None
    context = False
    failures = 0
    loss_reported = False  # the loss of lines has been reported on stderr


def setup(settings: LogSettings) -> None:
    """Configure the log by `settings`. May be called again. Raises ConfigError if the file cannot be written."""
    from loguru import logger

    if settings.file is not None and not os.path.isdir(folder := os.path.dirname(os.path.abspath(settings.file))):
        raise ConfigError(f"cannot write the log {settings.file}: there is no folder {folder}", "create it")
    line = _Json(settings.context) if settings.format == "json" else _Text(settings.context, _to_journal(settings))
    options: dict[str, Any] = {}
    if settings.file is not None:
        options = {
            "rotation": _rotation(settings.rotation),
            "retention": _retention(settings.retention),
            "encoding": "utf-8",
            "errors": "backslashreplace",
            "opener": _open_file,
        }
    logger.remove()
    _State.logger = None
    try:
        # catch=False: loguru would print a traceback for each lost line; `log` counts them instead.
        logger.add(
            settings.file or _write,
            level=NAMES[settings.level],
            format=line.format,
            colorize=False,
            diagnose=False,
            backtrace=False,
            catch=False,
            **options,
        )
    except OSError as error:
        raise ConfigError(f"cannot write the log {settings.file}: {error.strerror}") from None
    _State.logger, _State.context = logger, settings.context


def log(level: str, message: str, job: str | None = None, run: int | None = None) -> None:
    """Log `message`, with the context of run number `run` of `job` if they are given. Never raises."""
    logger = _State.logger
    if logger is None:
        return
    if _State.context and job is not None:
        logger = logger.bind(job=job, run=run)
    try:
        logger.log(NAMES.get(level, "INFO"), message)
    except Exception as error:  # noqa: BLE001 - a full disk, a reader that has gone: the jobs go on
        _State.failures += 1
        _report_lost(error)


def failures() -> int:
    """The number of lines that could not be written."""
    return _State.failures


class _Json:
    """One JSON object per line. Unprintable characters are JSON escapes, so that a reader can restore them."""

    def __init__(self, context: bool) -> None:
        self._context = context

    def format(self, record: "Record") -> str:
        extra = record["extra"]
        extra["line"] = f'{{"level":"{record["level"].name.lower()}","msg":{quote(record["message"])},"time":"'
        extra["line"] += f'{_time(record)}"{self._about(extra)}}}'
        return "{extra[line]}\n"

    def _about(self, extra: dict[Any, Any]) -> str:
        if not self._context or "job" not in extra:
            return ""
        run = "" if extra["run"] is None else f',"run":{extra["run"]:d}'
        return f',"job":{quote(extra["job"])}{run}'


class _Text:
    """`TIME LEVEL MESSAGE`; for the journal, which adds the time itself, `<PRIORITY>MESSAGE`."""

    def __init__(self, context: bool, journal: bool) -> None:
        self._context = context
        self._journal = journal

    def format(self, record: "Record") -> str:
        extra, level = record["extra"], record["level"].name.lower()
        message = escape(record["message"])
        if self._context and "job" in extra:
            run = "" if extra["run"] is None else f" #{extra['run']}"
            message = f"[{escape(extra['job'])}{run}] {message}"
        extra["line"] = f"<{PRIORITIES[level]}>{message}" if self._journal else f"{_time(record)} {level:<7} {message}"
        return "{extra[line]}\n"


def quote(text: str) -> str:
    """`text` as a JSON string of printable characters."""
    quoted = encode_basestring(text)
    if quoted.isprintable():
        return quoted
    return "".join(char if char.isprintable() else _json_escape(char) for char in quoted)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _time(record: "Record") -> str:
    moment: datetime = record["time"]
    return moment.isoformat(timespec="seconds")


def _open_file(path: str, flags: int) -> int:
    """Open the log file without following a symbolic link. A new file is accessible to this user only."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write(message: "Message") -> None:
    if sys.stdout is not None:
        sys.stdout.write(message)
        sys.stdout.flush()


def _report_lost(error: Exception) -> None:
    if not _State.loss_reported and sys.stderr is not None:
        _State.loss_reported = True
        try:
            sys.stderr.write(f"jobd: the log cannot be written: {error}; lines are lost\n")
        except OSError:
            pass


def _to_journal(settings: LogSettings) -> bool:
    """Whether standard output is the stream of the systemd journal."""
    if settings.file is not None or "JOURNAL_STREAM" not in os.environ:
        return False
    try:
        status = os.fstat(1)
    except OSError:
        return False
    return os.environ["JOURNAL_STREAM"] == f"{status.st_dev}:{status.st_ino}"


def _rotation(text: str | None) -> int | timedelta | None:
    if text is None:
        return None
    try:
        return read_size(int(text) if text.isdecimal() else text)
    except BadValue:
        return timedelta(microseconds=parse_duration(text))


def _retention(value: str | int | None) -> int | timedelta | None:
    return timedelta(microseconds=parse_duration(value)) if isinstance(value, str) else value
