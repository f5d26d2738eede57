"""A damaged session is closed and replaced, after a fail-over, an administrator's change or a pooler's."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from jobd.errors import DatabaseUnavailable, JobdError
from jobd.job import Job
from jobd.store import definitions
from jobd.store.connect import dialect_of
from jobd.store.dialect import BAD_SESSION, CONFLICT, CONNECTION_LOST, STATEMENT_REFUSED, TABLES_ALTERED, UNAVAILABLE
from jobd.store.reads import Reader
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.installation import until

NOW = 1_800_000_000_000_000
SPOILT = {
    "sqlite": ["PRAGMA query_only = 1"],
    "postgresql": [
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET search_path = nowhere",
        "SET ROLE pg_monitor",
        "SET SESSION AUTHORIZATION pg_monitor",
        "SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET client_encoding = 'LATIN1'",
        "SET default_transaction_isolation = 'serializable'",
        "SET statement_timeout = '77s'; SET lock_timeout = '66s'; SET idle_in_transaction_session_timeout = '55s'",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ],
    "mariadb": [
        "SET SESSION sql_mode = ''",
        "SET SESSION time_zone = '+09:00'",
        "SET SESSION tx_isolation = 'REPEATABLE-READ'",
        "SET SESSION tx_read_only = 1",
        "SET SESSION autocommit = 0",
        "SET NAMES latin1",
        "SET ROLE NONE; USE mysql",
        "SET SESSION innodb_lock_wait_timeout = 1000",
        "SET SESSION idle_transaction_timeout = 0",
        "KILL CONNECTION CONNECTION_ID()",
    ],
}


def read(session: Session) -> list[tuple[Any, ...]]:
    return session.rows('SELECT name, "interval" FROM job ORDER BY id')


def is_set_up(rows: Callable[[str], list[tuple[Any, ...]]]) -> bool:
    """Whether a session of PostgreSQL's has what jobd gives each transaction."""
    settings = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "4s"}
    found = {name: rows(f"SELECT current_setting('{name}')")[0][0] for name in (*settings, "datestyle")}
    return str(found.pop("datestyle")).startswith("ISO") and found == settings


def number(store: Store) -> int:
    """The session's number on the server."""
    sql = "SELECT pg_backend_pid()" if store.dialect.name == "postgresql" else "SELECT CONNECTION_ID()"
    return int(store.transact(lambda session: session.rows(sql))[0][0])


@pytest.mark.parametrize(("kind", "how"), [(kind, how) for kind, hows in SPOILT.items() for how in hows])
def test_a_spoilt_session_is_replaced_unnoticed(
    kind: str, how: str, request: pytest.FixtureRequest, tmp_path: Path, open_store: Callable[[str], Store]
) -> None:
    url = servers.sqlite_url(tmp_path) if kind == "sqlite" else request.getfixturevalue(kind).new_database()
    store = open_store(url)
    definitions.add(store, [Job("b\u00e4r", "1h")], NOW, "UTC")
    reader = Reader(store.target)
    (before,) = reader.jobs(deleted=False)
    for cursor in (store._connection().cursor(), reader._cursor):
        for statement in how.split("; "):
            with contextlib.suppress(psycopg.OperationalError, pymysql.OperationalError):  # it was ended
                cursor.execute(statement)
    definitions.add(store, [Job("h\u00e4schen", "2h")], NOW, "UTC")
    assert store.transact(read) == [("b\u00e4r", "1h"), ("h\u00e4schen", "2h")]
    if kind == "postgresql":
        assert store.transact(lambda session: is_set_up(session.rows))
        assert is_set_up(reader._rows)
    first, second = reader.jobs(deleted=False)
    assert (first, second.job.name) == (before, "h\u00e4schen")
    reader.close()


def test_behind_a_pooler_each_transaction_may_have_another_session(
    pgbouncer: servers.Server, open_store: Callable[[str], Store]
) -> None:
    url = pgbouncer.new_database()
    stores = [open_store(url) for _ in range(3)]

    def numbers() -> set[int]:
        with contextlib.ExitStack() as held:  # until the pool has a session for each
            for store in stores:
                connection = store._connection()
                connection.execute("BEGIN")
                held.callback(connection.execute, "COMMIT")
        return {number(store) for _ in range(4) for store in stores}

    until(lambda: len(numbers()) > 1, "transactions in several sessions")  # the pooler closes what is idle for 2 s
    # Another program of the same pool, which leaves something behind in the sessions that it is given.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as rude:
        for _ in range(6):
            rude.execute("SET statement_timeout = '77s'; SET datestyle = 'German'; SET lock_timeout = '66s'")
    for batch in range(8):
        for one, store in enumerate(stores):
            definitions.add(store, [Job(f"job{batch}-{one}", "1h")], NOW, "UTC")
            assert store.transact(lambda session: is_set_up(session.rows))
    assert len(stores[0].transact(read)) == 24
    with contextlib.closing(Reader(stores[0].target)) as reader:
        assert len(list(reader.jobs(deleted=False))) == 24
        assert is_set_up(reader._rows)


def test_jobd_leaves_nothing_in_the_sessions_of_a_pool(
    pgbouncer: servers.Server, open_store: Callable[[str], Store]
) -> None:
    url = pgbouncer.new_database()
    store = open_store(url)
    for number in range(8):
        definitions.add(store, [Job(f"job{number}", "1h")], NOW, "UTC")
    with contextlib.closing(Reader(store.target)) as reader:
        list(reader.jobs(deleted=False))
    left = (
        "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT IN"
        " ('client_encoding', 'application_name') UNION ALL SELECT 'prepared', name FROM pg_prepared_statements"
        " UNION ALL SELECT 'lock', locktype FROM pg_locks WHERE locktype = 'advisory'"
    )
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
        assert other.execute(left).fetchall() == []


def test_a_pooler_without_transactions_is_refused_with_the_setting_to_change(
    postgresql: servers.Server, open_store: Callable[[str], Store]
) -> None:
    with servers.pooled(postgresql, "statement") as pooler, pytest.raises(DatabaseUnavailable) as refusal:
        open_store(pooler.new_database())
    assert "pool_mode = transaction" in refusal.value.hint


def test_a_proxy_that_keeps_no_settings_is_refused_with_the_setting_to_change(
    mariadb: servers.Server, open_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(mariadb.new_database())

    def forgetful(session: Session) -> None:
        session.execute("SET SESSION sql_mode = DEFAULT")

    for _ in range(3):
        store.transact(forgetful)
        assert store.transact(read) == []
    # What gives each transaction a session that nobody has set up.
    monkeypatch.setattr(store.dialect, "begin", "SET SESSION sql_mode = DEFAULT")
    with pytest.raises(DatabaseUnavailable, match="does not keep its settings") as refusal:
        store.transact(read)
    assert "keep a session for each client" in refusal.value.hint


class Spoken(Exception):
    """An error as the driver of PostgreSQL has it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("the server's words")
        self.sqlstate = sqlstate


def meanings(kind: str, errors: Iterable[Exception]) -> set[str | None]:
    dialect = dialect_of(parse_url(f"{kind}://u@h/d"))
    return {dialect.classify(error) for error in errors}


POSTGRESQL = {
    CONNECTION_LOST: "08000 08003 08006 08P01 40003 57P01 57P02 57P03 57P04 57P05 25P03 25P04",
    CONFLICT: "40001 40P01 55P03 23505",
    BAD_SESSION: "25006 25001 25P02 28000 28P01 42501 3F000 26000 42P05 34000 0A000",
    TABLES_ALTERED: "42P01 42703",
    UNAVAILABLE: "53000 53100 53200 53300 55000 55006 57014 58000 58030 XX000 XX001 F0000 3D000",
    STATEMENT_REFUSED: "22001 22003 22021 23502 23514 42601 42883 54000 P0001 38000 44000 21000",
}
MYSQL = {
    CONNECTION_LOST: "0 2006 2013 2014 2026 2055 1053 1158 1180 1927 4031",
    CONFLICT: "1020 1205 1213 1062 1412 3101",
    BAD_SESSION: "1044 1045 1142 1143 1227 1290 1449 1698 1792 1820 1836 1862 3118 4151 1046 1049 1064",
    TABLES_ALTERED: "1054 1146",
    UNAVAILABLE: "1040 1203 1226 1021 1114 1030 1037 1194 1223 1317 1969 3024 1105 9001 9006",
    STATEMENT_REFUSED: "1048 1118 1153 1264 1364 1406 1452 1644 3819 4025",
}


@pytest.mark.parametrize("meaning", POSTGRESQL)
def test_each_sqlstate_has_a_meaning(meaning: str) -> None:
    assert meanings("postgresql", map(Spoken, POSTGRESQL[meaning].split())) == {meaning}


@pytest.mark.parametrize("meaning", MYSQL)
def test_each_error_number_has_a_meaning(meaning: str) -> None:
    numbers = map(int, MYSQL[meaning].split())
    assert meanings("mysql", (pymysql.OperationalError(number, "words") for number in numbers)) == {meaning}


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_an_error_that_is_no_servers_has_none(kind: str) -> None:
    assert meanings(kind, [KeyError(42), ValueError("x"), TypeError(1045), OverflowError(), JobdError("x")]) == {None}
