"""SQLite: connecting, statements that differ, and the meaning of errors.

With WAL and synchronous=FULL, an acknowledged change survives a power cut. Write transactions begin with BEGIN
IMMEDIATE: a transaction that reads first and writes later fails at once if another one has written in between.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

from jobd.errors import ConfigError, DatabaseUnavailable
from jobd.store.dialect import (
    BAD_SESSION,
    CONFLICT,
    STATEMENT_REFUSED,
    TABLES_ALTERED,
    UNAVAILABLE,
    Dialect,
    Executor,
    Upsert,
    increment_or_restart,
    on_conflict,
    quoted_list,
    split_select,
)
from jobd.store.url import Target

if TYPE_CHECKING:
    from jobd.store.migrations import Step

Row = TypeVar("Row")
BUSY_SECONDS = 5.0  # to wait for the lock of another process
# SQLite stores any bytes as text. A row of another program that is not UTF-8 must not make other rows unreadable.
_text = methodcaller("decode", "utf-8", "replace")
_MEANINGS = {
    CONFLICT: (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
    BAD_SESSION: (sqlite3.SQLITE_READONLY,),  # a connection opened while the file was read-only stays read-only
    UNAVAILABLE: (
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_INTERNAL),
    ),
}
_MEANING = {code: meaning for meaning, codes in _MEANINGS.items() for code in codes}
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre"}


class Sqlite(Dialect):
    """SQLite 3.37 or newer."""

    name = "sqlite"
    begin = "BEGIN IMMEDIATE"
    for_update = ""
    skip_locked = ""
    placeholder = "?"
    has_version = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'jobd_schema'"
    peewee_class = "SqliteDatabase"
    _file: tuple[int, int] | None = None  # device and inode of the file that was opened first

    def connect(self, target: Target, create: bool, read_only: bool = False) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < (3, 37):
            raise ConfigError(f"SQLite is {sqlite3.sqlite_version}", "jobd needs 3.37 or newer")
        self._check_file(target.path, create)
        self.check_place(target)
        mode = "ro" if read_only else "rwc" if create else "rw"
        quoted = target.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        connection = None
        try:
            connection = sqlite3.connect(
                f"file:{quoted}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                cached_statements=256,
            )
            connection.text_factory = _text
            if not read_only:
                self._set_up(connection)
            else:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise DatabaseUnavailable(*self.explain(error, target)) from None

    def migrations(self) -> Sequence["Step"]:
        from jobd.store.sqlite.schema import MIGRATIONS

        return MIGRATIONS

    def column(self, definition: str) -> str:
        from jobd.store.sqlite.strict import strict_types

        return strict_types(definition)

    def check_place(self, target: Target) -> None:
        # SQLite continues to write to a file that was moved or deleted, where no other process sees the changes.
        try:
            status = os.stat(target.path)
        except OSError as error:
            raise DatabaseUnavailable(f"{target.path} no longer exists: {error.strerror}", "restore the file") from None
        found = status.st_dev, status.st_ino
        self._file = self._file or found
        if found != self._file:
            raise DatabaseUnavailable(
                f"{target.path} was replaced by another file while jobd was running",
                "restore the original file, or restart the daemon",
            )

    def _set_up(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                # The switch ignores the busy timeout, so it fails if several processes open a new file together.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # noqa: TID251 - in the keeper's thread
        connection.execute("PRAGMA synchronous=FULL")
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        if mode != "wal" or level != 2:
            raise sqlite3.OperationalError(
                f"journal_mode is {mode} and synchronous is {level}: this file system does not allow WAL and FULL"
            )

    def _check_file(self, path: str, create: bool) -> None:
        folder = os.path.dirname(path)
        if os.path.islink(path):
            raise ConfigError(f"{path} is a symbolic link", "give the path of the file that it points to")
        if not os.path.exists(path):
            if not create:
                raise DatabaseUnavailable(f"there is no database at {path}", "`jobd add` and `jobd start` create it")
            if not os.path.isdir(folder):
                raise DatabaseUnavailable(f"the folder {folder} does not exist", "create it, or change `database`")
            try:
                # Created here, not by SQLite, so that no other user can read it with any umask.
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                pass
            except OSError as error:
                raise DatabaseUnavailable(f"{path} cannot be created: {error.strerror}") from None
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DatabaseUnavailable(f"{path} is not a file", "change `database` in jobd.toml")
        if (system := _file_system(folder)) in _NETWORK_FILE_SYSTEMS:
            raise ConfigError(
                f"{path} lies on a network file system ({system}), where SQLite loses data",
                "put it on a local disk, or use MariaDB or PostgreSQL to share work between machines",
            )

    def classify(self, error: Exception) -> str | None:
        if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorcode"):
            return None
        if str(error).startswith(("no such table", "no such column", "table job")):
            return TABLES_ALTERED
        return _MEANING.get(error.sqlite_errorcode & 0xFF, STATEMENT_REFUSED)

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        path = target.path
        match code:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return f"{path} is locked by another program", f"jobd waited {BUSY_SECONDS:g} s for it; try again"
            case sqlite3.SQLITE_FULL:
                return f"{path} cannot be written: the disk is full", "free some space"
            case sqlite3.SQLITE_READONLY:
                return f"{path} is read-only for this user", f"make it and {os.path.dirname(path)} writable"
            case sqlite3.SQLITE_NOTADB:
                return f"{path} is not an SQLite database", "move it away, or change `database` in jobd.toml"
            case sqlite3.SQLITE_CORRUPT:
                return f"{path} is damaged: {error}", "restore it from a backup; jobd does not touch it"
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                return f"{path} cannot be opened: {error}", "check that this user may read and write it"
        return f"{path}: {error}", ""

    def where_in(self, column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    def where_in_values(self, ids: Sequence[int]) -> list[Any]:
        return [str(list(ids))]

    def all_rows(self, session: Executor, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Python's driver releases the GIL for each row and must take it back from the other thread. Under load this
        # took longer than the rest of a read, so all rows come as one.
        import json  # here, because `jobd list` does not need it

        columns, source = split_select(sql)
        try:
            ((text,),) = session.rows(f"SELECT json_group_array(json_array({columns})) FROM {source}", parameters)
        except sqlite3.OperationalError as error:
            if "BLOB" not in str(error):  # "BLOB": another program has stored bytes instead of text or a number
                raise
            return session.rows(sql, parameters)
        try:
            return list(map(tuple, json.loads(text)))
        except ValueError:  # infinity, which another program has stored, has no form in JSON
            return session.rows(sql, parameters)

    def claim(
        self, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
    ) -> list[int]:
        import json

        cursor.execute(
            # served by the index schedule_claim; one row, for the reason given in all_rows
            "SELECT json_group_array(job_id) FROM (SELECT job_id FROM schedule"
            f" WHERE node_id = 0 AND pool = ? AND priority = ? AND ready_time <= ?{excluding}"
            " ORDER BY ready_time LIMIT ?)",
            (pool, priority, until, limit),
        )
        (ids,) = cursor.fetchone()
        cursor.execute(
            f"UPDATE schedule SET node_id = ?, token = {increment_or_restart('token', '?')}, started_time = NULL"
            " WHERE job_id IN (SELECT value FROM json_each(?))",
            (node, until, ids),
        )
        return list(json.loads(ids))

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        for some in _groups(finished):
            cursor.execute(_stamp(len(some)), [value for pair in some for value in pair])

    def writes(self, into: Upsert, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        for some in _groups(rows):
            yield _insert(into, len(some)), [value for row in some for value in row]

    def changed(self, connection: Any, seen: object) -> tuple[bool, object]:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        return version != seen, version


def _groups(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """`rows` in groups of 100, 10 or 1, one for each statement.

    It takes longer to prepare a large statement than to run it, so there are only three sizes, which stay prepared.
    Single rows would be slow, because each statement releases the GIL and must take it again.
    """
    start = 0
    for size in (100, 10, 1):
        while start + size <= len(rows):
            yield rows[start : start + size]
            start += size


@lru_cache(maxsize=256)
def _insert(into: Upsert, rows: int) -> str:
    """An INSERT of `rows` rows."""
    one = f"({', '.join('?' * len(into.columns))})"
    return (
        f'INSERT INTO "{into.table}" ({quoted_list(into.columns)}) VALUES {", ".join([one] * rows)}{on_conflict(into)}'
    )


@lru_cache(maxsize=8)
def _stamp(count: int) -> str:
    pairs = ", ".join(["(?, ?)"] * count)
    ended = f"(VALUES {pairs}) AS ended"
    return f'UPDATE job SET "lastFinished_time" = ended.column2 FROM {ended} WHERE job.id = ended.column1'


def _file_system(folder: str) -> str:
    """The type of the file system of `folder`; "" if it is not known."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts") as mounts:
            for line in mounts:
                _, point, system = line.split(" ")[:3]
                point = point.replace("\\040", " ")
                inside = folder == point or folder.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, system
    except OSError:
        pass
    return kind
