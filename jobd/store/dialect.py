"""The interface of all that differs between databases: connecting, a few statements, the meaning of errors."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jobd.errors import DatabaseAltered, DatabaseUnavailable, StatementRefused
from jobd.job import MAX_COUNTER
from jobd.store.url import Target

if TYPE_CHECKING:
    from jobd.store.migrations import Step
    from jobd.store.store import Session

# The kinds of errors. After any but a conflict or a refused statement the session is closed: it may be the cause.
CONFLICT = "again"  # a conflict rolled the transaction back: retry all of it
CONNECTION_LOST = "lost"  # the connection broke
BAD_SESSION = "session"  # this session has no right to do it, or has lost its settings; another session may succeed
TABLES_ALTERED = "altered"  # a table or a column is not visible; jobd does not create it a second time
UNAVAILABLE = "away"  # the database cannot be reached or written
STATEMENT_REFUSED = "statement"  # the server refuses this statement, but accepts others
LOCK_SECONDS = 30  # for which a process waits for another's upgrade


class Executor(Protocol):
    """An object that runs statements (jobd.store.store.Session)."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement returns."""


class Conflict(Exception):
    """Another transaction has written what this one found absent, and so could not lock. Treated as CONFLICT."""


class SettingsLost(Exception):
    """The session no longer has jobd's settings. Classified as BAD_SESSION."""


# The explanation of a UnicodeError, whose text differs between Python versions.
NO_HOST = "the host cannot be looked up: a part of its name is empty or longer than 63 characters"


class Upsert(NamedTuple):
    """The target of written rows: these columns of a table.

    With a `key`, existing rows are updated, and their columns `cleared`, which are not written, return to their
    defaults.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()


class Dialect:
    """One kind of database. A Session gets statements with `?` for parameters, a cursor those with `placeholder`."""

    name: str
    begin: str
    begin_reading = ""  # begins a transaction for reads, if their settings need one
    for_update: str  # appended to a SELECT that locks the rows it reads
    skip_locked: str
    primary_key_hint = ""  # after a table's name: use its primary key, so that no other rows are locked
    placeholder: str
    has_version: str  # whether the table jobd_schema exists: a SELECT of 0 or 1
    commits_each = False  # whether the database commits each statement that alters a table
    driver = ""  # the module that peewee has to find
    peewee_class: str
    peewee_options: Mapping[str, Any] = {}

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        """A DB-API connection in autocommit mode, its session set up and read back. Raises JobdError."""
        raise NotImplementedError

    def migrations(self) -> Sequence["Step"]:
        """The steps that made the tables, from the first version on; imported only for an upgrade."""
        raise NotImplementedError

    def migrate(self, cursor: Any, statement: str) -> None:
        """Run a statement of a step. Raises ConfigError if an administrator has to change the server first."""
        cursor.execute(statement)

    def column(self, definition: str) -> str:
        """The definition of a column of `job_options`, in the types of this database."""
        return definition

    def lock_upgrades(self, cursor: Any, label: str) -> None:
        """Lock out other upgrades, and begin a transaction if it includes them. Raises DatabaseUnavailable."""
        cursor.execute(self.begin)

    def unlock_upgrades(self, cursor: Any, end: str) -> None:
        """Unlock. `end`: COMMIT or ROLLBACK."""
        cursor.execute(end)

    def check_place(self, target: Target) -> None:
        """Raise DatabaseUnavailable if the target now names another database than the one that is open."""

    def check_session(self, cursor: Any) -> None:
        """Raise SettingsLost if the session has lost its settings. Called at the start of a transaction."""

    @contextlib.contextmanager
    def reading(self, cursor: Any) -> Iterator[None]:
        """A context in which reads have jobd's settings. Raises SettingsLost."""
        if not self.begin_reading:
            yield
            return
        cursor.execute(self.begin_reading)
        try:
            self.check_session(cursor)
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is raised
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")

    def classify(self, error: Exception) -> str | None:
        """The kind of a driver's error; None: it is not the database's, so it is a bug in jobd."""
        raise NotImplementedError

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        """(the problem in one line, a hint)."""
        raise NotImplementedError

    def refusal(self, error: Exception, target: Target) -> DatabaseUnavailable:
        """The error to show to users for a driver's error."""
        kind = self.classify(error)
        if kind != TABLES_ALTERED:
            return (StatementRefused if kind == STATEMENT_REFUSED else DatabaseUnavailable)(
                *self.explain(error, target)
            )
        text = " ".join(str(error.args[-1]).split())
        hint = "another program has changed them: undo the change or restore the database from a backup"
        return DatabaseAltered(f"the tables in {target.label} are not those that jobd made: {text}", hint)

    def where_in(self, column: str) -> str:
        """The condition that `column` is one of some numbers; `where_in_values` gives its parameters."""
        raise NotImplementedError

    def where_in_values(self, ids: Sequence[int]) -> list[Any]:
        """The parameters of `where_in`."""
        return [list(ids)]

    def delete(
        self,
        session: "Session",
        table: str,
        keys: Sequence[Sequence[int]],
        columns: Sequence[str],
        extra: str = "",
    ) -> None:
        """Delete the rows whose `columns`, the first ones of an index, are one of `keys`, and lock no others.

        `extra` is a further condition: " AND …".
        """
        if len(columns) == 1:
            condition, values = self.where_in(columns[0]), self.where_in_values([key for (key,) in keys])
        else:
            one = " AND ".join(f"{column} = ?" for column in columns)
            condition, values = " OR ".join([f"({one})"] * len(keys)), [value for key in keys for value in key]
        session.execute(f"DELETE FROM {table} WHERE ({condition}){extra}", values)

    def all_rows(self, session: "Executor", sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows that a SELECT returns, optimised for many rows."""
        return session.rows(sql, parameters)

    def claim(
        self, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
    ) -> list[int]:
        """Claim up to `limit` jobs of `pool` with this priority, ready by `until` (µs), oldest first; their ids.

        `excluding` is one more condition (" AND …").
        """
        raise NotImplementedError

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        """Set lastFinished_time of (job id, time) pairs; a time is text as in the column, in UTC."""
        raise NotImplementedError

    def changed(self, connection: Any, seen: object) -> tuple[bool, object]:
        """Whether another connection may have written since `seen`, and what to pass as `seen` next time."""
        return True, seen

    def changes(self, session: "Session", limit: int) -> list[tuple[Any, ...]]:
        """The changes that no node has processed yet, oldest first: (id, job id, what)."""
        return session.rows("SELECT id, job_id, what FROM job_change ORDER BY id LIMIT ?", (limit,))

    def drop_seen_changes(self, session: "Session", job_ids: Sequence[int]) -> None:
        """Drop the recorded changes of these rows of `job`."""
        self.delete(session, "job_change", [(job_id,) for job_id in job_ids], ("job_id",), " AND what = 'changed'")

    def writes(self, into: Upsert, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        """The statements that write `rows`, with the driver's placeholders, and their parameters."""
        raise NotImplementedError


def increment_or_restart(counter: str, restart_at: str) -> str:
    """The expression that adds one to a counter, or restarts one that is out of range: else every write would fail."""
    return f"CASE WHEN {counter} >= 0 AND {counter} < {MAX_COUNTER} THEN {counter} + 1 ELSE {restart_at} END"


def on_conflict(into: Upsert) -> str:
    """The end of an INSERT that updates existing rows, for SQLite and PostgreSQL."""
    if not into.key:
        return ""
    values = ", ".join(f'"{column}" = excluded."{column}"' for column in columns_to_update(into))
    return f" ON CONFLICT ({quoted_list(into.key)}) DO UPDATE SET {values}"


def columns_to_update(into: Upsert) -> list[str]:
    """The columns of an existing row that a write changes."""
    return [column for column in (*into.columns, *into.cleared) if column not in into.key]


def quoted_list(columns: Sequence[str]) -> str:
    """The columns, quoted, with commas."""
    return ", ".join(f'"{column}"' for column in columns)


def split_select(select: str) -> tuple[str, str]:
    """The columns of a SELECT, and its text after FROM."""
    columns, _, source = select.removeprefix("SELECT ").partition(" FROM ")
    return columns, source
