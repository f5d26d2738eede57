"""Users' changes of jobs: add, change, delete, restore, pause and resume. Each function is one transaction.

Definitions are changed through peewee. The same transaction plans the job, so that it has a due time even if no daemon
runs. A claimed job is planned by the node that has the claim: a row of `job_change` requests it.

`now` is µs; `zone` applies to jobs that name none. The models are imported inside functions, because the open session
has already imported peewee with only the driver that it needs.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from jobd import lifecycle
from jobd.errors import BadValue, JobdError, spelt
from jobd.job import PLAIN, Job, JobState
from jobd.store import dependencies, rows
from jobd.store import schedule_table as table
from jobd.store.names import LIVE_NAMES, no_such_job
from jobd.store.schedule_table import JobWithState
from jobd.store.store import MAX_IDS, Session, Store

BATCH = 500  # rows in one statement
MAX_NAMED = 10  # jobs in an error


def add(store: Store, jobs: Sequence[Job], now: int, zone: str, *, if_not_exists: bool = False) -> list[int]:
    """Store new jobs; their ids. A deleted job of the same name is replaced and keeps its id and its history.

    Raises JobdError if a name is taken, unless `if_not_exists`: then that job is not changed.
    """

    def work(session: Session) -> list[int]:
        taken = find(session, [job.name for job in jobs])
        new = []
        for job in jobs:
            job_id, deleted = taken.get(job.name, (0, True))
            if deleted:
                new.append(job._replace(id=job_id, deleted=False))
            elif not if_not_exists:
                raise JobdError(f"a job named {job.name!r} exists already", f"`jobd set {spelt(job.name)}` changes it")
        return write(session, new, now, zone)

    return store.transact(work)


def change(store: Store, name: str, edit: Callable[[Job], Job], now: int, zone: str) -> Job:
    """Replace the definition of the live job `name` by the result of `edit`. Raises JobdError.

    For an invalid row only the columns that `edit` changes are written, so that no unreadable value is lost.
    """

    def work(session: Session) -> Job:
        (loaded,) = load_named(session, [name], definitions_too=True)
        (before,) = dependencies.named(session, [defined(loaded)])
        job = edit(before)._replace(id=loaded.job_id)
        if loaded.problem is None:
            write(session, [job], now, zone)
        else:
            (job,) = _resolved(session, [job])
            _write_difference(session, before, job, now)
            dependencies.write(session, [job])
            update_all_states(session, [job.id], now, zone)
        return job

    return store.transact(work)


def delete(store: Store, names: Sequence[str], now: int, zone: str, agreed: Collection[str] | None = None) -> list[str]:
    """Delete jobs logically; the names of those with a requested run, which is dropped with the job.

    Raises JobdError if one does not exist: then none is deleted. With `agreed`, raises HasDependants if jobs that are
    not in `agreed` run after the deleted ones.
    """

    def work(session: Session) -> list[str]:
        loaded = load_named(session, names)
        ids = [one.job_id for one in loaded]
        if agreed is not None:
            left = dependencies.dependants(session, ids)
            if any(name not in agreed for _, name in left):
                raise HasDependants(left)
        set_deleted(session, ids, True, now, zone)
        return [one.job.name for one in loaded if one.job and one.state and _is_requested(one.state)]

    return store.transact(work)


def _is_requested(state: JobState) -> bool:
    """Whether a user has requested a run that no node has claimed yet."""
    return state.manual and state.ready is not None and not state.node


class HasDependants(JobdError):
    """Other jobs, `names`, run after the jobs to delete."""

    def __init__(self, left: Sequence[tuple[int, str]]) -> None:
        self.names = sorted({name for _, name in left})
        shown = ", ".join(map(repr, self.names[:MAX_NAMED])) + (", …" if len(self.names) > MAX_NAMED else "")
        runs = "runs" if len(self.names) == 1 else "run"
        super().__init__(f"{shown} {runs} after a job that is to be deleted, and would never run by itself again")


def restore(store: Store, names: Sequence[str], now: int, zone: str) -> None:
    """Restore deleted jobs with their old definitions. Raises JobdError if one does not exist or is not deleted."""

    def work(session: Session) -> None:
        found = find(session, names)
        for name in names:
            if name not in found:
                raise no_such_job(name, some_names(session))
            if not found[name][1]:
                raise JobdError(f"the job {name!r} is not deleted", "there is nothing to restore")
        set_deleted(session, [job_id for job_id, _ in found.values()], False, now, zone)

    store.transact(work)


def set_paused(store: Store, names: Sequence[str], paused: bool, now: int, zone: str) -> None:
    """Pause or resume jobs. Raises JobdError if one does not exist: then none is changed."""

    def work(session: Session) -> None:
        ids = [one.job_id for one in load_named(session, names)]
        touch(session, ids, now)
        states = [(job_id, int(paused)) for job_id in ids]
        session.write_rows("job_options", ("job_id", "paused"), states, key=("job_id",))
        update_all_states(session, ids, now, zone)

    store.transact(work)


def some_names(session: Session) -> list[str]:
    """Names of live jobs, to suggest one for an unknown name."""
    return [name for (name,) in session.rows(LIVE_NAMES)]


def find(session: Session, names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """name → (id, whether it is deleted), for the names that exist."""
    from jobd.store.models import JobModel

    found = {}
    for start in range(0, len(names), BATCH):
        query = JobModel.select(JobModel.name, JobModel.id, JobModel.is_delete).where(
            JobModel.name << names[start : start + BATCH]
        )
        for name, job_id, deleted in query.tuples().execute(session.database):
            found[name] = (job_id, bool(deleted))
    return found


def load_named(session: Session, names: Sequence[str], definitions_too: bool = False) -> list[JobWithState]:
    """The live jobs of these names, with their states locked. `definitions_too`: see `load_for_update`.

    Raises JobdError if one does not exist or is deleted.
    """
    found = find(session, names)
    for name in names:
        if name not in found:
            raise no_such_job(name, some_names(session))
        if found[name][1]:
            raise JobdError(f"the job {name!r} is deleted", f"`jobd restore {spelt(name)}` brings it back")
    ids = [found[name][0] for name in dict.fromkeys(names)]
    loaded = table.load_for_update(session, ids, definitions_too)
    if len(loaded) < len(ids):  # a program has deleted its row since
        left = {one.job_id for one in loaded}
        raise no_such_job(next(name for name in names if found[name][0] not in left), some_names(session))
    return loaded


def defined(loaded: JobWithState) -> Job:
    """The job, or its readable part. Raises JobdError if nothing can be read."""
    if loaded.job is None:
        raise JobdError(f"the definition of job {loaded.job_id} cannot be read: {loaded.problem}")
    return loaded.job


def touch(session: Session, ids: Sequence[int], now: int, **columns: Any) -> None:
    """Write columns of rows of `job`, and set their `updated_time` to `now`."""
    from jobd.store.models import JobModel

    changes = JobModel.update(updated_time=rows.write_time(now), **columns)
    for start in range(0, len(ids), BATCH):
        changes.where(JobModel.id << list(ids[start : start + BATCH])).execute(session.database)


def set_deleted(session: Session, ids: Sequence[int], deleted: bool, now: int, zone: str) -> None:
    """Delete or restore jobs by id, without a check of their definitions."""
    if ids:
        touch(session, ids, now, is_delete=int(deleted))
        update_all_states(session, ids, now, zone)


def write(session: Session, jobs: Sequence[Job], now: int, zone: str, deleted: Collection[str] = ()) -> list[int]:
    """Write definitions and plan the jobs; their ids. A job with an id replaces its existing row.

    A job may run after a deleted job only if that is in `deleted`. Raises BadValue.
    """
    new = [job for job in jobs if not job.id]
    known = _insert(session, new)
    known = _resolved(session, [job for job in jobs if job.id] + known, deleted)
    for job in known[: len(jobs) - len(new)]:
        _update(session, job, now)
    _write_options(session, known, inserted=len(new))
    # New jobs have no rows in `job_dependency` yet, so only those that run after others need a write.
    concerned = [job for job in known if job.options.after_jobs] if len(new) == len(known) else known
    if concerned:
        dependencies.write(session, concerned)
    _update_states(session, known, now, zone)
    return [job.id for job in known]


def _resolved(session: Session, jobs: Sequence[Job], deleted: Collection[str] = ()) -> list[Job]:
    def ids_of(names: list[str]) -> dict[str, int]:
        found = find(session, names)
        gone = next((name for name in names if name in found and found[name][1] and name not in deleted), None)
        if gone is not None:
            raise BadValue(
                f"a job is to run after {gone!r}, which is deleted", f"`jobd restore {spelt(gone)}` brings it back"
            )
        return {name: job_id for name, (job_id, _) in found.items()}

    return dependencies.resolved(jobs, ids_of)


def _write_difference(session: Session, before: Job, job: Job, now: int) -> None:
    """Write the columns that differ between two definitions of one job."""
    columns: dict[str, Any] = {}
    if (before.interval, before.runonce) != (job.interval, job.runonce):
        columns = {"interval": job.interval, "runonce": int(job.runonce)}
    if before.retry_times != job.retry_times:
        columns["retry_times"] = job.retry_times
    touch(session, [job.id], now, **columns)
    was, is_now = (rows.options_row(one.options) for one in (before, job))
    changed = {name: new for name, old, new in zip(rows.OPTIONS, was, is_now, strict=True) if old != new}
    if changed:
        session.write_rows("job_options", ("job_id", *changed), [(job.id, *changed.values())], key=("job_id",))


def _insert(session: Session, jobs: Sequence[Job]) -> list[Job]:
    """Insert rows of `job`; the jobs with their ids."""
    if not jobs:
        return []
    before = session.rows("SELECT max(id) FROM job")[0][0] or 0
    values = [(job.name, job.retry_times, int(job.runonce), job.interval, int(job.deleted)) for job in jobs]
    session.write_rows("job", ("name", "retry_times", "runonce", "interval", "is_delete"), values)
    ids = dict(session.rows("SELECT name, id FROM job WHERE id > ?", (before,)))
    return [job._replace(id=ids[job.name]) for job in jobs]


def _update(session: Session, job: Job, now: int) -> None:
    columns = {"retry_times": job.retry_times, "runonce": int(job.runonce), "interval": job.interval}
    touch(session, [job.id], now, is_delete=int(job.deleted), **columns)


def _write_options(session: Session, jobs: Sequence[Job], inserted: int) -> None:
    written = [(job.id, rows.options_row(job.options)) for job in jobs if job.options != PLAIN]
    if inserted < len(jobs):
        from jobd.store.models import OptionsModel

        ids = [job.id for job in jobs]
        for start in range(0, len(ids), BATCH):
            OptionsModel.delete().where(OptionsModel.job_id << ids[start : start + BATCH]).execute(session.database)
    session.write_rows("job_options", ("job_id", *rows.OPTIONS), [(job_id, *options) for job_id, options in written])


def _update_states(session: Session, jobs: Sequence[Job], now: int, zone: str) -> None:
    """Plan the unclaimed jobs. Notify the nodes that have claimed the others."""
    found = table.states_for_update(session, [job.id for job in jobs])
    _put(session, [JobWithState(job.id, job, None, found.get(job.id)) for job in jobs], now, zone)


def update_all_states(session: Session, ids: Sequence[int], now: int, zone: str) -> None:
    """As `_update_states`, with definitions that are read from the database."""
    _put(session, table.load_for_update(session, ids, definitions_too=True), now, zone)


def _put(session: Session, loaded: Iterable[JobWithState], now: int, zone: str) -> None:
    free, runs, after = [], [], []
    for one in loaded:
        if one.state is not None and one.state.node:
            table.notify_claim_holder(session, one.job_id, "changed")
            continue
        free.append(lifecycle.after_row_change(one.job, one.problem, one.state or JobState(one.job_id), now, zone))
        runs.append(lifecycle.superseded_run(one.state, free[-1], now))
        if one.job is not None and one.job.options.after_jobs:
            after.append(one.job_id)
    drop_seen_changes(session, [state.job_id for state in free])
    table.save_states(session, free, [run for run in runs if run is not None])
    dependencies.recheck(session, after, now)


def drop_seen_changes(session: Session, ids: Sequence[int]) -> None:
    """Drop the recorded changes of these jobs, because this transaction plans them. It must have locked their rows.

    Call this before the states are written: a node too locks the changes of a new job first, and then writes its state.
    """
    for start in range(0, len(ids), MAX_IDS):
        session.dialect.drop_seen_changes(session, ids[start : start + MAX_IDS])
