"""MariaDB and MySQL, through PyMySQL: connecting, statements that differ, and the meaning of errors.

The session is READ COMMITTED, strict and UTC. It counts found rows as affected (so an UPDATE counts a row that already
has the new value), and every call has a deadline. With ANSI_QUOTES, names are quoted as in the other databases.

A pooler or proxy may lose these settings (ProxySQL and MaxScale keep the ones they know, others keep none). Without
them a statement may have another meaning, so each transaction first reads them back, and fails if they differ.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
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
    Executor,
    SettingsLost,
    Upsert,
    columns_to_update,
    increment_or_restart,
    quoted_list,
    split_select,
)
from jobd.store.mysql import seal
from jobd.store.url import Target

if TYPE_CHECKING:
    from jobd.store.migrations import Step
    from jobd.store.store import Session

MAX_ROWS = 500  # in one statement
DEADLINE = 10  # seconds for a call
LOCK_WAIT = 5  # seconds to wait for a row that another transaction has locked
IDLE = 4  # seconds between two statements of a transaction
SQL_MODE = (
    "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES"
)
_MIXED_COLLATIONS = 1271
# Values that MySQL garbles in JSON: bytes, which it encodes, and text of a column that a user has changed to UTF-16 or
# similar, which it takes for UTF-8.
_GARBLED = ('"base64:type', "\\u0000")
_SETTINGS = (
    "sql_mode",
    "time_zone",
    "autocommit",
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "innodb_lock_wait_timeout",
)
# The meaning of an error number. Below 1000 it is PyMySQL's, from 2000 to 2999 a client's, from 9000 on a proxy's.
_MEANINGS = {
    CONFLICT: {
        # the row has changed since it was read; lock timeout; deadlock; duplicate key
        *(1020, 1205, 1213, 1062),
        # the table was altered meanwhile; the wait for a lock was aborted; refused by the replication group
        *(1412, 1689, 3101),
    },
    CONNECTION_LOST: {
        # the server shuts down, closes the connection, or has closed an idle one
        *(1053, 1152, 1184, 1927, 3169, 4031),
        # packets out of order, damaged, incomplete or late
        *range(1155, 1162),
        1180,  # an error during the commit
    },
    BAD_SESSION: {
        # access denied: login, database, table, column, routine; the password has expired; the account is locked
        *(1044, 1045, 1698, 1130, 1142, 1143, 1227, 1370, 1820, 1862, 3118, 4151),
        # the user who created the trigger no longer exists
        1449,
        # read-only: the server or the transaction; a connection without TLS is refused (3159)
        *(1290, 1792, 1207, 1836, 3159),
        # no database selected; unknown database; unknown prepared statement
        *(1046, 1049, 1243),
        # syntax error: ANSI_QUOTES is not set
        1064,
        # the session's binlog_format cannot log this write
        *(1598, *range(1661, 1668)),
    },
    TABLES_ALTERED: {1054, 1146},
    UNAVAILABLE: {
        # too many connections, in all or of this user; a quota of the user is used up; this host is blocked
        *(1040, 1203, 1226, 1129),
        # no disk space; no memory; no thread; too many locks
        *(1021, 1114, 1037, 1038, 1041, 1135, 1206),
        # files that cannot be read or written, are damaged or locked, or belong to no table
        *(1015, 1016, 1017, 1023, 1024, 1026, 1030, 1034, 1035, 1036, 1194, 1195, 1712, 1812, 1813, 1932),
        # all tables are locked; the statement was killed, or exceeded its time limit
        *(1099, 1192, 1223, 1317, 1969, 3024),
        # unknown; internal; a Galera node that is not ready; a damaged table; an error in the replication group
        *(1105, 1815, 1047, 1877, 3100),
    },
}
_MEANING = {number: meaning for meaning, numbers in _MEANINGS.items() for number in numbers}
_TLS = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Mysql(Dialect):
    """MariaDB 10.6 or newer, MySQL 8.0 or newer."""

    name = "mysql"
    # With READ WRITE, a server that has become read-only refuses this statement, not only the first write.
    begin = "START TRANSACTION READ WRITE"
    begin_reading = "START TRANSACTION"  # some proxies would send READ ONLY to a replica
    _settings: str  # the statement that reads the session's settings
    _set: tuple[Any, ...]  # its result after the session was set up
    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    primary_key_hint = " FORCE INDEX (PRIMARY)"  # otherwise a statement for half of a table reads and locks all of it
    placeholder = "%s"
    has_version = (
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'jobd_schema'"
    )
    commits_each = True
    driver = "pymysql"
    peewee_class = "MySQLDatabase"
    sealed = False  # changes of `job` are detected with seals, otherwise with triggers
    _garbled = False  # the server cannot send the rows as JSON

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        try:
            import pymysql
            from pymysql.constants import CLIENT
        except ImportError:
            raise ConfigError("the driver for MySQL and MariaDB is missing", "pip install 'jobd[mysql]'") from None
        connection = None
        try:
            connection = pymysql.connect(
                host=target.host or "localhost",
                port=target.port or 3306,
                user=target.user,
                password=(target.password or "").encode(),  # text would be sent as Latin-1
                database=target.database,
                unix_socket=target.options.get("unix_socket"),
                charset="utf8mb4",
                autocommit=True,
                client_flag=CLIENT.FOUND_ROWS,
                local_infile=False,
                connect_timeout=DEADLINE,
                read_timeout=DEADLINE,
                write_timeout=DEADLINE,
                **_tls(target),
            )
            with connection.cursor() as cursor:
                self._set_up(cursor, read_only)
                cursor.execute(self._settings)
                self._set = cursor.fetchone()
            return connection
        # UnicodeError: the host name cannot be encoded. RuntimeError: PyMySQL lacks an optional package.
        except (pymysql.Error, OSError, UnicodeError, RuntimeError) as error:
            if connection is not None:
                connection.close()
            raise DatabaseUnavailable(*self.explain(error, target)) from None

    def migrations(self) -> Sequence["Step"]:
        from jobd.store.mysql.schema import MIGRATIONS

        return MIGRATIONS

    def migrate(self, cursor: Any, statement: str) -> None:
        from jobd.store.mysql.schema import execute

        execute(cursor, statement)

    def lock_upgrades(self, cursor: Any, label: str) -> None:
        cursor.execute("SELECT GET_LOCK(CONCAT('jobd.', DATABASE()), %s)", (LOCK_SECONDS,))
        if cursor.fetchone()[0] != 1:
            raise DatabaseUnavailable(f"{label} is being upgraded by another process for {LOCK_SECONDS} s", "try again")

    def unlock_upgrades(self, cursor: Any, end: str) -> None:
        cursor.execute("SELECT RELEASE_LOCK(CONCAT('jobd.', DATABASE()))")
        cursor.fetchone()

    def _set_up(self, cursor: Any, read_only: bool) -> None:
        cursor.execute(
            "SET SESSION sql_mode = %s, time_zone = '+00:00', innodb_lock_wait_timeout = %s", (SQL_MODE, LOCK_WAIT)
        )
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(
            "SHOW SESSION VARIABLES WHERE Variable_name IN"
            " ('version', 'sql_mode', 'time_zone', 'tx_isolation', 'transaction_isolation', 'wsrep_on')"
        )
        is_set = dict(cursor.fetchall())
        check_version(is_set["version"])
        self.sealed = not is_maria(is_set["version"])
        # A node that is frozen within a transaction must lose its locks by the time that others find it dead.
        # MySQL has this limit only for all idle connections, so jobd reopens a connection that was merely idle.
        limit = "wait_timeout" if self.sealed else "idle_transaction_timeout"
        if not read_only:
            cursor.execute(f"SET SESSION {limit} = %s", (IDLE,))
        names = [*_SETTINGS, "transaction_isolation" if "transaction_isolation" in is_set else "tx_isolation", limit]
        self._settings = f"SELECT DATABASE(), {', '.join(f'@@SESSION.{name}' for name in names)}"
        isolation = is_set.get("transaction_isolation") or is_set.get("tx_isolation")
        wanted = set(SQL_MODE.split(","))
        if isolation != "READ-COMMITTED" or is_set["time_zone"] != "+00:00":
            raise ConfigError(f"the database server refuses READ COMMITTED or UTC (it has {isolation})")
        if not wanted <= set(is_set["sql_mode"].split(",")):
            raise ConfigError(f"the database server refuses the strict SQL mode (it has {is_set['sql_mode']})")
        if is_set.get("wsrep_on") == "ON":
            cursor.execute("SHOW STATUS LIKE 'wsrep_cluster_size'")
            row = cursor.fetchone()
            if row and int(row[1]) > 1:
                raise ConfigError(
                    f"this is a Galera cluster of {row[1]} writers, which can lose committed claims",
                    "use one server, or replication with a single writer",
                )

    def check_session(self, cursor: Any) -> None:
        cursor.execute(self._settings)
        if cursor.fetchone() != self._set:
            raise SettingsLost

    def classify(self, error: Exception) -> str | None:
        if isinstance(error, SettingsLost):
            return BAD_SESSION
        number = _number(error)
        if number is None:
            return CONNECTION_LOST if isinstance(error, OSError | UnicodeDecodeError) else None
        # errors of the client, such as 2014 (commands out of sync)
        broken = number < 1000 or 2000 <= number < 3000
        return _MEANING.get(number, CONNECTION_LOST if broken else UNAVAILABLE if number >= 9000 else STATEMENT_REFUSED)

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        if isinstance(error, SettingsLost):
            hint = "a pooler or proxy between jobd and the server loses them: have it keep a session for each client"
            return f"{target.label}: the session does not keep its settings (sql_mode, time_zone, isolation…)", hint
        if isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError):
            return f"{target.label}: {NO_HOST}", "check the host in the URL"
        if isinstance(error, RuntimeError):
            return f"{target.label}: {error}", "install that package beside jobd, or have the server offer TLS"
        number = _number(error)
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        text = " ".join(text.split()) or "the connection broke"  # PyMySQL does not always give a reason
        hint = {
            1045: "check the user and the password",
            **dict.fromkeys((1044, 1142, 1143), f"jobd needs all rights there: GRANT ALL ON {target.database}.* TO …"),
            1049: f"create it: CREATE DATABASE {target.database}",
            2002: "is the server running?",
            2003: "is the server running, and may this machine reach it?",
            1665: "in the server's configuration, set binlog_format = ROW; until it starts again,"
            " SET GLOBAL binlog_format = 'ROW'",
        }.get(number or 0, "")
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "check ssl_ca, and that the server's certificate is for this host"
        return f"{target.label}: {text}", hint

    # PyMySQL makes several Python calls for each value that it parses or quotes. For a thousand rows this took longer
    # than the rest of a cycle, so the next methods pass many values as one.

    def where_in(self, column: str) -> str:
        return f"{column} IN ?"

    def delete(
        self,
        session: "Session",
        table: str,
        keys: Sequence[Sequence[int]],
        columns: Sequence[str],
        extra: str = "",
    ) -> None:
        # A join, because with IN or OR the server may read and lock all of a small table, even with FORCE INDEX.
        named = ", ".join(f"{column} BIGINT PATH '$[{place}]'" for place, column in enumerate(columns))
        same = " AND ".join(f"{table}.{column} = named.{column}" for column in columns)
        index = "job_change_job" if (table, *columns) == ("job_change", "job_id") else "PRIMARY"
        session.execute(
            f"DELETE {table} FROM JSON_TABLE(?, '$[*]' COLUMNS ({named})) AS named"
            f" STRAIGHT_JOIN {table} FORCE INDEX ({index}) ON {same}{extra}",
            [json.dumps(keys)],
        )

    def all_rows(self, session: Executor, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            found = None if self._garbled else _rows_as_json(session, sql, parameters)
        except UnicodeDecodeError:
            self._garbled = True  # the rest of the answer is unread, so the transaction is retried on a new connection
            raise
        return session.rows(sql, parameters) if found is None else found

    def writes(self, into: Upsert, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        head = f'INSERT INTO "{into.table}" ({quoted_list(into.columns)}) VALUES '
        end = _on_duplicate_key(into)
        for start in range(0, len(rows), MAX_ROWS):
            texts: list[Any] = []
            yield head + ", ".join([_values(row, texts) for row in rows[start : start + MAX_ROWS]]) + end, texts

    def claim(
        self, cursor: Any, node: int, pool: str, priority: int, until: int, limit: int, excluding: str = ""
    ) -> list[int]:
        cursor.execute(
            # served by the index schedule_claim
            "SELECT job_id FROM schedule FORCE INDEX (schedule_claim)"
            f" WHERE pool = %s AND node_id = 0 AND priority = %s AND ready_time <= %s{excluding}"
            " ORDER BY ready_time LIMIT %s FOR UPDATE SKIP LOCKED",
            (pool, priority, until, limit),
        )
        ids = [job_id for (job_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(
                "UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$')) AS ready"
                " STRAIGHT_JOIN schedule FORCE INDEX (PRIMARY) ON schedule.job_id = ready.id"
                f" SET node_id = %s, token = {increment_or_restart('token', '%s')}, started_time = NULL",
                (json.dumps(ids), node, until),
            )
        return ids

    def changes(self, session: "Session", limit: int) -> list[tuple[Any, ...]]:
        return seal.changes(session, limit) if self.sealed else super().changes(session, limit)

    def drop_seen_changes(self, session: "Session", job_ids: Sequence[int]) -> None:
        super().drop_seen_changes(session, job_ids)
        if self.sealed:
            seal.seal(session, job_ids)

    def stamp_finished(self, cursor: Any, finished: Sequence[tuple[int, str]]) -> None:
        cursor.execute(
            # Without STRAIGHT_JOIN and FORCE INDEX the server reads all of a small table, and so waits for rows that
            # other transactions have locked.
            "UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]',"
            " moment DATETIME(6) PATH '$[1]' ERROR ON ERROR)) AS ended"
            " STRAIGHT_JOIN job FORCE INDEX (PRIMARY) ON job.id = ended.id"
            " SET job.lastFinished_time = ended.moment, job.updated_time = job.updated_time",
            [json.dumps(finished)],
        )


def _rows_as_json(session: Executor, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]] | None:
    """The rows of a SELECT, each sent as a JSON array; None: a value cannot be sent in this form.

    All values of jobd's own tables can, but users alter tables: then a column may contain JSON, which becomes part of
    the array, or bytes, or text in an incompatible collation. Raises UnicodeDecodeError if MySQL sends invalid UTF-8.
    """
    columns, source = split_select(sql)
    try:
        texts = [text for (text,) in session.rows(f"SELECT JSON_ARRAY({columns}) FROM {source}", parameters)]
        document = f"[{','.join(texts)}]"  # TypeError: one is bytes, or NULL because MariaDB limits its length
        found = list(map(tuple, json.loads(document)))
        hash(tuple(found))  # TypeError: a value is an array or object
    except UnicodeDecodeError:
        raise
    except (TypeError, ValueError):
        return None
    except Exception as error:
        if _number(error) == _MIXED_COLLATIONS:
            return None
        raise
    return None if any(sign in document for sign in _GARBLED) else found


def _on_duplicate_key(into: Upsert) -> str:
    """The end of an INSERT that updates existing rows."""
    if not into.key:
        return ""
    values = ", ".join(f'"{column}" = VALUES("{column}")' for column in columns_to_update(into))
    return f" ON DUPLICATE KEY UPDATE {values}"


def _values(row: Sequence[Any], texts: list[Any]) -> str:
    """The row as an item of VALUES. Values other than numbers and NULL are appended to `texts`, the parameters."""
    words = []
    for value in row:
        if value is None:
            words.append("NULL")
        elif type(value) is int:
            words.append(str(value))
        else:
            words.append("%s")
            texts.append(value)
    return f"({', '.join(words)})"


def is_maria(version: str) -> bool:
    """Whether the server of this version is a MariaDB, not a MySQL."""
    return "mariadb" in version.lower()


def check_version(version: str) -> None:
    """Raise ConfigError if the server's version is too old for jobd."""
    maria = is_maria(version)
    numbers = version.removeprefix("5.5.5-").split("-")[0].split(".")
    major, minor = int(numbers[0]), int(numbers[1])
    if (major, minor) < ((10, 6) if maria else (8, 0)):
        raise ConfigError(f"the database server is version {version}", "jobd needs MariaDB 10.6 or MySQL 8.0, or newer")


def _tls(target: Target) -> dict[str, Any]:
    """The driver's arguments for TLS. The server is verified if an option asks for it; `ssl_ca` does by default.

    Raises ConfigError for a bad option, DatabaseUnavailable for an unusable file.
    """
    options = target.options
    if unknown := set(options) - {"unix_socket", "tls", *_TLS}:
        raise ConfigError(
            f"the database URL has an unknown option {min(unknown)!r}", f"known: unix_socket, tls, {', '.join(_TLS)}"
        )
    if options.get("tls", "require") != "require":
        raise ConfigError("the option tls of the database URL is not understood", "write tls=require, or leave it out")
    named = "ssl_ca" in options
    identity = _flag(options, "ssl_verify_identity", named)
    verified = _flag(options, "ssl_verify_cert", named) or identity
    if not verified and not {"tls", "ssl_cert", "ssl_key"} & set(options):
        return {}  # the driver uses TLS if the server offers it
    import ssl

    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca"))
        if "ssl_cert" in options:
            context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    except OSError as error:
        raise DatabaseUnavailable(
            f"{target.label}: the files for TLS cannot be used: {error.strerror or error}",
            "check ssl_ca, ssl_cert and ssl_key; give absolute paths",
        ) from None
    # As in the driver: the certificates that MySQL generates do not pass the strict checks.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = identity
    context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    return {"ssl": context}


def _flag(options: Mapping[str, str], name: str, default: bool) -> bool:
    """The value of a boolean option. Raises ConfigError for a bad value, because a typo must not turn a check off."""
    text = options.get(name)
    if text is None:
        return default
    if text.lower() not in _FLAGS:
        raise ConfigError(f"the option {name} of the database URL is not understood", "write true or false")
    return _FLAGS[text.lower()]


def _number(error: Exception) -> int | None:
    """The number of an error that the driver raised; None: the error has none."""
    of_driver = type(error).__module__ == "pymysql.err" and error.args and isinstance(error.args[0], int)
    return error.args[0] if of_driver else None
