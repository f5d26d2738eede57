"""What people change: jobs are added, changed, deleted, paused, and asked to run. Each verb is one transaction.

Definitions are changed through peewee; then the job is planned, in the same transaction, so that it is due whether or
not a daemon runs. A job that a node has claimed is that node's to plan: a note in `job_change` asks it to look.

The models are imported where a session is open: opening it has loaded peewee, with only the driver that it needs.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from jobd import lifecycle
from jobd.errors import BadValue, JobdError, spelt
from jobd.job import PLAIN, Job, JobState
from jobd.store import dependencies, rows
from jobd.store import schedule_table as table
from jobd.store.names import no_such_job
from jobd.store.schedule_table import JobWithState
from jobd.store.store import MAX_IDS, Session, Store

BATCH = 500  # rows in one statement
MAX_NAMED = 10  # jobs in an error


def add(store: Store, jobs: Sequence[Job], now: int, zone: str, *, if_not_exists: bool = False) -> list[int]:
    """Store new jobs; their ids. A deleted job of the same name is brought back, with its id and its history.

    Raises JobdError when a name is taken, unless `if_not_exists`: then that job is left as it is.
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
    """Give the live job `name` the definition that `edit` makes of its present one. Raises JobdError.

    Of a row that makes no sense only what `edit` changes is written: nothing that cannot be read is lost.
    """

    def work(session: Session) -> Job:
        (loaded,) = load_named(session, [name])
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

    Raises JobdError when one is not there: then none is deleted.

    With `agreed`, it raises HasDependants when other jobs than these run after what is to be deleted.
    """

    def work(session: Session) -> list[str]:
        loaded = load_named(session, names)
        ids = [one.job_id for one in loaded]
        if agreed is not None:
            left = dependencies.dependants(session, ids)
            if any(name not in agreed for _, name in left):
                raise HasDependants(left)
        set_deleted(session, ids, True, now, zone)
        return [one.job.name for one in loaded if one.job and one.state and _is_asked_for(one.state)]

    return store.transact(work)


def _is_asked_for(state: JobState) -> bool:
    """Whether a person has asked for a run that no node has taken yet."""
    return state.manual and state.ready is not None and not state.node


class HasDependants(JobdError):
    """Other jobs, `names`, run after what is to be deleted."""

    def __init__(self, left: Sequence[tuple[int, str]]) -> None:
        self.names = sorted({name for _, name in left})
        shown = ", ".join(map(repr, self.names[:MAX_NAMED])) + (", …" if len(self.names) > MAX_NAMED else "")
        runs = "runs" if len(self.names) == 1 else "run"
        super().__init__(f"{shown} {runs} after what is to be deleted, and would never run by itself again")


def restore(store: Store, names: Sequence[str], now: int, zone: str) -> None:
    """Restore deleted jobs as they were. Raises JobdError."""

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
    """Pause jobs, or let them go on. Raises JobdError when one is not there: then none is changed."""

    def work(session: Session) -> None:
        ids = [one.job_id for one in load_named(session, names)]
        touch(session, ids, now)
        states = [(job_id, int(paused)) for job_id in ids]
        session.write_rows("job_options", ("job_id", "paused"), states, key=("job_id",))
        update_all_states(session, ids, now, zone)

    store.transact(work)


def some_names(session: Session) -> list[str]:
    """Names of live jobs, among which the one that was meant may be."""
    return [name for (name,) in session.rows("SELECT name FROM job WHERE is_delete = 0 LIMIT 10000")]


def find(session: Session, names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """name → (id, whether it is deleted), of those that are there."""
    from jobd.store.models import JobModel

    found = {}
    for start in range(0, len(names), BATCH):
        query = JobModel.select(JobModel.name, JobModel.id, JobModel.is_delete).where(
            JobModel.name << names[start : start + BATCH]
        )
        for name, job_id, deleted in query.tuples().execute(session.database):
            found[name] = (job_id, bool(deleted))
    return found


def load_named(session: Session, names: Sequence[str]) -> list[JobWithState]:
    """The live jobs of these names. Raises JobdError when one is not there."""
    found = find(session, names)
    for name in names:
        if name not in found:
            raise no_such_job(name, some_names(session))
        if found[name][1]:
            raise JobdError(f"the job {name!r} is deleted", f"`jobd restore {spelt(name)}` brings it back")
    return table.load_for_update(session, [found[name][0] for name in dict.fromkeys(names)])


def defined(loaded: JobWithState) -> Job:
    """The job, as far as its row can be read. Raises JobdError when it cannot be."""
    if loaded.job is None:
        raise JobdError(f"the definition of job {loaded.job_id} cannot be read: {loaded.problem}")
    return loaded.job


def touch(session: Session, ids: Sequence[int], now: int, **columns: Any) -> None:
    """Write columns of rows of `job`, and that these have been changed now."""
    from jobd.store.models import JobModel

    changes = JobModel.update(updated_time=rows.write_time(now), **columns)
    for start in range(0, len(ids), BATCH):
        changes.where(JobModel.id << list(ids[start : start + BATCH])).execute(session.database)


def set_deleted(session: Session, ids: Sequence[int], deleted: bool, now: int, zone: str) -> None:
    """Delete jobs or bring them back; their definitions are not looked at."""
    if ids:
        touch(session, ids, now, is_delete=int(deleted))
        update_all_states(session, ids, now, zone)


def write(session: Session, jobs: Sequence[Job], now: int, zone: str, deleted: Collection[str] = ()) -> list[int]:
    """Write definitions, those with an id over the rows that are there, and state them; the ids.

    A job may run after one that is deleted only when that is among `deleted`.
    """
    new = [job for job in jobs if not job.id]
    known = _insert(session, new)
    known = _resolved(session, [job for job in jobs if job.id] + known, deleted)
    for job in known[: len(jobs) - len(new)]:
        _update(session, job, now)
    _write_options(session, known, inserted=len(new))
    # Of those that are new, only the ones that wait for something need looking at.
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
    """Write what differs between two definitions of one job."""
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
    """Plan what nobody has claimed; ask the nodes to look at what they have."""
    found = table.states_for_update(session, [job.id for job in jobs])
    _put(session, [JobWithState(job.id, job, None, found.get(job.id)) for job in jobs], now, zone)


def update_all_states(session: Session, ids: Sequence[int], now: int, zone: str) -> None:
    """As `_update_states`, from what the rows of these jobs say by now."""
    _put(session, table.load_for_update(session, ids), now, zone)


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
    table.save_states(session, free, [run for run in runs if run is not None])
    dependencies.recheck(session, after, now)
    forget_changes(session, [state.job_id for state in free])


def forget_changes(session: Session, ids: Sequence[int]) -> None:
    """Nobody needs to look at these jobs, which have just been planned."""
    for start in range(0, len(ids), MAX_IDS):
        session.dialect.drop_seen_changes(session, ids[start : start + MAX_IDS])
