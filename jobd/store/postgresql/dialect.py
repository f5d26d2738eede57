"""PostgreSQL, through psycopg 3: connecting, statements that differ, and the meaning of errors.

Each transaction has its own settings, and the session keeps nothing (no prepared statement, no SET, no lock). So a
pooler may give each transaction another session, as pgbouncer with pool_mode = transaction does.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jobd.errors import ConfigError, DatabaseUnavailable
from jobd.store.dialect import (
    BAD_SESSION,
    CONFLICT,
    CONNECTION_LOST,
    LOCK_SECONDS,
    NO_HOST,
    STATEMENT_REFUSED,
    TABLES_ALTERED,
    UNAVAILABLE,
    Dialect,
    Upsert,
    increment_or_restart,
    on_conflict,
    quoted_list,
)
from jobd.store.url import Target

if TYPE_CHECKING:
    from jobd.store.migrations import Step

_LOCK_NUMBER = 0x6A6F6264  # "jobd"
MAX_ROWS = 2_000  # in one statement
DEADLINE = 10  # seconds for a statement, set on the server; the client's own is in jobd.store.postgresql.connection
LOCK_WAIT = 5  # seconds to wait for a row that another transaction has locked
IDLE = 4  # seconds between statements of a transaction: a frozen node loses its locks before others find it dead
_SETTINGS = (
    f"SET LOCAL statement_timeout = '{DEADLINE}s'; SET LOCAL lock_timeout = '{LOCK_WAIT}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE}s'; SET LOCAL datestyle = 'ISO'"
)
# The meaning of an SQLSTATE: the first entry with a prefix of it applies.
_MEANINGS = (
    # statement completion unknown; connection or protocol; the server closes all sessions; timeout of an idle session,
    # an idle transaction or a transaction
    (CONNECTION_LOST, ("40003", "08", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")),
    # serialization failure or deadlock; lock timeout; duplicate key
    (CONFLICT, ("40", "55P03", "23505")),
    (TABLES_ALTERED, ("42P01", "42703")),  # unknown table, unknown column; also a lost search_path
    # read-only or the wrong transaction state; access denied; unknown schema; a prepared statement or cursor that is
    # unknown, exists already, or no longer fits its table; a standby
    (BAD_SESSION, ("25", "28", "42501", "3F", "26", "34", "42P03", "42P05", "0A000")),
    # no resources; object not in the required state; killed, or the deadline; operating system; configuration;
    # unknown database; a bug of the server or a damaged file
    (UNAVAILABLE, ("53", "55", "57", "58", "F0", "3D", "XX")),
)


class Postgresql(Dialect):
    """PostgreSQL 14 or newer."""

    name = "postgresql"
    begin = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_SETTINGS}"
    begin_reading = f"BEGIN READ ONLY; {_SETTINGS}"
    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    placeholder = "%s"
    has_version = "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('jobd_schema')"
    driver = "psycopg"
    peewee_class = "PostgresqlDatabase"
    peewee_options = {"prefer_psycopg3": True}  # noqa: RUF012

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        try:
            import psycopg

            from jobd.store.postgresql.connection import Connection
        except ImportError:
            raise ConfigError("the driver for PostgreSQL is missing", "pip install 'jobd[postgresql]'") from None
        given: dict[str, Any] = {
            "host": target.host,
            "port": target.port,
            "user": target.user,
            "password": target.password,
            "dbname": target.database,
            "connect_timeout": DEADLINE,
            "tcp_user_timeout": DEADLINE * 1000,
            "application_name": "jobd",
            "client_encoding": "UTF8",
            **target.options,
        }
        connection = None
        try:
            connection = Connection.connect(**given, autocommit=True, prepare_threshold=None)
            # As text: a datetime cannot hold 'infinity' or a year BC, and one such row would make all unreadable.
            connection.adapters.register_loader("timestamp", psycopg.types.string.TextLoader)
            if connection.info.server_version < 140000:
                raise ConfigError(
                    f"the PostgreSQL server is version {connection.info.server_version // 10000}",
                    "jobd needs 14 or newer",
                )
            encoding = connection.info.parameter_status("server_encoding")
            if encoding not in ("UTF8", "SQL_ASCII"):
                raise ConfigError(
                    f"the database {target.database} has the encoding {encoding}, which lacks most characters",
                    f"create one with: createdb --encoding UTF8 --template template0 {target.database}",
                )
            return connection
        except (psycopg.Error, OSError, UnicodeError) as error:  # UnicodeError: the host name cannot be encoded
            if connection is not None:
                connection.close()
            raise DatabaseUnavailable(*self.explain(error, target)) from None

    def migrations(self) -> Sequence["Step"]:
        from jobd.store.postgresql.schema import MIGRATIONS

        return MIGRATIONS

    def lock_upgrades(self, cursor: Any, label: str) -> None:
        # The transaction holds the lock, because a pooler may not keep the session.
        cursor.execute(self.begin)
        deadline = time.monotonic() + LOCK_SECONDS
        while not cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK_NUMBER,)).fetchone()[0]:
            if time.monotonic() > deadline:
                cursor.execute("ROLLBACK")
                raise DatabaseUnavailable(f"{label} is being upgraded by another process", "try again")
            time.sleep(0.05)  # noqa: TID251 - no loop turns yet

    def classify(self, error: Exception) -> str | None:
        state = getattr(error, "sqlstate", None)
        if not state:  # the driver's own error, not the server's
            return CONNECTION_LOST if type(error).__name__ in ("OperationalError", "InterfaceError") else None
        return next((meaning for meaning, begins in _MEANINGS if state.startswith(begins)), STATEMENT_REFUSED)

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        if isinstance(error, UnicodeError):
            return f"{target.label}: {NO_HOST}", "check the host in the URL"
        text = " ".join(str(error).split()) or type(error).__name__
        if target.password:
            text = text.replace(target.password, "***")
        state = getattr(error, "sqlstate", None) or ""
        hint = ""
        if "does not exist" in text and "database" in text:
            hint = f"create it: createdb {target.database}"
        elif "refused" in text or "No such file" in text:
            hint = "is the server running?"
        elif "authentication" in text or "password" in text:
            hint = "check the user and the password"
        elif "statement pooling" in text:
            hint = "in the pooler, set pool_mode = transaction (or session) for this database"
        elif "unsupported startup parameter" in text:
            hint = "take it out of the database URL, or name it in the pooler's ignore_startup_parameters"
        elif state == "42501" and "for schema" in text:
            hint = f"jobd's user must be let make tables: ALTER DATABASE {target.database} OWNER TO …"
        elif state == "42501":
            hint = "grant the user of jobd its rights again: it needs all of its own tables"
        elif state == "25006" or "during recovery" in text:
            hint = "jobd needs the primary, and a session that may write"
        return f"{target.label}: {text}", hint

    def where_in(self, column: str) -> str:
        return f"{column} = ANY(?)"

    def writes(self, into: Upsert, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        # One parameter for all rows: psycopg parses a statement with thousands of placeholders on each call, which
        # took longer than the rest of a write.
        table, columns = into.table, into.columns
        names, end = quoted_list(columns), on_conflict(into)
        for start in range(0, len(rows), MAX_ROWS):
            document = json.dumps([dict(zip(columns, row, strict=True)) for row in rows[start : start + MAX_ROWS]])
            source = f'SELECT {names} FROM json_populate_recordset(NULL::"{table}", %s::json)'
            yield f'INSERT INTO "{table}" ({names}) {source}{end}', [document]

    def claim(
        self, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
    ) -> list[int]:
        cursor.execute(
            # served by the index schedule_claim
            f"UPDATE schedule SET node_id = %s, token = {increment_or_restart('token', '%s')}, started_time = NULL"
            " WHERE job_id IN (SELECT job_id FROM schedule WHERE pool = %s AND node_id = 0 AND priority = %s"
            f" AND ready_time <= %s{excluding} ORDER BY ready_time LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING job_id",
            (node, until, pool, priority, until, limit),
        )
        return [job_id for (job_id,) in cursor.fetchall()]

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        cursor.execute(
            'UPDATE job SET "lastFinished_time" = ended.finished::timestamp'
            " FROM unnest(%s::bigint[], %s::text[]) AS ended (id, finished) WHERE job.id = ended.id",
            ([job_id for job_id, _ in finished], [moment for _, moment in finished]),
        )
