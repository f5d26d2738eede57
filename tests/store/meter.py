"""The real cost of each statement: its plan, and the number of rows that it has read.

A connection is wrapped; each statement is explained just before it runs, with the parameters that it has. SQLite counts
the steps of its virtual machine, MariaDB the rows that it reads. PostgreSQL tells itself what it did (auto_explain):
the plan that was used, which for a prepared statement is not always the one that EXPLAIN would find.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jobd.store.dialect import Dialect

STEPS = 100  # of SQLite's machine between two counts
_EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


class Statement(NamedTuple):
    """A statement as it was run. `read`: rows, on SQLite steps of the machine."""

    sql: str
    rows: int  # given or changed
    read: int
    plan: str


class Meter:
    """The statements of one connection."""

    def __init__(self, connection: Any) -> None:
        self.statements: list[Statement] = []
        self.connection = connection

    def explain(self, sql: str, parameters: Any) -> str:
        """The plan as text."""
        raise NotImplementedError

    def count(self) -> int:
        """What has been read so far."""
        raise NotImplementedError

    def run(self, cursor: Any, sql: str, parameters: Any, execute: Callable[[], object]) -> list[Any] | None:
        """Run a statement and keep what it cost; the rows that it gave."""
        if not sql.startswith(_EXPLAINED):
            execute()
            return list(cursor.fetchall()) if cursor.description else None
        plan = self.explain(sql, parameters)
        before = self.count()
        execute()
        found = list(cursor.fetchall()) if cursor.description else None
        rows = len(found) if found is not None else max(0, cursor.rowcount)
        self.statements.append(Statement(sql, rows, self.count() - before, plan))
        return found


class SqliteMeter(Meter):
    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._steps = 0
        connection.set_progress_handler(self._step, STEPS)

    def _step(self) -> int:
        self._steps += STEPS
        return 0

    def explain(self, sql: str, parameters: Any) -> str:
        return "\n".join(row[3] for row in self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))

    def count(self) -> int:
        return self._steps


class MysqlMeter(Meter):
    def explain(self, sql: str, parameters: Any) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}", parameters)
            return "\n".join(map(str, cursor.fetchall()))

    def count(self) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _, value in cursor.fetchall())


class PostgresqlMeter(Meter):
    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._plans: list[Any] = []
        self._read = 0
        connection.add_notice_handler(self._notice)
        connection.execute("LOAD 'auto_explain'")
        connection.execute(
            "SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET client_min_messages = log;"
            " SET auto_explain.log_timing = off; SET auto_explain.log_format = json"
        )

    def _notice(self, notice: Any) -> None:
        text = notice.message_primary
        if "plan:" in text:
            plan = json.loads(text[text.index("{") :])["Plan"]
            self._plans.append(plan)
            self._read += sum(map(_read, _nodes(plan)))

    def run(self, cursor: Any, sql: str, parameters: Any, execute: Callable[[], object]) -> list[Any] | None:
        self._plans.clear()

        def execute_and_hear() -> None:
            execute()
            self.connection.execute("SELECT 1")  # the notices about a statement arrive with the next one

        found = super().run(cursor, sql, parameters, execute_and_hear)
        if sql.startswith(_EXPLAINED):
            plan = "\n".join(line for plan in self._plans for line in _outline(plan))
            self.statements[-1] = self.statements[-1]._replace(plan=plan)
        return found

    def explain(self, sql: str, parameters: Any) -> str:
        return ""

    def count(self) -> int:
        return self._read


class MeteredCursor:
    """A cursor whose statements are metered; their rows are fetched at once."""

    def __init__(self, cursor: Any, meter: Meter) -> None:
        self._cursor, self._meter = cursor, meter
        self._rows: list[Any] | None = None

    def execute(self, sql: str, parameters: Any = ()) -> "MeteredCursor":
        execute = (lambda: self._cursor.execute(sql, parameters)) if parameters else lambda: self._cursor.execute(sql)
        self._rows = self._meter.run(self._cursor, sql, parameters or (), execute)
        return self

    def executemany(self, sql: str, parameters: Any) -> "MeteredCursor":
        self._rows = self._meter.run(
            self._cursor, sql, parameters[0], lambda: self._cursor.executemany(sql, parameters)
        )
        return self

    def fetchall(self) -> list[Any]:
        return self._rows or []

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows or [])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class MeteredConnection:
    """A connection whose statements are metered."""

    def __init__(self, connection: Any, meter: Meter) -> None:
        self._connection, self._meter = connection, meter

    def cursor(self, *arguments: Any) -> MeteredCursor:
        return MeteredCursor(self._connection.cursor(*arguments), self._meter)

    def execute(self, sql: str, parameters: Any = ()) -> MeteredCursor:
        return self.cursor().execute(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def metered(dialect: type[Dialect], meters: list[Meter]) -> Callable[..., Any]:
    """A `connect` of this dialect whose connections are metered."""
    connect = dialect.connect
    kinds = {"sqlite": SqliteMeter, "mysql": MysqlMeter, "postgresql": PostgresqlMeter}

    def connect_metered(self: Dialect, *arguments: Any, **named: Any) -> MeteredConnection:
        connection = connect(self, *arguments, **named)
        meters.append(kinds[self.name](connection))
        return MeteredConnection(connection, meters[-1])

    return connect_metered


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _outline(node: Any, depth: int = 0) -> Iterator[str]:
    """A plan of PostgreSQL's, a line a node."""
    names = ("Node Type", "Index Name", "Relation Name", "Index Cond", "Filter", "Actual Rows", "Actual Loops")
    yield "  " * depth + ", ".join(f"{name} {node[name]}" for name in names if name in node)
    for child in node.get("Plans", ()):
        yield from _outline(child, depth + 1)


def _read(node: Any) -> int:
    """The rows that a node of a plan of PostgreSQL's took from a table, kept or not."""
    if "Relation Name" not in node and "Index Name" not in node:
        return 0
    each = sum(node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return int(each * node["Actual Loops"])
