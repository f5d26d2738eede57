"""What people change: jobs are added, changed, deleted, paused, and asked to run. Each verb is one transaction.

Definitions are changed through peewee; then the job is planned, in the same transaction, so that it is due whether or
not a daemon runs. A job that a node has claimed is that node's to plan: a note in `job_change` asks it to look.

The models are imported where a session is open: opening it has loaded peewee, with only the driver that it needs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from jobd import lifecycle
from jobd.errors import JobdError
from jobd.job import Job, Plan, split_dependency
from jobd.store import dependencies, rows
from jobd.store import schedule_table as table
from jobd.store.schedule_table import Standing
from jobd.store.store import MOST_IDS, Session, Store

AT_ONCE = 500  # rows in one statement


class Difference(NamedTuple):
    """What it takes to make the stored jobs match the wanted ones."""

    added: list[Job]
    changed: list[tuple[Job, Job]]  # (as it is, as it is to be)
    deleted: list[Job]


def no_such_job(name: str, names: Iterable[str]) -> JobdError:
    """The error for a name that is not there, with the nearest that is."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(names), 1)
    return JobdError(f"there is no job named {name!r}", f"did you mean {near[0]!r}?" if near else "see `jobd list`")


def add(store: Store, jobs: Sequence[Job], now: int, zone: str, *, if_not_exists: bool = False) -> list[int]:
    """Store new jobs; their ids. A deleted job of the same name is brought back, with its id and its history.

    Raises JobdError when a name is taken, unless `if_not_exists`: then that job is left as it is.
    """

    def work(session: Session) -> list[int]:
        taken = _find(session, [job.name for job in jobs])
        new = []
        for job in jobs:
            job_id, deleted = taken.get(job.name, (0, True))
            if deleted:
                new.append(job._replace(id=job_id, deleted=False))
            elif not if_not_exists:
                raise JobdError(f"a job named {job.name!r} exists already", f"`jobd set {job.name}` changes it")
        return _write(session, new, now, zone)

    return store.transact(work)


def change(store: Store, name: str, edit: Callable[[Job], Job], now: int, zone: str) -> Job:
    """Give the live job `name` the definition that `edit` makes of its present one. Raises JobdError."""

    def work(session: Session) -> Job:
        (standing,) = _standing(session, [name])
        job = edit(_defined(standing))._replace(id=standing.job_id)
        _write(session, [job], now, zone)
        return job

    return store.transact(work)


def delete(store: Store, names: Sequence[str], now: int, zone: str) -> None:
    """Delete jobs logically. Raises JobdError when one is not there: then none is deleted."""
    store.transact(lambda session: _write(session, _edited(session, names, deleted=True), now, zone))


def restore(store: Store, names: Sequence[str], now: int, zone: str) -> None:
    """Bring deleted jobs back as they were. Raises JobdError."""

    def work(session: Session) -> None:
        found = _find(session, names)
        for name in names:
            if name not in found:
                raise no_such_job(name, _names(session))
            if not found[name][1]:
                raise JobdError(f"the job {name!r} is not deleted", "there is nothing to restore")
        standing = table.stand(session, [job_id for job_id, _ in found.values()])
        _write(session, [_defined(one)._replace(deleted=False) for one in standing], now, zone)

    store.transact(work)


def set_paused(store: Store, names: Sequence[str], paused: bool, now: int, zone: str) -> None:
    """Pause jobs, or let them go on. Raises JobdError when one is not there: then none is changed."""

    def work(session: Session) -> None:
        jobs = [_defined(one) for one in _standing(session, names)]
        _write(session, [job._replace(options=job.options._replace(paused=paused)) for job in jobs], now, zone)

    store.transact(work)


def request_run(store: Store, name: str, now: int, zone: str) -> int:
    """Ask for a run of a job now; the number that it will have. Raises JobdError when the job runs already."""

    def work(session: Session) -> int:
        (standing,) = _standing(session, [name])
        job, plan = _defined(standing), standing.plan
        if standing.problem is not None or (plan is not None and plan.error and plan.due is None):
            why = standing.problem or (plan and plan.error)
            raise JobdError(f"the job {name!r} is invalid and cannot run: {why}", f"`jobd set {name}` puts it right")
        if plan is not None and plan.node:
            if plan.started is not None:
                raise JobdError(f"the job {name!r} is running already (run {plan.number})", f"see `jobd show {name}`")
            table.note_change(session, job.id, "run")
            return plan.number
        plan = lifecycle.request(lifecycle.plan(job, plan, now, zone), now)
        table.replan(session, [plan])
        _forget_changes(session, [job.id])
        return plan.number

    return store.transact(work)


def request_cancel(store: Store, name: str, now: int, zone: str) -> None:
    """Ask for the end of the run in progress. Raises JobdError when there is none."""

    def work(session: Session) -> None:
        (standing,) = _standing(session, [name])
        plan = standing.plan
        if plan is None or not (plan.node or plan.attempt):
            raise JobdError(f"the job {name!r} is not running", "there is nothing to cancel")
        table.note_change(session, standing.job_id, "cancel")

    store.transact(work)


def all_jobs(store: Store) -> list[Job]:
    """The live jobs, as far as their rows can be read, by name."""

    def work(session: Session) -> list[Job]:
        jobs = []
        for row in session.rows(f"{table.DEFINITIONS} WHERE job.is_delete = 0 ORDER BY job.name"):
            job, _ = rows.read_job(row)
            if job is not None:
                jobs.append(job)
        return jobs

    return store.transact(work)


def compare(stored: Iterable[Job], wanted: Iterable[Job], prune: bool) -> Difference:
    """What `apply` would do. Pure."""
    before = {job.name: job for job in stored}
    after = {job.name: job for job in wanted}
    changed = [
        (before[name], job._replace(id=before[name].id))
        for name, job in after.items()
        if name in before and _definition(before[name]) != _definition(job)
    ]
    gone = [job for name, job in before.items() if name not in after] if prune else []
    return Difference([job for name, job in after.items() if name not in before], changed, gone)


def apply(store: Store, wanted: Sequence[Job], prune: bool, now: int, zone: str) -> Difference:
    """Make the live jobs match `wanted`, all or nothing; what was done. Without `prune`, other jobs are left."""

    def work(session: Session) -> Difference:
        stored, ids = [], {}
        for row in session.rows(table.DEFINITIONS):
            job, _ = rows.read_job(row)
            if job is not None:
                ids[job.name] = job.id
                if not job.deleted:
                    stored.append(job)
        difference = compare(stored, wanted, prune)
        jobs = [job._replace(id=ids.get(job.name, 0), deleted=False) for job in difference.added]
        jobs += [new for _, new in difference.changed]
        jobs += [job._replace(deleted=True) for job in difference.deleted]
        _write(session, jobs, now, zone)
        return difference

    return store.transact(work)


def _definition(job: Job) -> tuple[Any, ...]:
    return job.interval, job.runonce, job.retry_times, job.options


def _names(session: Session) -> list[str]:
    return [name for (name,) in session.rows("SELECT name FROM job WHERE is_delete = 0 LIMIT 10000")]


def _find(session: Session, names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """name → (id, whether it is deleted), of those that are there."""
    from jobd.store.models import JobModel

    found = {}
    for start in range(0, len(names), AT_ONCE):
        query = JobModel.select(JobModel.name, JobModel.id, JobModel.is_delete).where(
            JobModel.name << names[start : start + AT_ONCE]
        )
        for name, job_id, deleted in query.tuples().execute(session.database):
            found[name] = (job_id, bool(deleted))
    return found


def _standing(session: Session, names: Sequence[str]) -> list[Standing]:
    """The live jobs of these names. Raises JobdError when one is not there."""
    found = _find(session, names)
    for name in names:
        if name not in found:
            raise no_such_job(name, _names(session))
        if found[name][1]:
            raise JobdError(f"the job {name!r} is deleted", f"`jobd restore {name}` brings it back")
    return table.stand(session, [found[name][0] for name in dict.fromkeys(names)])


def _defined(standing: Standing) -> Job:
    if standing.job is None:
        raise JobdError(f"the definition of job {standing.job_id} cannot be read: {standing.problem}")
    return standing.job


def _edited(session: Session, names: Sequence[str], deleted: bool) -> list[Job]:
    return [_defined(one)._replace(deleted=deleted) for one in _standing(session, names)]


def _write(session: Session, jobs: Sequence[Job], now: int, zone: str) -> list[int]:
    """Write definitions, those with an id over the rows that are there, and plan them; the ids."""
    new = [job for job in jobs if not job.id]
    known = [job for job in jobs if job.id]
    known += _insert(session, new)
    for job in (job for job in jobs if job.id):
        _update(session, job, now)
    _write_options(session, known, inserted=len(new))
    _write_dependencies(session, known, inserted=len(new))
    _plan(session, known, now, zone)
    return [job.id for job in known]


def _insert(session: Session, jobs: Sequence[Job]) -> list[Job]:
    """Insert rows of `job`; the jobs with their ids."""
    if not jobs:
        return []
    before = session.rows("SELECT max(id) FROM job")[0][0] or 0
    values = [(job.name, job.retry_times, int(job.runonce), job.interval) for job in jobs]
    session.write_rows("job", ("name", "retry_times", "runonce", "interval"), values)
    ids = dict(session.rows("SELECT name, id FROM job WHERE id > ?", (before,)))
    return [job._replace(id=ids[job.name]) for job in jobs]


def _update(session: Session, job: Job, now: int) -> None:
    from jobd.store.models import JobModel

    JobModel.update(
        retry_times=job.retry_times,
        runonce=int(job.runonce),
        interval=job.interval,
        is_delete=int(job.deleted),
        updated_time=rows.write_time(now),
    ).where(JobModel.id == job.id).execute(session.database)


def _write_options(session: Session, jobs: Sequence[Job], inserted: int) -> None:
    written = [(job.id, options) for job in jobs if (options := rows.options_row(job.options)) is not None]
    if inserted < len(jobs):
        from jobd.store.models import OptionsModel

        ids = [job.id for job in jobs]
        for start in range(0, len(ids), AT_ONCE):
            OptionsModel.delete().where(OptionsModel.job_id << ids[start : start + AT_ONCE]).execute(session.database)
    session.write_rows("job_options", ("job_id", *rows.OPTIONS), [(job_id, *options) for job_id, options in written])


def _write_dependencies(session: Session, jobs: Sequence[Job], inserted: int) -> None:
    """What the jobs wait for; of those that are new, only the ones that wait for something need looking at."""
    concerned = [job for job in jobs if job.options.after_jobs] if inserted == len(jobs) else jobs
    if concerned:
        names = {split_dependency(text)[0] for job in concerned for text in job.options.after_jobs}
        found = _find(session, sorted(names))
        dependencies.write(
            session, concerned, {name: job_id for name, (job_id, deleted) in found.items() if not deleted}
        )


def _plan(session: Session, jobs: Sequence[Job], now: int, zone: str) -> None:
    """Plan what nobody has claimed; ask the nodes to look at what they have."""
    ids = [job.id for job in jobs]
    plans = table.plans(session, ids)
    free = []
    for job in jobs:
        plan = plans.get(job.id)
        if plan is not None and plan.node:
            table.note_change(session, job.id, "changed")
        else:
            free.append(lifecycle.plan(job, plan or Plan(job.id), now, zone))
    table.replan(session, free)
    _forget_changes(session, [plan.job_id for plan in free])


def _forget_changes(session: Session, ids: Sequence[int]) -> None:
    """The triggers' notes about jobs that have just been planned."""
    dialect = session.dialect
    for start in range(0, len(ids), MOST_IDS):
        some = ids[start : start + MOST_IDS]
        session.execute(
            f"DELETE FROM job_change WHERE what = 'changed' AND {dialect.among('job_id', len(some))}",
            dialect.among_values(some),
        )
