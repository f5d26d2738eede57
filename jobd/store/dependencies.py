"""Jobs that run after other jobs: the dependencies, and those that have been met since the job's last run.

The dependencies are part of a job's definition, by id, in `job_options.after_jobs`. A row of `job_dependency` is one of
them: `job_id` waits until a run of `on_job_id` succeeds, or (`any_outcome`) ends in any way. `met`: that has happened
since its last run. When all rows of a job are met, and it is not running, paused or deleted, it is due. A row that is
met meanwhile stays met, and counts as soon as the job can be due again.

The due time is the end of the last of these runs, which is not always the one that is recorded last: a node may record
an end late. So no run counts for a due time before its own end.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from jobd.dependency import Dependency
from jobd.errors import BadValue
from jobd.job import LOST, SKIPPED, SUCCEEDED, Job, JobState, Run
from jobd.lifecycle import MAX_CLOCK_LAG
from jobd.store import parents
from jobd.store.parents import Row
from jobd.store.store import Session

COLUMNS = ("job_id", "on_job_id", "any_outcome", "met")
_WAITING = "SELECT job_id, on_job_id, any_outcome, met FROM job_dependency{} WHERE "
# served by the primary keys
_LAST_ENDS = (
    "SELECT schedule.job_id, run.finished_time FROM schedule JOIN run ON run.job_id = schedule.job_id"
    " AND run.number = CASE WHEN schedule.number > 0 THEN schedule.number - 1 END WHERE "
)


def resolved(jobs: Sequence[Job], find: Callable[[list[str]], Mapping[str, int]]) -> list[Job]:
    """`jobs`, with the ids of the jobs that they name. `find` returns the ids of names. Raises BadValue.

    A reference that has an id keeps it, even if that job no longer exists.
    """
    names = sorted({one.name for job in jobs for one in job.options.after_jobs if not one.job_id})
    if not names:
        return list(jobs)
    ids = find(names)

    def identified(job: Job, one: Dependency) -> Dependency:
        if one.job_id:
            return one
        if one.name not in ids:
            raise BadValue(f"{job.name!r} is to run after {one.name!r}, but there is no such job", "see `jobd list`")
        return one._replace(job_id=ids[one.name])

    return [
        job._replace(options=job.options._replace(after_jobs=tuple(identified(job, one) for one in after)))
        if (after := job.options.after_jobs)
        else job
        for job in jobs
    ]


def named(session: Session, jobs: Sequence[Job]) -> list[Job]:
    """`jobs`, with the current names of the jobs that they run after."""
    ids = [job.id for job in jobs if job.options.after_jobs]
    found = parents.by_job(session.rows_where_in(parents.SQL, "job_dependency.job_id", ids)) if ids else {}
    return [parents.named(job, found.get(job.id, {})) for job in jobs]


def dependants(session: Session, job_ids: Sequence[int]) -> list[tuple[int, str]]:
    """The live jobs outside of `job_ids` that run after one of these: (id of the latter, name)."""
    sql = (
        "SELECT job_dependency.on_job_id, job.name FROM job_dependency JOIN job ON job.id = job_dependency.job_id"
        " WHERE job.is_delete = 0 AND "
    )
    ids = sorted(job_ids)
    inside = {name for (name,) in session.rows_where_in("SELECT name FROM job WHERE ", "id", ids)}
    # served by the index job_dependency_on
    found = session.rows_where_in(sql, "job_dependency.on_job_id", ids)
    return sorted({(on, name) for on, name in found if name not in inside}, key=lambda one: one[1])


def followers(session: Session, job_id: int) -> list[int]:
    """The ids of the jobs that run after this one, including deleted ones."""
    # served by the index job_dependency_on
    return [one for (one,) in session.rows("SELECT job_id FROM job_dependency WHERE on_job_id = ?", (job_id,))]


def write(session: Session, jobs: Sequence[Job]) -> None:
    """Write the rows of `jobs`, whose references must have ids. A row that was met stays met.

    Raises BadValue if jobs would run after each other in a circle.
    """
    wanted = {(job.id, one.job_id): int(one.any_outcome) for job in jobs for one in job.options.after_jobs}
    known = {(job_id, on): any_outcome for job_id, on, any_outcome, _ in _locked(session, {job.id for job in jobs})}
    for pair in sorted(known.keys() - wanted.keys()):
        session.execute("DELETE FROM job_dependency WHERE job_id = ? AND on_job_id = ?", pair)
    # A row that does not change is not written: `ended` may wait for it in another transaction, and on PostgreSQL it
    # would not find a new row in its place.
    new = {pair: any_outcome for pair, any_outcome in wanted.items() if known.get(pair) != any_outcome}
    rows = [(*pair, any_outcome, 0) for pair, any_outcome in new.items()]
    session.write_rows("job_dependency", COLUMNS, rows, key=("job_id", "on_job_id"))
    if new.keys() - known.keys():
        _refuse_circle(session, {job.id: job.name for job in jobs})


def ended(session: Session, ends: Iterable[tuple[JobState, Run]], now: int) -> None:
    """Process runs that have ended, with the states after them: jobs that waited only for these runs are now due.

    The states and the runs must have been written. `now` is wall-clock µs.
    """
    final: dict[int, Run] = {}
    idle: set[int] = set()  # jobs that may be due themselves, if all they wait for was met during their run
    for state, run in ends:
        if run.outcome != SKIPPED and not (run.outcome == LOST and state.losses):  # a lost run is run again
            final[run.job_id] = run
        if state.due is None:
            idle.add(run.job_id)
    ids = sorted(final)
    if not (ids or idle) or not session.rows("SELECT 1 FROM job_dependency LIMIT 1"):
        return
    # served by the index job_dependency_on
    waiting = [
        job_id for (job_id,) in session.rows_where_in("SELECT job_id FROM job_dependency WHERE ", "on_job_id", ids)
    ]
    rows = _locked(session, {*waiting, *idle})
    now_met = [
        (job_id, on)
        for job_id, on, any_outcome, met in rows
        if not met and (end := final.get(on)) is not None and (any_outcome or end.outcome == SUCCEEDED)
    ]
    for pair in now_met:
        session.execute("UPDATE job_dependency SET met = 1 WHERE job_id = ? AND on_job_id = ?", pair)
    waits = {job_id for job_id, on, _, met in rows if not met and (job_id, on) not in now_met}
    for job_id, last in _last_ends(session, rows, waits, now):
        _make_due(session, job_id, last)


def recheck(session: Session, job_ids: Iterable[int], now: int) -> None:
    """Make those of these jobs due that wait for nothing more: they may have been restored, resumed or corrected."""
    rows = _locked(session, job_ids)
    waits = {job_id for job_id, _, _, met in rows if not met}
    for job_id, last in _last_ends(session, rows, waits, now):
        _make_due(session, job_id, max(now, last))


def _locked(session: Session, job_ids: Iterable[int]) -> list[Row]:
    """The rows of these jobs, locked: else two transactions that meet the last two rows might each miss the other."""
    sql = _WAITING.format(session.dialect.primary_key_hint)
    return session.rows_where_in(sql, "job_id", sorted(set(job_ids)), lock=True)


def _last_ends(session: Session, rows: Sequence[Row], waits: Collection[int], now: int) -> list[tuple[int, int]]:
    """The jobs of `rows` outside of `waits`, each with the end (µs) of the last run of it and of those it runs after.

    A transaction that had to wait for a lock may be older than such an end. An end long after `now` counts as `now`,
    because the clock was wrong.
    """
    concerned: dict[int, set[int]] = {}
    for job_id, on, *_ in rows:
        if job_id not in waits:
            concerned.setdefault(job_id, {job_id}).add(on)
    ids = sorted(set().union(*concerned.values()))
    found = session.rows_where_in(_LAST_ENDS, "schedule.job_id", ids) if ids else []
    ends = {job_id: end if 0 <= end < now + MAX_CLOCK_LAG else now for job_id, end in found}
    return [
        (job_id, max((ends[one] for one in its if one in ends), default=now))
        for job_id, its in sorted(concerned.items())
    ]


def _make_due(session: Session, job_id: int, at: int) -> None:
    """Make a job due at `at` (µs) that waits for nothing, unless it is claimed, due, invalid, paused or deleted."""
    changed = session.execute(
        # served by the primary keys
        "UPDATE schedule SET due_time = ?, ready_time = ? WHERE job_id = ? AND node_id = 0 AND due_time IS NULL"
        " AND error IS NULL AND NOT EXISTS (SELECT 1 FROM job_options WHERE job_id = ? AND paused <> 0)"
        " AND EXISTS (SELECT 1 FROM job WHERE id = ? AND is_delete = 0)",
        (at, at, job_id, job_id, job_id),
    ).rowcount
    if changed:
        session.execute("UPDATE job_dependency SET met = 0 WHERE job_id = ?", (job_id,))


def _refuse_circle(session: Session, names: Mapping[int, str]) -> None:
    """Raise BadValue if one of the jobs `names` runs after itself, directly or through others.

    Two transactions that each add half of a circle would not see each other's rows. So each locks one row that always
    exists, and the second reads the rows of the first. No other statement locks it, except an upgrade.
    """
    session.rows(f"SELECT version FROM jobd_schema{session.dialect.for_update}")
    after: dict[int, list[int]] = {}
    for job_id, on in session.rows("SELECT job_id, on_job_id FROM job_dependency"):
        after.setdefault(job_id, []).append(on)
    for start, name in names.items():
        reached, stack = set(), list(after.get(start, ()))
        while stack:
            job_id = stack.pop()
            if job_id == start:
                raise BadValue(f"{name!r} would wait for itself", "jobs cannot run after each other in a circle")
            if job_id not in reached:
                reached.add(job_id)
                stack += after.get(job_id, ())
