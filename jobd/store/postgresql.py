"""PostgreSQL, through psycopg 3: how to get in, what is said differently, and what errors mean."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from jobd.errors import ConfigError, DatabaseUnavailable
from jobd.store.dialect import AGAIN, ALTERED, AWAY, LOST, Dialect, Into, grown, listed, on_conflict
from jobd.store.url import Target

MOST_ROWS = 2_000  # in one statement
DEADLINE = 10  # seconds for a call
LOCK_WAIT = 5  # seconds for a row that another transaction holds
IDLE = 4  # seconds that a transaction may stand still: a frozen node must not hold its locks until it is found dead


class Postgresql(Dialect):
    """PostgreSQL 14 or newer."""

    name = "postgresql"
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    placeholder = "%s"

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        try:
            import psycopg
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
            **target.options,
        }
        connection = None
        try:
            connection = psycopg.connect(**given, autocommit=True)
            # As text: a datetime holds neither 'infinity' nor a year before Christ, and one such row would hide all.
            connection.adapters.register_loader("timestamp", psycopg.types.string.TextLoader)
            connection.execute(
                f"SET statement_timeout = '{DEADLINE}s'; SET lock_timeout = '{LOCK_WAIT}s'; SET timezone = 'UTC';"
                f" SET datestyle = 'ISO'; SET client_encoding = 'UTF8';"
                f" SET idle_in_transaction_session_timeout = '{IDLE}s'"
            )
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
        except (psycopg.Error, OSError, UnicodeError) as error:  # a host name may be none in any encoding
            if connection is not None:
                connection.close()
            raise DatabaseUnavailable(*self.explain(error, target)) from None

    def classify(self, error: Exception) -> str | None:
        state = getattr(error, "sqlstate", None) or ""
        # 40: deadlock, serialization; 55P03: lock timeout; 23505: another has added the same key meanwhile
        if state.startswith("40") or state in ("55P03", "23505"):
            return AGAIN
        # 08: connection; 57P01-3: shutting down
        if state.startswith("08") or state in ("57P01", "57P02", "57P03", "25P03"):
            return LOST
        # 53: resources; 57014: deadline; 25006: read-only; 28, 42501: not allowed; 58: I/O
        if state[:2] in ("53", "28", "58") or state in ("57014", "25006", "42501"):
            return AWAY
        if not state and type(error).__name__ in ("OperationalError", "InterfaceError"):
            return LOST
        return ALTERED if state in ("42703", "42P01") else None

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        text = " ".join(str(error).split()) or type(error).__name__
        if target.password:
            text = text.replace(target.password, "***")
        hint = ""
        if "does not exist" in text and "database" in text:
            hint = f"create it: createdb {target.database}"
        elif "refused" in text or "No such file" in text:
            hint = "is the server running?"
        elif "authentication" in text or "password" in text:
            hint = "check the user and the password"
        return f"{target.label}: {text}", hint

    def among(self, column: str, count: int) -> str:
        return f"{column} = ANY(?)"

    def among_values(self, ids: Sequence[int]) -> list[Any]:
        return [list(ids)]

    def writes(self, into: Into, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        # One parameter for all rows: psycopg parses a statement of thousands of placeholders anew each time, which
        # takes longer than all else of a write.
        table, columns = into.table, into.columns
        names, end = listed(columns), on_conflict(into)
        for start in range(0, len(rows), MOST_ROWS):
            document = json.dumps([dict(zip(columns, row, strict=True)) for row in rows[start : start + MOST_ROWS]])
            source = f'SELECT {names} FROM json_populate_recordset(NULL::"{table}", %s::json)'
            yield f'INSERT INTO "{table}" ({names}) {source}{end}', [document]

    def claim(self, cursor: Any, node: int, pool: str, until: int, limit: int) -> list[int]:
        cursor.execute(
            # served by the index schedule_claim
            f"UPDATE schedule SET node_id = %s, token = {grown('token', '%s')}, started_time = NULL"
            " WHERE job_id IN (SELECT job_id FROM schedule WHERE pool = %s AND node_id = 0 AND ready_time <= %s"
            " ORDER BY ready_time LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING job_id",
            (node, until, pool, until, limit),
        )
        return [job_id for (job_id,) in cursor.fetchall()]

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        cursor.execute(
            'UPDATE job SET "lastFinished_time" = ended.finished::timestamp'
            " FROM unnest(%s::bigint[], %s::text[]) AS ended (id, finished) WHERE job.id = ended.id",
            ([job_id for job_id, _ in finished], [moment for _, moment in finished]),
        )
