"""Large tables, filled by the database itself, as after years of operation.

Half of the jobs are due later, four in ten have run for good, the rest are due now; a few are claimed, by a node that
lives, by one that is dead and by one that nobody knows, and a few have a task that is unknown.
"""

from functools import partial
from typing import NamedTuple

from jobd.clock import DAY, HOUR, SECOND
from jobd.store.store import Session, Store

NOW = 1_800_000_000 * SECOND
LIVE, DEAD, UNKNOWN = 1_001, 1_002, 5_000
CLAIMED = 50  # by each of these
AT_ONCE = 20_000  # rows in a statement: each has a deadline
PRIORITY = "CASE value % 3 WHEN 0 THEN -5 WHEN 1 THEN 0 ELSE 5 END"  # a third of the jobs each
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n (value) AS (SELECT {0} UNION ALL SELECT value + 1 FROM n WHERE value < {1})"
    " INSERT INTO {2} SELECT {3} FROM n",
    "mysql": "INSERT INTO {2} SELECT {3} FROM (SELECT seq AS value FROM seq_{0}_to_{1}) AS n",
    "postgresql": "INSERT INTO {2} SELECT {3} FROM generate_series({0}, {1}) AS n (value)",
}


class Size(NamedTuple):
    """How large the tables are."""

    jobs: int
    runs: int  # of each job

    @property
    def waiting(self) -> int:
        """The jobs with smaller ids are due later, those from here on have run for good."""
        return self.jobs // 2

    @property
    def due(self) -> int:
        """The jobs from this id on are due now."""
        return self.jobs * 9 // 10


def fill(store: Store, size: Size) -> None:
    """Fill the empty tables of `store`."""
    jobs, waiting, due = size.jobs, size.waiting, size.due
    claims = jobs - 4 * CLAIMED
    _insert(store, 'job (id, name, "interval")', "value, CAST(value AS VARCHAR(20)), '1h'", 1, jobs)
    store.transact(lambda session: session.execute(f"DELETE FROM job_change WHERE id > {CLAIMED}") and None)
    _insert(store, "job_options (job_id, task, priority)", f"value, 'noop', {PRIORITY}", 1, jobs)
    columns = "job_id, number, due_time, ready_time, basis, anchor, node_id, token, started_time, error, priority"
    columns = f"schedule ({columns})"
    plan = f"value, {size.runs + 1}, {{0}}, {{0}}, '0||1h', {NOW}, {{1}}, 7, NULL, {{2}}, {PRIORITY}"
    _insert(store, columns, plan.format(f"{NOW + HOUR} + value", 0, "NULL"), 1, waiting - 1)
    _insert(store, columns, plan.format("NULL", 0, "NULL"), waiting, due - 1)
    _insert(store, columns, plan.format(f"{NOW - HOUR} + value", 0, "NULL"), due, claims)
    for place, (node, error) in enumerate([(LIVE, "NULL"), (DEAD, "NULL"), (UNKNOWN, "NULL"), (0, "'unknown task'")]):
        low = claims + place * CLAIMED + 1
        _insert(store, columns, plan.format(f"{NOW - HOUR} + value", node, error), low, low + CLAIMED - 1)
    some = max(1, AT_ONCE // size.runs)
    for low in range(1, jobs + 1, some):
        for number in range(1, size.runs + 1):
            _history(store, size, low, min(jobs, low + some - 1), number)
    columns = "node (id, host, pid, version, instance, started_time, heartbeat, stopped_time)"
    _insert(store, columns, f"value, 'host', 1, '1', 'gone', {NOW - DAY}, 9, {NOW}", 1, LIVE - 1)
    _insert(store, columns, f"value, 'host', 1, '1', 'lives', {NOW - DAY}, 9, NULL", LIVE, DEAD)
    if store.target.kind == "postgresql":
        for name in ("job", "node", "job_change"):
            store.transact(partial(Session.rows, sql=f"SELECT setval('{name}_id_seq', max(id)) FROM {name}"))


def when(size: Size, job: int, number: int) -> int:
    """When a run in the history ended: the last one an hour before NOW."""
    return NOW - HOUR - (size.runs - number) * 3 * DAY // size.runs - 10 * job


def analyze(store: Store) -> None:
    """Have the database look at its tables, as it does by itself sooner or later."""
    cursor = store._connection().cursor()
    for name in ("job", "job_options", "schedule", "run", "output", "node", "job_change"):
        cursor.execute(f"ANALYZE TABLE {name}" if store.target.kind == "mysql" else f"ANALYZE {name}")
        if store.target.kind == "mysql":
            cursor.fetchall()


def _history(store: Store, size: Size, low: int, high: int, number: int) -> None:
    ended = when(size, 0, number)
    columns = "run (job_id, number, due_time, started_time, finished_time, attempts, outcome, node_id)"
    values = f"value, {number}, {ended} - 10 * value, {ended} - 10 * value, {ended} - 10 * value, 1, 'succeeded', 1"
    _insert(store, columns, values, low, high)
    if number == size.runs:
        _insert(store, "output (job_id, number, attempt, part, text)", f"value, {number}, 1, 0, 'x'", low, high)


def _insert(store: Store, into: str, values: str, low: int, high: int) -> None:
    for start in range(low, high + 1, AT_ONCE):
        end = min(high, start + AT_ONCE - 1)
        sql = _NUMBERS[store.target.kind].format(start, end, into, values)
        if store.target.kind != "sqlite":
            sql = sql.replace("%", "%%")

        def work(session: Session, sql: str = sql) -> None:
            session.execute(sql)

        store.transact(work)
