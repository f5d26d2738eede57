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
from jobd.errors import BadValue
from jobd.job import DEFAULT_POOL, Job, Options, check_name, check_options, check_retry_times
from jobd.option_kinds import typed
from jobd.options import BY_NAME
from jobd.schedule import MAX_LENGTH
from jobd.toml import parse_toml
from jobd.view.documents import options_of

COLUMNS = ("interval", "runonce", "retry_times")
FLAGS = ("deleted", "invalid")
KEYS = (*COLUMNS, *BY_NAME, *FLAGS)
MAX_ERRORS = 20  # errors shown of one file


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
    if not job.has_schedule:
        check_options(job.options)
        raise BadValue("it has neither `interval` nor `runonce` nor `after_jobs`", "say when it is to run")
    check(job, zone)
    return job


def _storable(job: Job) -> Job:
    """A job with an invalid definition, unchanged. Raises BadValue if no database can store it."""
    check_options(job.options)
    if job.interval is not None and ("\0" in job.interval or len(job.interval) > MAX_LENGTH):
        raise BadValue(f"the interval {ascii(job.interval)[:80]} cannot be stored", f"at most {MAX_LENGTH} characters")
    return job


def _error_text(error: BadValue) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _read(key: str, value: object) -> Any:
    """The checked value of a key. Raises BadValue that names the key."""
    if key == "interval":
        return typed(key, value, str, "a string")
    if key == "retry_times":
        return check_retry_times(value)
    if key == "runonce" or key in FLAGS:
        return typed(key, value, bool, "true or false")
    value = BY_NAME[key].kind.parse(key, value)
    return None if key == "pool" and value == DEFAULT_POOL else value


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
