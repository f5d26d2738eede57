"""The limits of the machine, measured beside each figure: durable commits, wake-ups, socket trips, Python itself.

A recorded run is the least that a scheduler with a history must write: the row that says when the job is due next, and
a row of the history. Neither jobd nor its ORM is on the way; only the drivers are.
"""

import contextlib
import ctypes
import select
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.processes import seconds
from jobd.store.url import Target, parse_url

JOBS = 20_000
_TABLES = (
    "CREATE TABLE raw_schedule (id INTEGER PRIMARY KEY, due INTEGER, node INTEGER)",
    "CREATE INDEX raw_schedule_due ON raw_schedule (node, due)",
    "CREATE TABLE raw_run (id INTEGER, number INTEGER, text VARCHAR(20), PRIMARY KEY (id, number))",
)


def recorded_runs(url: str, batch: int = 100, spend: float = 1.0) -> float:
    """Recorded runs a second, `batch` a commit; on a server a commit of the claims comes before."""
    with _raw(parse_url(url)) as cursor:
        mark = "?" if isinstance(cursor, sqlite3.Cursor) else "%s"
        for statement in _TABLES:
            cursor.execute(statement)
        cursor.execute("BEGIN")
        rows = [(number, number, 0) for number in range(JOBS)]
        cursor.executemany(f"INSERT INTO raw_schedule VALUES ({mark}, {mark}, {mark})", rows)
        cursor.execute("COMMIT")
        record = _record_sqlite if isinstance(cursor, sqlite3.Cursor) else _record_server
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < spend:
            record(cursor, batch, done)
            done += batch
        took = time.perf_counter() - began
        for table in ("raw_schedule", "raw_run"):
            cursor.execute(f"DROP TABLE {table}")
    return done / took


def _record_sqlite(cursor: sqlite3.Cursor, batch: int, done: int) -> None:
    ids = [(done + offset) % JOBS for offset in range(batch)]
    cursor.execute("BEGIN IMMEDIATE")
    cursor.executemany(f"UPDATE raw_schedule SET due = due + {JOBS} WHERE id = ?", [(one,) for one in ids])
    cursor.executemany("INSERT INTO raw_run VALUES (?, ?, 'x')", [(one, done) for one in ids])
    cursor.execute("COMMIT")


def _record_server(cursor: Any, batch: int, done: int) -> None:
    cursor.execute("BEGIN")
    wanted = f"SELECT id FROM raw_schedule WHERE node = 0 ORDER BY due LIMIT {batch} FOR UPDATE SKIP LOCKED"
    cursor.execute(wanted)
    ids = [one for (one,) in cursor.fetchall()]
    among = ", ".join(map(str, ids))
    cursor.execute(f"UPDATE raw_schedule SET node = 1 WHERE id IN ({among})")
    cursor.execute("COMMIT")
    cursor.execute("BEGIN")
    cursor.execute(f"UPDATE raw_schedule SET node = 0, due = due + {JOBS} WHERE id IN ({among})")
    values = ", ".join(f"({one}, {done}, 'x')" for one in ids)
    cursor.execute(f"INSERT INTO raw_run VALUES {values}")
    cursor.execute("COMMIT")


@contextlib.contextmanager
def _raw(target: Target) -> Iterator[Any]:
    """A cursor of the plain driver in autocommit mode, durable; SQLite gets a file of its own."""
    if target.kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
            database = sqlite3.connect(f"{folder}/raw.db", isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            yield database.cursor()
            database.close()
        return
    connection: Any
    assert target.port is not None
    if target.kind == "mysql":
        import pymysql

        connection = pymysql.connect(
            host=target.host, port=target.port, user=target.user, database=target.database, autocommit=True
        )
    else:
        import psycopg

        connection = psycopg.connect(
            host=target.host, port=target.port, user=target.user, dbname=target.database, autocommit=True
        )
    with contextlib.closing(connection):
        yield connection.cursor()


def wake_ups(until: float, pause: float = 0.02) -> list[float]:
    """By how many milliseconds select() wakes up late, asked to be as exact as it can, until a moment has come."""
    ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK, in nanoseconds
    late = []
    while time.time() < until - pause:
        began = time.perf_counter()
        select.select([], [], [], pause)
        late.append((time.perf_counter() - began - pause) * 1_000)
    return late


def socket_trips(count: int = 20_000) -> float:
    """Round trips of a small message over a socket pair a second, in one thread: the calls without the waiting."""
    near, far = socket.socketpair()
    with near, far:
        began = time.perf_counter()
        for _ in range(count):
            near.sendall(b"x" * 100)
            far.sendall(far.recv(200))
            near.recv(200)
        return count / (time.perf_counter() - began)


def python(code: str, environ: dict[str, str]) -> float:
    """How many seconds `python -c CODE` takes."""
    return seconds([sys.executable, "-c", code], environ)
