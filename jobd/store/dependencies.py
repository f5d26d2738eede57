"""Jobs that are due when others have run: which waits for which, and what has happened since its last run.

What a job waits for is part of its definition and stands, by id, in `job_options.after_jobs`. A row of `job_dependency`
says it the other way round: `job_id` waits for a run of `on_job_id`, to succeed or (`any_outcome`) to end in any
way, and one has since (`met`). When all of a job's rows are met, and it is neither under way nor paused nor deleted,
it is due. What ends while it is one of these is kept, and counts as soon as it is none of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from jobd.dependency import Dependency
from jobd.errors import BadValue
from jobd.job import LOST, SKIPPED, SUCCEEDED, Job, JobState, Run
from jobd.store import parents
from jobd.store.parents import Row
from jobd.store.store import Session

COLUMNS = ("job_id", "on_job_id", "any_outcome", "met")
_WAITING = "SELECT job_id, on_job_id, any_outcome, met FROM job_dependency{} WHERE "


def resolved(jobs: Sequence[Job], find: Callable[[list[str]], Mapping[str, int]]) -> list[Job]:
    """`jobs`, with the ids of the jobs that they name. `find` gives those of names. Raises BadValue.

    What has an id keeps it, also when the job that it means is gone.
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
    """`jobs`, with the names that the jobs which they run after have now."""
    ids = [job.id for job in jobs if job.options.after_jobs]
    found = parents.by_job(session.rows_where_in(parents.SQL, "job_dependency.job_id", ids)) if ids else {}
    return [parents.named(job, found.get(job.id, {})) for job in jobs]


def dependants(session: Session, job_ids: Sequence[int]) -> list[tuple[int, str]]:
    """The live jobs that run after one of these, and are none of them: (the id of what they run after, name)."""
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
    """The ids of the jobs that run after this one, deleted ones too."""
    # served by the index job_dependency_on
    return [one for (one,) in session.rows("SELECT job_id FROM job_dependency WHERE on_job_id = ?", (job_id,))]


def write(session: Session, jobs: Sequence[Job]) -> None:
    """Put down what `jobs`, of which each reference has its id, wait for. What had been met stays so.

    Raises BadValue when they would wait for each other in a circle.
    """
    wanted = {(job.id, one.job_id): int(one.any_outcome) for job in jobs for one in job.options.after_jobs}
    job_ids = sorted({job.id for job in jobs})
    known = session.rows_where_in(_WAITING.format(""), "job_id", job_ids)
    met = {(job_id, on): met for job_id, on, any_outcome, met in known if wanted.get((job_id, on)) == any_outcome}
    if known:
        for job_id in job_ids:
            session.execute("DELETE FROM job_dependency WHERE job_id = ?", (job_id,))
    rows = [(job_id, on, any_outcome, met.get((job_id, on), 0)) for (job_id, on), any_outcome in wanted.items()]
    session.write_rows("job_dependency", COLUMNS, rows)
    if wanted.keys() - {(job_id, on) for job_id, on, *_ in known}:
        _refuse_circle(session, {job.id: job.name for job in jobs})


def ended(session: Session, ends: Iterable[tuple[JobState, Run]]) -> None:
    """These runs have ended, and `JobState` is what followed: whoever waited for them and for nothing else is due."""
    final: dict[int, Run] = {}
    idle: dict[int, Run] = {}  # these may have been waited for long enough meanwhile
    for state, run in ends:
        if run.outcome != SKIPPED and not (run.outcome == LOST and state.losses):  # else it is still to come
            final[run.job_id] = run
        if state.due is None:
            idle[run.job_id] = run
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
    unmet = {job_id for job_id, on, _, met in rows if not met and (job_id, on) not in now_met}
    for job_id in sorted({job_id for job_id, *_ in rows} - unmet):
        _make_due(session, job_id, max(run.finished for run in (final | idle).values()))


def recheck(session: Session, job_ids: Iterable[int], now: int) -> None:
    """These jobs may have begun to take part again (restored, resumed, put right): due are those with all met."""
    rows = _locked(session, job_ids)
    unmet = {job_id for job_id, _, _, met in rows if not met}
    for job_id in sorted({job_id for job_id, *_ in rows} - unmet):
        _make_due(session, job_id, now)


def _locked(session: Session, job_ids: Iterable[int]) -> list[Row]:
    """The rows of these jobs. The lock makes two that each bring the last thing but one look one after the other."""
    sql = _WAITING.format(session.dialect.by_key)
    return session.rows_where_in(sql, "job_id", sorted(set(job_ids)), lock=True)


def _make_due(session: Session, job_id: int, at: int) -> None:
    """The job has nothing left to wait for: it is due at `at`, unless it is under way, or must not run."""
    changed = session.execute(
        "UPDATE schedule SET due_time = ?, ready_time = ? WHERE job_id = ? AND node_id = 0 AND due_time IS NULL"
        " AND error IS NULL AND job_id NOT IN (SELECT job_id FROM job_options WHERE paused <> 0)"
        " AND job_id IN (SELECT id FROM job WHERE is_delete = 0)",
        (at, at, job_id),
    ).rowcount
    if changed:
        session.execute("UPDATE job_dependency SET met = 0 WHERE job_id = ?", (job_id,))


def _refuse_circle(session: Session, names: Mapping[int, str]) -> None:
    """Raises BadValue when one of the jobs `names` waits, by whatever way, for itself."""
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
