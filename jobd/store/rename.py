"""Renaming a job. All its other data refers to its id and does not change.

The job continues to run the same task, even if its old name determined the task.
"""

from typing import Any

from jobd.errors import JobdError, spelt
from jobd.job import Job
from jobd.option_kinds import write_words
from jobd.store import dependencies
from jobd.store import schedule_table as table
from jobd.store.definitions import find, some_names, touch, update_all_states
from jobd.store.names import no_such_job
from jobd.store.store import Session, Store


def rename(store: Store, old: str, new: str, now: int, zone: str) -> Job:
    """Rename the job `old`, which may be deleted; the renamed job. Raises JobdError if `new` is taken."""

    def work(session: Session) -> Job:
        found = find(session, [old, new])
        if old not in found:
            raise no_such_job(old, some_names(session))
        if old == new:
            raise JobdError(f"the job is called {old!r} already", "there is nothing to change")
        if new in found:
            raise _taken(new, deleted=found[new][1])
        job_id, _ = found[old]
        (loaded,) = table.load_for_update(session, [job_id])
        if loaded.job is not None and loaded.job.options.command is None:
            _keep_task(session, loaded.job, new)
        touch(session, [job_id], now, name=new)
        _notify_followers(session, job_id)
        # Followers without a state were not locked. To plan them too finds those that have been changed meanwhile.
        update_all_states(session, sorted({job_id, *session.without_state}), now, zone)
        (loaded,) = table.load_for_update(session, [job_id])
        return loaded.job or Job(new, id=job_id)

    return store.transact(work)


def _taken(name: str, deleted: bool) -> JobdError:
    if not deleted:
        return JobdError(f"a job named {name!r} exists already", "choose another name, or rename that one first")
    return JobdError(
        f"the name {name!r} is that of a deleted job, which keeps it",
        f"`jobd rename {spelt(name)} OTHER` frees it, `jobd restore {spelt(name)}` brings that job back",
    )


def _keep_task(session: Session, job: Job, new: str) -> None:
    """Store the name of the task, which a job without the option takes from its own name."""
    task = None if job.task == new else job.task
    session.write_rows("job_options", ("job_id", "task"), [(job.id, task)], key=("job_id",))


def _notify_followers(session: Session, job_id: int) -> None:
    """Update the name in the jobs that run after this one: they show it if its row no longer exists."""
    changed: list[tuple[Any, ...]] = []
    for one in table.load_for_update(session, dependencies.followers(session, job_id)):
        if one.job is not None and one.problem is None:
            (job,) = dependencies.named(session, [one.job])
            changed.append((one.job_id, write_words(after.stored for after in job.options.after_jobs)))
    session.write_rows("job_options", ("job_id", "after_jobs"), changed, key=("job_id",))
