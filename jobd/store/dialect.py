"""What differs between databases, as one small interface: getting in, a few statements, what an error means."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jobd.errors import DatabaseAltered, DatabaseUnavailable, StatementRefused
from jobd.store.url import Target

if TYPE_CHECKING:
    from jobd.store.store import Session

# What an error means. After all but a conflict and a refused statement the session is closed: what is wrong may be its.
CONFLICT = "again"  # the transaction was rolled back by a conflict: repeat it whole
CONNECTION_LOST = "lost"  # the connection broke
BAD_SESSION = "session"  # this session may not do it, or has lost its settings; another may be able to
TABLES_ALTERED = "altered"  # a table or a column is not to be seen: jobd makes nothing again that was there
UNAVAILABLE = "away"  # the database cannot be reached or written
STATEMENT_REFUSED = "statement"  # the server refuses what is to be written, and takes other things
MAX_COUNTER = 2**62  # a counter that somebody has put beyond this, or below 0, begins anew instead of ending all writes


class Executor(Protocol):
    """What runs a statement (jobd.store.store.Session)."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""


class SettingsLost(Exception):
    """The session is not set up as jobd has set it up. Each dialect classifies it as BAD_SESSION."""


# How each dialect explains a UnicodeError, whose words differ from Python to Python.
NO_HOST = "the host cannot be looked up: a part of its name is empty or longer than 63 characters"


class Upsert(NamedTuple):
    """Where rows are written to: these columns of a table.

    With a `key`, rows that are there already are updated; then the columns `cleared`, which are not among those
    written, go back to their defaults.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()


class Dialect:
    """One kind of database. Statements have `?` for their parameters and double quotes round names."""

    name: str
    begin: str
    begin_reading = ""  # where reads need a transaction of their own for their settings
    for_update: str  # appended to a SELECT that locks what it reads
    skip_locked: str
    by_key = ""  # after a table's name: found by its primary key, so that no row is locked but those that are named
    placeholder: str

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        """A DB-API connection in autocommit mode, its session set up and read back. Raises JobdError."""
        raise NotImplementedError

    def check_place(self, target: Target) -> None:
        """Raise DatabaseUnavailable when the connection is open on something else than the target names by now."""

    def check_session(self, cursor: Any) -> None:
        """Raise SettingsLost, at the beginning of a transaction, when the session is not set up any more."""

    @contextlib.contextmanager
    def reading(self, cursor: Any) -> Iterator[None]:
        """What is read within is read with the settings of jobd."""
        if not self.begin_reading:
            yield
            return
        cursor.execute(self.begin_reading)
        try:
            self.check_session(cursor)
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")

    def classify(self, error: Exception) -> str | None:
        """What the error of a driver means; None when it is nobody's but jobd's."""
        raise NotImplementedError

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        """What went wrong in one line, and what to do."""
        raise NotImplementedError

    def refusal(self, error: Exception, target: Target) -> DatabaseUnavailable:
        """The error that a person is shown for a driver's."""
        kind = self.classify(error)
        if kind != TABLES_ALTERED:
            return (StatementRefused if kind == STATEMENT_REFUSED else DatabaseUnavailable)(
                *self.explain(error, target)
            )
        text = " ".join(str(error.args[-1]).split())
        hint = "somebody has changed them: undo that, or restore the database from a backup"
        return DatabaseAltered(f"the tables in {target.label} are not those that jobd made: {text}", hint)

    def where_in(self, column: str) -> str:
        """The condition that `column` is one of some numbers; `where_in_values` gives its parameters."""
        raise NotImplementedError

    def where_in_values(self, ids: Sequence[int]) -> list[Any]:
        """The parameters of `where_in`."""
        raise NotImplementedError

    def delete(
        self, session: "Session", table: str, keys: Sequence[Sequence[int]], columns: Sequence[str], also: str = ""
    ) -> None:
        """Delete the rows whose `columns`, the first ones of an index, are one of `keys`, and lock no others."""
        if len(columns) == 1:
            condition, values = self.where_in(columns[0]), self.where_in_values([key for (key,) in keys])
        else:
            one = " AND ".join(f"{column} = ?" for column in columns)
            condition, values = " OR ".join([f"({one})"] * len(keys)), [value for key in keys for value in key]
        session.execute(f"DELETE FROM {table} WHERE ({condition}){also}", values)

    def all_rows(self, session: "Executor", sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows that a SELECT gives, which may be many."""
        return session.rows(sql, parameters)

    def claim(
        self, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, but: str = ""
    ) -> list[int]:
        """Claim up to `limit` jobs of `pool` with this priority that are ready by `until`, oldest first; their ids.

        `but` is one more condition (" AND …").
        """
        raise NotImplementedError

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        """Set lastFinished_time of (job id, time) pairs."""
        raise NotImplementedError

    def changed(self, connection: Any, seen: object) -> tuple[bool, object]:
        """Whether another connection may have written since `seen`, and what to pass as `seen` next time."""
        return True, seen

    def changes(self, session: "Session", limit: int) -> list[tuple[Any, ...]]:
        """What people and programs changed and nobody has looked at, oldest first: (id, job id, what)."""
        return session.rows("SELECT id, job_id, what FROM job_change ORDER BY id LIMIT ?", (limit,))

    def drop_seen_changes(self, session: "Session", job_ids: Sequence[int]) -> None:
        """These rows of `job` are no longer among the changes."""
        self.delete(session, "job_change", [(job_id,) for job_id in job_ids], ("job_id",), " AND what = 'changed'")

    def writes(self, into: Upsert, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        """The statements, in the driver's own spelling, with their parameters, that write `rows`."""
        raise NotImplementedError


def increment_or_restart(counter: str, restart_at: str) -> str:
    """The expression that adds one to a counter, or begins with `restart_at`."""
    return f"CASE WHEN {counter} >= 0 AND {counter} < {MAX_COUNTER} THEN {counter} + 1 ELSE {restart_at} END"


def on_conflict(into: Upsert) -> str:
    """The end of an INSERT that updates what is there already, as the SQL of SQLite and PostgreSQL has it."""
    if not into.key:
        return ""
    values = ", ".join(f'"{column}" = excluded."{column}"' for column in columns_to_update(into))
    return f" ON CONFLICT ({quoted_list(into.key)}) DO UPDATE SET {values}"


def columns_to_update(into: Upsert) -> list[str]:
    """The columns of a row that is there already which a write changes."""
    return [column for column in (*into.columns, *into.cleared) if column not in into.key]


def quoted_list(columns: Sequence[str]) -> str:
    """The columns, quoted, with commas."""
    return ", ".join(f'"{column}"' for column in columns)


def split_select(select: str) -> tuple[str, str]:
    """The columns of a SELECT, and what stands after its FROM."""
    columns, _, source = select.removeprefix("SELECT ").partition(" FROM ")
    return columns, source
