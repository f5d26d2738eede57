"""`apply`: the difference between the stored and the wanted jobs, and one transaction that removes it."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from jobd.errors import BadValue
from jobd.job import Job
from jobd.store import dependencies, rows
from jobd.store import schedule_table as table
from jobd.store.definitions import set_deleted, write
from jobd.store.store import Session, Store


class Difference(NamedTuple):
    """The changes that make the stored jobs match the wanted ones."""

    added: list[Job]
    changed: list[tuple[Job, Job]]  # (stored, wanted)
    deleted: list[Job]


def all_jobs(store: Store) -> list[Job]:
    """All jobs, including deleted ones, ordered by name. Unreadable rows are left out."""
    return store.transact(_all_jobs)


def _all_jobs(session: Session) -> list[Job]:
    read = [rows.read_job(row)[0] for row in session.rows(f"{table.DEFINITIONS} ORDER BY job.name")]
    return dependencies.named(session, [job for job in read if job is not None])


def compare(stored: Iterable[Job], wanted: Iterable[Job], prune: bool) -> Difference:
    """The changes that `apply` would make. Pure. Raises BadValue if a job runs after one that `prune` deletes."""
    known = {job.name: job for job in stored}
    before = {name: job for name, job in known.items() if not job.deleted}
    after = {job.name: job for job in wanted}
    added = [job for name, job in after.items() if name not in (known if job.deleted else before)]
    changed = [
        (before[name], job._replace(id=before[name].id))
        for name, job in after.items()
        if name in before and not job.deleted and _definition(before[name]) != _definition(job)
    ]
    deleted = [before[name] for name, job in after.items() if job.deleted and name in before]
    pruned = [job for name, job in before.items() if name not in after] if prune else []
    _refuse_orphans(after.values(), {job.name for job in pruned})
    return Difference(added, changed, deleted + pruned)


def _refuse_orphans(wanted: Iterable[Job], pruned: Collection[str]) -> None:
    for job in wanted:
        lost = next((one.name for one in job.options.after_jobs if one.name in pruned and not job.deleted), None)
        if lost is not None:
            raise BadValue(
                f"{job.name!r} runs after {lost!r}, which --prune would delete", "name both in the file, or neither"
            )


def apply(store: Store, wanted: Sequence[Job], prune: bool, now: int, zone: str) -> Difference:
    """Make the live jobs match `wanted` in one transaction; the changes made. Without `prune`, other jobs stay.

    `now` is µs; `zone` applies to jobs that name none. Raises JobdError.
    """
    return store.transact(lambda session: _apply(session, wanted, prune, now, zone))


def try_out(store: Store, wanted: Sequence[Job], prune: bool, now: int, zone: str) -> None:
    """Raise the error that `apply` would raise, without any change."""

    def work(session: Session) -> None:
        _apply(session, wanted, prune, now, zone)
        raise _Undone

    with suppress(_Undone):
        store.transact(work)


class _Undone(Exception):
    """Rolls a transaction back."""


def _apply(session: Session, wanted: Sequence[Job], prune: bool, now: int, zone: str) -> Difference:
    stored = _all_jobs(session)
    difference = compare(stored, wanted, prune)
    ids = {job.name: job.id for job in stored}
    jobs = [job._replace(id=ids.get(job.name, 0)) for job in difference.added]
    jobs += [new for _, new in difference.changed]
    write(session, jobs, now, zone, deleted={job.name for job in wanted if job.deleted})
    set_deleted(session, [job.id for job in difference.deleted], True, now, zone)
    return difference


def _definition(job: Job) -> tuple[Any, ...]:
    after = tuple(one._replace(job_id=0) for one in job.options.after_jobs)
    return job.interval, job.runonce, job.retry_times, job.options._replace(after_jobs=after)
