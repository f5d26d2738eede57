"""The read side for commands: plain statements on a plain connection, without the ORM. Nothing is created or locked.

Long lists are read in pages through an index, so that memory use does not grow with their length.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jobd.errors import JobdError
from jobd.job import MAX_BIGINT, Job, JobState, Run
from jobd.store import parents, rows, schema
from jobd.store.connect import dialect_of
from jobd.store.dialect import BAD_SESSION, CONNECTION_LOST, TABLES_ALTERED
from jobd.store.names import LIVE_NAMES, no_such_job
from jobd.store.parents import Parent
from jobd.store.rows import read_pools
from jobd.store.url import Target, parse_url

if TYPE_CHECKING:
    from jobd.settings import Settings

Result = TypeVar("Result")
PAGE = 1_000
CUT = "[jobd: earlier output was cut]\n"
_JOBS = (
    f"SELECT {rows.columns('job', rows.JOB)}, {rows.columns('job_options', rows.OPTIONS)},"
    f" {rows.columns('schedule', rows.SCHEDULE)}, {rows.columns('run', rows.RUN)} FROM {{}}"
    " LEFT JOIN job_options ON job_options.job_id = job.id LEFT JOIN schedule ON schedule.job_id = job.id"
    " LEFT JOIN run ON run.job_id = job.id"
    " AND run.number = CASE WHEN schedule.number > 0 THEN schedule.number - 1 END"  # an edited number stays valid
)
_RUNS = (
    f"SELECT job.name, node.host, {rows.columns('run', rows.RUN)} FROM run"
    " LEFT JOIN job ON job.id = run.job_id LEFT JOIN node ON node.id = run.node_id"
)
# A subquery selects the page through the index on name before the joins: else a planner may join all jobs first.
_PAGE_OF_JOBS = _JOBS.format("(SELECT * FROM job WHERE {} ORDER BY name LIMIT ?) AS job") + " ORDER BY job.name"
_KEY_AT, _NUMBER_AT, _FINISHED_AT = slice(2, 4), 3, 2 + rows.RUN.index("finished_time")  # in _RUNS
_STATE_AT = len(rows.JOB) + len(rows.OPTIONS)
_RUN_AT = _STATE_AT + len(rows.SCHEDULE)


class JobOverview(NamedTuple):
    """A job as `list` and `show` display it. `problem`: the reason why its row is invalid."""

    job: Job
    state: JobState | None = None
    last: Run | None = None
    problem: str | None = None
    state_missing: bool = False  # its row of `schedule` was deleted and has not been created again
    missing: tuple[parents.Missing, ...] = ()  # the jobs that it waits for and that are deleted
    unreadable: str | None = None  # why its definition can be read in part only


class RecordedRun(NamedTuple):
    """A run with the names of its job and of its node."""

    job: str
    run: Run
    node: str


class NodeSummary(NamedTuple):
    """A node that is registered and has not stopped."""

    id: int
    host: str
    pid: int
    started: int
    heartbeat: int = 0
    instance: str = ""
    pools: tuple[str, ...] = ()  # not known of a node of an older version


class Reader:
    """An open database for reading. The methods raise JobdError. Times are µs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._dialect = dialect_of(target)
        self._connect()
        try:
            self._in_working_session(partial(schema.check_version, self._cursor, self._dialect, target))
        except BaseException:
            self.close()
            raise

    def jobs(self, deleted: bool) -> Iterator[JobOverview]:
        """The jobs ordered by name; with `deleted`, including deleted ones."""
        live = "" if deleted else " AND is_delete <> 1"
        page = self._rows(_PAGE_OF_JOBS.format(f"1 = 1{live}"), (PAGE,))
        while page:
            yield from self._with_parents(list(map(_overview, page)))
            page = self._rows(_PAGE_OF_JOBS.format(f"name > ?{live}"), (page[-1][1], PAGE))

    def job(self, name: str) -> JobOverview:
        """One job, deleted or not. Raises JobdError when there is none of this name."""
        found = self._rows(f"{_JOBS.format('job')} WHERE job.name = ?", (name,))
        if not found:
            raise self._no_such_job(name)
        return self._with_parents([_overview(found[0])])[0]

    def job_of(self, job_id: int) -> JobOverview | None:
        """The job with this id, also under another name."""
        found = self._rows(f"{_JOBS.format('job')} WHERE job.id = ?", (job_id,))
        return self._with_parents([_overview(found[0])])[0] if found else None

    def names(self, prefix: str, limit: int) -> list[str]:
        """The names of live jobs that begin with `prefix`."""
        found = self._rows(
            "SELECT name FROM job WHERE name >= ? AND name < ? AND is_delete = 0 ORDER BY name LIMIT ?",
            (prefix, prefix + "\U0010ffff", limit),
        )
        return [name for (name,) in found]

    def nodes(self) -> list[NodeSummary]:
        """The nodes that have neither signed off nor been declared dead."""
        found = self._rows(
            "SELECT id, host, pid, started_time, heartbeat, instance, pools FROM node"
            " WHERE stopped_time IS NULL ORDER BY id"
        )
        return [NodeSummary._make((*row[:-1], tuple(read_pools(row[-1])))) for row in found]

    def zone(self) -> str | None:
        """The time zone of jobs that name none; None: no node has written it yet."""
        found = self._rows("SELECT value FROM installation WHERE name = 'timezone'")
        return found[0][0] or None if found else None

    def runs(self, job_id: int | None) -> Iterator[RecordedRun]:
        """The runs of one job, or of all, newest first."""
        return self._all_runs() if job_id is None else self._runs_of(job_id)

    def run(self, job_id: int, number: int) -> RecordedRun | None:
        """One finished run."""
        found = self._rows(f"{_RUNS} WHERE run.job_id = ? AND run.number = ?", (job_id, number))
        return _history(found[0]) if found else None

    def last_output(self, job_id: int) -> int | None:
        """The number of the last run, finished or in progress, with stored output; None: there is none."""
        found = self._rows("SELECT max(number) FROM output WHERE job_id = ?", (job_id,))
        return None if found[0][0] is None else int(found[0][0])

    def output(
        self, job_id: int, seen: tuple[int, int, int], number: int | None = None
    ) -> Iterator[tuple[int, int, int, str]]:
        """(run, attempt, part, text) after `seen` (run, attempt, part), of run `number` or of all runs."""
        found = self._rows(
            # served by the primary key
            "SELECT number, attempt, part, text FROM output WHERE job_id = ? AND number >= ?"
            + ("" if number is None else " AND number = ?")
            + " ORDER BY number, attempt, part",
            (job_id, seen[0], *([] if number is None else [number])),
        )
        before = seen
        for run, attempt, part, text in found:
            if (run, attempt, part) > seen:
                gap = part > 0 and before != (run, attempt, part - 1)
                yield run, attempt, part, (CUT if gap and not text.startswith(CUT[:7]) else "") + text
                before = (run, attempt, part)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):  # closing a broken connection may fail
            self._connection.close()

    def _runs_of(self, job_id: int) -> Iterator[RecordedRun]:
        sql = f"{_RUNS} WHERE run.job_id = ? AND run.number <= ? ORDER BY run.number DESC LIMIT ?"
        last = MAX_BIGINT
        while True:
            page = self._rows(sql, (job_id, last, PAGE))  # served by the primary key
            yield from map(_history, page)
            if len(page) < PAGE:
                return
            last = page[-1][_NUMBER_AT] - 1

    def _all_runs(self) -> Iterator[RecordedRun]:
        sql = f"{_RUNS} WHERE run.finished_time <= ? ORDER BY run.finished_time DESC LIMIT ?"
        last, seen = MAX_BIGINT, set[tuple[int, int]]()
        while True:
            # served by the index run_finished; runs that ended in the page's last microsecond come again
            page = self._rows(sql, (last, PAGE + len(seen)))
            fresh = [row for row in page if row[_KEY_AT] not in seen]
            yield from map(_history, fresh)
            if len(fresh) < PAGE:
                return
            last = fresh[-1][_FINISHED_AT]
            seen = {row[_KEY_AT] for row in page if row[_FINISHED_AT] == last}

    def _with_parents(self, page: list[JobOverview]) -> list[JobOverview]:
        """The jobs of `page`, with the current state of the jobs that they run after."""
        ids = [overview.job.id for overview in page if overview.job.options.after_jobs]
        if not ids:
            return page
        condition = self._dialect.where_in("job_dependency.job_id")
        found = parents.by_job(self._rows(parents.SQL + condition, self._dialect.where_in_values(ids)))
        return [_with_parents(overview, found.get(overview.job.id, {})) for overview in page]

    def _no_such_job(self, name: str) -> JobdError:
        names = self._rows(LIVE_NAMES)
        return no_such_job(name, (found for (found,) in names))

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        def ask() -> list[tuple[Any, ...]]:
            with self._dialect.reading(self._cursor):
                self._cursor.execute(sql.replace("?", self._dialect.placeholder), parameters)
                return list(self._cursor.fetchall())

        return self._in_working_session(ask)

    def _connect(self) -> None:
        self._connection = self._dialect.connect(self._target, create=False, read_only=True)
        self._cursor = self._connection.cursor()
        self._proven = False  # a read has succeeded in this session

    def _in_working_session(self, ask: Callable[[], Result]) -> Result:
        """The result of `ask`. A session that worked before and has become unusable is replaced."""
        try:
            found = ask()
        except JobdError:
            raise
        except Exception as error:
            kind = self._dialect.classify(error)
            if kind is None:
                raise
            if not self._proven or kind not in (CONNECTION_LOST, BAD_SESSION, TABLES_ALTERED):
                raise self._dialect.refusal(error, self._target) from None
        else:
            self._proven = True
            return found
        self.close()
        self._connect()
        return self._in_working_session(ask)


def open_reader(settings: "Settings") -> Reader:
    """The database that the settings name, for reading. Raises JobdError if it cannot be opened."""
    return Reader(parse_url(settings.database, settings.password))


def _overview(row: tuple[Any, ...]) -> JobOverview:
    job, unreadable = rows.read_job(row[:_STATE_AT])
    problem = unreadable
    state = rows.read_state(row[_STATE_AT:_RUN_AT]) if row[_STATE_AT] is not None else None
    if state is not None and state.fingerprint == rows.UNREADABLE:
        problem = problem or state.error
    last = rows.read_run(row[_RUN_AT:]) if row[_RUN_AT] is not None else None
    return JobOverview(job or Job(f"(job {row[0]})", id=row[0]), state, last, problem, unreadable=unreadable)


def _with_parents(overview: JobOverview, its: Mapping[int, Parent]) -> JobOverview:
    return overview._replace(job=parents.named(overview.job, its), missing=parents.missing(overview.job, its))


def _history(row: tuple[Any, ...]) -> RecordedRun:
    run = rows.read_run(row[2:])
    # The row of the job may be gone, or its name no text.
    name = row[0] if row[0] and isinstance(row[0], str) else f"(job {run.job_id})"
    return RecordedRun(name, run, f"{run.node}@{row[1]}" if row[1] else str(run.node))
