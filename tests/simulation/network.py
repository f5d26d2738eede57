"""The database of a simulation: real SQL on a real SQLite, behind a simulated network that fails.

A transaction takes effect at one moment; requests and answers may fail. The rules of a broken connection are the real
ones: a request may be lost, an answer may be lost or late, a commit may be done without an answer, and a conflict may
require the whole transaction to be repeated.
"""

import sqlite3
from typing import Any

from jobd.clock import MILLISECOND, SECOND
from jobd.store import schema
from jobd.store.dialect import CONFLICT, CONNECTION_LOST, UNAVAILABLE
from jobd.store.orm import open_database
from jobd.store.sqlite.dialect import Sqlite
from jobd.store.store import Store
from jobd.store.url import Target

DEADLINE = 5 * SECOND  # after which a client gives up on an answer
TARGET = Target("sqlite", ":memory:")


class Cut(Exception):
    """The connection broke."""


class Refused(Exception):
    """The database refuses to write: it is full, or read-only."""


class Conflict(Exception):
    """A conflict with another transaction."""


class Database:
    """The database itself."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.commits = 0
        schema.upgrade(self.connection, Sqlite(), TARGET)

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, for checks from outside."""
        return self.connection.execute(sql, parameters).fetchall()


class Line:
    """The present faults of the network for one node."""

    def __init__(self) -> None:
        self.cut = False  # nothing gets through
        self.full = False  # the database refuses to write
        self.slow = 0  # the longest delay of a request, and of an answer, in µs
        self.lose = 0.0  # the part of commits with an unknown outcome
        self.conflict = 0.0  # the part of commits that must be repeated
        self.mended_at = 0

    def is_free(self) -> bool:
        """Whether there is no fault."""
        return not (self.cut or self.full or self.slow or self.lose or self.conflict)


class Wire:
    """A connection of a node, with the interface of the driver."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._real = node.cluster.database.connection

    def cursor(self) -> "Cursor":
        return Cursor(self._node, self._real)

    def close(self) -> None:
        pass


class Cursor:
    """Runs statements. The time for the network passes at the begin and at the commit."""

    def __init__(self, node: Any, connection: sqlite3.Connection) -> None:
        self._node = node
        self._cursor = connection.cursor()

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        if sql.startswith("BEGIN"):
            self._travel()
        elif sql == "COMMIT":
            return self._commit()
        if sql != "ROLLBACK":
            self._effect(" ".join(sql.split()[:3]))
        return self._cursor.execute(sql, parameters)

    def _effect(self, name: str) -> None:
        """A crash point. A failure here breaks the connection and ends the transaction."""
        try:
            self._node.effect(name)
        except BaseException:
            if self._cursor.connection.in_transaction:
                self._cursor.execute("ROLLBACK")
            raise

    def _travel(self) -> None:
        line = self._node.line
        self._take_time()
        if line.cut:
            self._wait_for_timeout()
        if line.full:
            raise Refused

    def _take_time(self) -> None:
        cluster = self._node.cluster
        self._wait(cluster.delay(MILLISECOND) + cluster.delay(self._node.line.slow))

    def _wait_for_timeout(self) -> None:
        self._wait(self._node.cluster.delay(DEADLINE))
        raise Cut

    def _wait(self, duration: int) -> None:
        line, ends = self._node.line, self._node.cluster.events.now + duration
        if not line.is_free():
            line.mended_at = max(line.mended_at, ends)  # the node may wait beyond the end of the fault
        self._node.sleep(duration)

    def _commit(self) -> None:
        node, line = self._node, self._node.line
        cluster = node.cluster
        self._effect("COMMIT")
        if cluster.chance(line.conflict):
            self._cursor.execute("ROLLBACK")
            raise Conflict
        lost = cluster.chance(line.lose)
        self._cursor.execute("ROLLBACK" if lost and cluster.chance(0.5) else "COMMIT")
        cluster.database.commits += 1
        cluster.checks.committed(node)
        node.effect("committed")
        if lost:
            self._wait_for_timeout()
        self._take_time()
        if line.cut:  # it was cut while the answer was on its way
            self._wait_for_timeout()

    def executemany(self, sql: str, parameters: Any) -> Any:
        self._effect(" ".join(sql.split()[:3]))
        return self._cursor.executemany(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class _Dialect(Sqlite):
    def __init__(self, node: Any) -> None:
        self._node = node

    def connect(self, target: Target, create: bool, read_only: bool = False) -> Any:
        return Wire(self._node)

    def check_place(self, target: Target) -> None:
        pass

    def classify(self, error: Exception) -> str | None:
        if isinstance(error, Cut):
            return CONNECTION_LOST
        if isinstance(error, Refused):
            return UNAVAILABLE
        return CONFLICT if isinstance(error, Conflict) else None

    def explain(self, error: Exception, target: Target) -> tuple[str, str]:
        return f"the simulated database: {type(error).__name__}", ""

    def changed(self, connection: Any, seen: object) -> tuple[bool, object]:
        if self._node.line.cut:
            raise Cut
        commits = self._node.cluster.database.commits
        return commits != seen, commits


class NodeStore(Store):
    """jobd's own store, over a node's network."""

    def __init__(self, node: Any) -> None:
        self.runs_recorded = []
        self.target = TARGET
        self.dialect = _Dialect(node)
        self._sleep = lambda seconds: node.sleep(round(seconds * SECOND))
        self._monotonic = lambda: node.cluster.events.now / SECOND
        self._seen = None
        self._database = open_database(TARGET, self.dialect)


class _Here:
    """A client on the database's machine, without a network."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.line = Line()

    def sleep(self, duration: int) -> None:
        pass

    def effect(self, name: str) -> None:
        pass


def local_store(cluster: Any) -> Store:
    """The store of a user on the database's machine: edits take effect at once."""
    return NodeStore(_Here(cluster))
