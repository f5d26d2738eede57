"""Selects the jobs for `export`, so that `apply` accepts the file on this database and on an empty one. Pure.

These are the jobs that are not deleted, and the deleted jobs that others run after. If the row of such a job has been
removed, it is written as a deleted job without a definition: in both databases, the jobs that run after it wait until a
job of that name is added.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jobd.errors import BadValue
from jobd.job import MAX_NAME, Job, check_name
from jobd.store.reads import JobOverview


class Portable(NamedTuple):
    """The jobs of the file by name, and (name, reason) of those that are left out."""

    jobs: list[Job]
    left_out: list[tuple[str, str]]


def portable(found: Iterable[JobOverview]) -> Portable:
    """Select from all jobs, including deleted ones."""
    stored = {overview.job.id: overview for overview in found}
    left_out = {job_id: why for job_id, one in stored.items() if (why := _flaw(one)) and not one.job.deleted}
    names = {one.job.name for one in stored.values()}
    chosen: dict[int, Job] = {}
    waiting = [one.job for job_id, one in stored.items() if not one.job.deleted and job_id not in left_out]
    while waiting:
        job = waiting.pop()
        chosen[job.id] = job
        for after in job.options.after_jobs:
            if after.job_id not in chosen and after.job_id not in left_out:
                waiting.append(_parent(after.job_id, after.name, stored, names))
                chosen[after.job_id] = waiting[-1]
    _leave_out_followers(chosen, left_out)
    jobs = [_renamed(job, chosen) for job_id, job in chosen.items() if job_id not in left_out]
    named = {**{job_id: one.job for job_id, one in stored.items()}, **chosen}
    return Portable(
        sorted(jobs, key=lambda job: job.name), sorted((named[job_id].name, why) for job_id, why in left_out.items())
    )


def _flaw(overview: JobOverview) -> str | None:
    """The reason why a job cannot be written as it is; None if it can."""
    if overview.unreadable is not None:
        return overview.unreadable
    try:
        check_name(overview.job.name)
    except BadValue as error:
        return str(error)
    return None


def _parent(job_id: int, name: str, stored: dict[int, JobOverview], names: set[str]) -> Job:
    """A job that another runs after: as it is, or as a deleted job without a definition."""
    known = stored.get(job_id)
    if known is not None and not _flaw(known):
        return known.job
    if known is None and name in names:  # another job has this name now
        name = f"{name[: MAX_NAME - 40]} (job {job_id})"
    names.add(name)
    return Job(name, id=job_id, deleted=True)


def _leave_out_followers(chosen: dict[int, Job], left_out: dict[int, str]) -> None:
    """Leave out deleted jobs with an invalid name, and the jobs that run after one that is left out."""
    for job_id, job in chosen.items():
        if job.deleted and (why := _flaw(JobOverview(job))):
            left_out[job_id] = why
    while True:
        more = {
            job_id: f"it runs after {after.name!r}, which is left out"
            for job_id, job in chosen.items()
            for after in job.options.after_jobs
            if job_id not in left_out and after.job_id in left_out
        }
        if not more:
            return
        left_out |= more


def _renamed(job: Job, chosen: dict[int, Job]) -> Job:
    """`job`, with the names in the file for the jobs that it runs after."""
    after = tuple(one._replace(name=chosen[one.job_id].name) for one in job.options.after_jobs)
    return job._replace(options=job.options._replace(after_jobs=after))
