"""Collects the visible results of a play, with the documented commands and from the documented tables."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobd.store.connect import dialect_of
from jobd.store.url import parse_url


class Database:
    """The database, for any program."""

    def __init__(self, url: str) -> None:
        self._target = parse_url(url)

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Any, str]]:
        """A cursor and its placeholder for a parameter."""
        if self._target.kind == "sqlite":
            connection: Any = sqlite3.connect(self._target.path, timeout=30, isolation_level=None)
            mark = "?"
        else:
            connection, mark = dialect_of(self._target).connect(self._target, create=False), "%s"
        try:
            yield connection.cursor(), mark
        finally:
            connection.close()

    def quoted(self, column: str) -> str:
        """The quoted name of a column that is a reserved word in some database."""
        return f"`{column}`" if self._target.kind == "mysql" else f'"{column}"'

    def lock(self) -> str:
        """The statement that prevents all other sessions from writing until the session ends."""
        return {
            "sqlite": "BEGIN EXCLUSIVE",
            "mysql": "LOCK TABLES schedule WRITE",
            "postgresql": "BEGIN; LOCK TABLE schedule",
        }[self._target.kind]


def gather(database: Database, witness: Path, look: Callable[..., Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a Record that are read after all daemons have stopped. Jobs have their first names."""

    def first(name: str) -> str:
        return names.get(name, name)

    output: dict[tuple[str, int], list[tuple[int, str]]] = {}
    with database.opened() as (cursor, _):
        cursor.execute(
            "SELECT job.name, output.number, output.attempt, output.text FROM output"
            " JOIN job ON job.id = output.job_id ORDER BY output.job_id, output.number, output.attempt, output.part"
        )
        for name, number, attempt, text in cursor.fetchall():
            output.setdefault((first(name), number), []).append((attempt, text))
        cursor.execute("SELECT name, number FROM schedule JOIN job ON job.id = job_id WHERE attempt > 0")
        unfinished = {first(name): number for name, number in cursor.fetchall()}
    lines = [json.loads(line) for line in witness.read_text().splitlines()] if witness.exists() else []
    return {
        "witness": [line | {"job": first(line["job"])} for line in lines],
        "history": [run | {"job": first(run["job"])} for run in look("history")],
        "jobs": [job | {"name": first(job["name"])} for job in look("list", "--all")],
        "output": output,
        "unfinished": unfinished,
        "left": sorted({line["pid"] for line in lines if _is_worker(line["pid"])}),
    }


def _is_worker(pid: int) -> bool:
    try:
        return b"jobd.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
