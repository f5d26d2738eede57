"""The file that `apply` reads and `export` writes: TOML tables `[job.NAME]`.

    [job.backup]
    interval = "30 2 * * *"
    timezone = "Europe/Berlin"
    retry_times = 3
    timeout = "1h"

Writing the stored jobs and reading the file back gives the same jobs. A secret argument is named in `secrets` and its
value is never written; when the file has no value, the stored one is kept. `deleted = true` marks a deleted job that
others run after. `invalid = true` marks a job with an invalid definition, which is stored as it is.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobd.definition import check
from jobd.dependency import parse_dependencies
from jobd.errors import BadValue
from jobd.job import (
    CATCH_UP,
    DEFAULT_POOL,
    INSTEAD,
    ISOLATION,
    ON_LOST,
    Job,
    Options,
    check_choice,
    check_name,
    check_options,
    check_retry_times,
)
from jobd.schedule.duration import parse_duration
from jobd.toml import parse_toml
from jobd.view.documents import DURATIONS, MOMENTS, WORDS, options_of

COLUMNS = ("interval", "runonce", "retry_times")
LISTS = ("command", "secrets", "skip_dates", "after_jobs")
FLAGS = ("runonce", "paused", "deleted", "invalid")
KEYS = (*COLUMNS, *WORDS, *DURATIONS, *MOMENTS, *LISTS, "args", "priority", *FLAGS[1:])
_CHOICES = {"catch_up": CATCH_UP, "on_lost": ON_LOST, "isolation": ISOLATION, "instead": INSTEAD}
MAX_INTERVAL = 255  # characters, the size of the column
MAX_ERRORS = 20  # errors shown of one file
NO_LIMIT = ("timeout", "backoff")


def dump(jobs: Iterable[Job], zone: str, retry_times: int = 0) -> str:
    """The text of the file for `jobs`. `retry_times`: the configured default, which is not written."""
    import tomli_w

    return _visible(tomli_w.dumps({"job": {job.name: table_of(job, retry_times) | _doubts(job, zone) for job in jobs}}))


def _visible(document: str) -> str:
    """The TOML with characters escaped that tomli_w does not escape and that control a terminal.

    These are U+0080 to U+009F and the marks of direction. They occur only in strings in double quotes, where the escape
    means the same.
    """
    if document.replace("\n", "").isprintable():
        return document
    return "".join(char if char.isprintable() or char == "\n" else f"\\U{ord(char):08x}" for char in document)


def _doubts(job: Job, zone: str) -> dict[str, Any]:
    """The key that makes `load` accept an invalid job."""
    try:
        check(job, zone)
    except BadValue:
        return {} if job.deleted else {"invalid": True}
    return {}


def table_of(job: Job, retry_times: int = 0) -> dict[str, Any]:
    """The table of one job: the values that differ from their defaults."""
    table: dict[str, Any] = {} if job.interval is None else {"interval": job.interval}
    if job.runonce:
        table["runonce"] = True
    if job.retry_times != retry_times:
        table["retry_times"] = job.retry_times
    table |= options_of(job)
    if job.deleted:
        table["deleted"] = True
    if "args" in table:
        table["args"] = {key: _writable(value) for key, value in table["args"].items()}
    return table


def load(text: str, source: str, zone: str, stored: Mapping[str, Job], retry_times: int = 0) -> list[Job]:
    """The jobs in `text`. Raises BadValue that names source, line, table and key of each error.

    `stored`: the stored jobs, for the values of secret arguments that the file only names.
    `retry_times`: the configured default.
    """
    try:
        document = parse_toml(text)
    except BadValue as error:
        raise BadValue(f"{source} is not TOML: {error}") from None
    other = next((key for key in document if key != "job"), None)
    if other is not None:
        raise BadValue(f"{source}{_line_of(text, other)}: {other!r} is not known here", "tables are called [job.NAME]")
    tables = document.get("job", {})
    if not isinstance(tables, dict):
        raise BadValue(f"{source}: `job` is not a table", "write [job.NAME]")
    jobs, problems = [], []
    for name, table in tables.items():
        try:
            jobs.append(_job(name, table, zone, stored, retry_times))
        except BadValue as error:
            problems.append((name, error))
    if problems:
        lines = [
            f"{source}{_line_of(text, name)}: [job.{name}]: {_error_text(error)}"
            for name, error in problems[:MAX_ERRORS]
        ]
        raise BadValue.of_lines(lines, f"and {len(problems) - MAX_ERRORS} more" if len(problems) > MAX_ERRORS else "")
    return jobs


def _job(name: str, table: object, zone: str, stored: Mapping[str, Job], retry_times: int) -> Job:
    if not isinstance(table, dict):
        raise BadValue("it is not a table", f"write [job.{name}]")
    for key in table:
        if key not in KEYS:
            from difflib import get_close_matches

            near = get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "`jobd apply --help` shows the keys"
            raise BadValue(f"the key {key!r} is not known", hint)
    name = check_name(name)
    given = {key: _read(key, value) for key, value in table.items()}
    columns = {"retry_times": retry_times} | {key: given.pop(key) for key in COLUMNS if key in given}
    given["args"] = _with_secrets(given.get("args", {}), given.get("secrets", ()), stored.get(name))
    if given.get("task") == name:
        del given["task"]
    deleted, invalid = given.pop("deleted", False), given.pop("invalid", False)
    job = Job(name, **columns, options=Options(**given), deleted=deleted)
    if deleted or invalid:
        return _storable(job)
    if job.interval is None and not job.runonce and not job.options.after_jobs:
        check_options(job.options)
        raise BadValue("it has neither `interval` nor `runonce` nor `after_jobs`", "say when it is to run")
    check(job, zone)
    return job


def _storable(job: Job) -> Job:
    """A job with an invalid definition, unchanged. Raises BadValue if no database can store it."""
    check_options(job.options)
    if job.interval is not None and ("\0" in job.interval or len(job.interval) > MAX_INTERVAL):
        raise BadValue(
            f"the interval {ascii(job.interval)[:80]} cannot be stored", f"at most {MAX_INTERVAL} characters"
        )
    return job


def _error_text(error: BadValue) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _read(key: str, value: object) -> Any:
    """The checked value of a key. Raises BadValue that names the key."""
    match key:
        case "retry_times":
            return check_retry_times(value)
        case _ if key in FLAGS:
            return _typed(key, value, bool, "true or false")
        case "priority":
            return _typed(key, value, int, "a whole number")
        case "args":
            return _typed(key, value, dict, "a table")
        case _ if key in LISTS:
            words = _typed(key, value, list, "an array of strings")
            texts = tuple(_typed(key, word, str, "an array of strings") for word in words)
            return parse_dependencies(texts) if key == "after_jobs" else texts
        case "catch_up" | "on_lost" | "isolation" | "instead":
            return check_choice(key, value, _CHOICES[key])
    text: str = _typed(key, value, str, "a string")
    if key in DURATIONS:
        return _duration(key, text)
    if key in MOMENTS:
        from jobd.schedule.at import parse_at

        return parse_at(text, "UTC").moment
    return None if key == "pool" and text == DEFAULT_POOL else text


def _typed(key: str, value: object, kind: type, wanted: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadValue(f"{key} is {ascii(value)[:80]}", f"give {wanted}")
    return value


def _duration(key: str, text: str) -> int:
    if text == "none" and key in NO_LIMIT:
        return 0
    try:
        return parse_duration(text)
    except BadValue as error:
        raise BadValue(f"{key}: {error}", error.hint) from None


def _with_secrets(args: Mapping[str, Any], secrets: tuple[str, ...], stored: Job | None) -> dict[str, Any]:
    known = stored.options.args if stored is not None else {}
    missing = next((key for key in secrets if key not in args and key not in known), None)
    if missing is not None:
        raise BadValue(f"the secret argument {missing!r} has no value, and none is stored", "give it in args")
    kept = {key: known[key] for key in secrets if key not in args}
    return {key: _native(value) for key, value in args.items()} | kept


def _line_of(text: str, name: str) -> str:
    """`:LINE` of the table or key `name`, if a plain text search finds it."""
    headers = (f"[job.{name}]", f'[job."{name}"]', f"[{name}", f"{name} ", f"{name}=")
    lines: Iterator[tuple[int, str]] = enumerate(text.splitlines(), 1)
    return next((f":{number}" for number, line in lines if line.lstrip().startswith(headers)), "")


# JSON has null and TOML does not: an argument that contains one is written as a table with one key, its JSON text.


def _writable(value: Any) -> Any:
    return {"json": json.dumps(value)} if _holds_null(value) or _is_wrapped(value) else value


def _native(value: Any) -> Any:
    if not _is_wrapped(value):
        return value
    try:
        return json.loads(value["json"])
    except ValueError as error:
        raise BadValue(f"args: {ascii(value['json'])[:80]} is not JSON: {error}") from None


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["json"] and isinstance(value["json"], str)


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None
