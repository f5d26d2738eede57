"""The current names and states of the jobs that others run after. Without the ORM, because `jobd list` uses it.

A job is blocked if a job that it still waits for is deleted or has no row: then it never becomes due by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jobd.job import Job

# served by the primary keys
SQL = (
    "SELECT job_dependency.job_id, job_dependency.on_job_id, job_dependency.met, job.name, job.is_delete"
    " FROM job_dependency LEFT JOIN job ON job.id = job_dependency.on_job_id WHERE "
)
Row = tuple[Any, ...]


class Parent(NamedTuple):
    """A job that another job runs after. `name` is None if it has no row; `met`: the other job no longer waits."""

    name: str | None
    deleted: bool
    met: bool


class Missing(NamedTuple):
    """A job that another job waits for and that will not run. `kept`: it has a row, so it can be restored."""

    name: str
    kept: bool


def by_job(found: Iterable[Row]) -> dict[int, dict[int, Parent]]:
    """The rows of `SQL` as job id → id of a job that it runs after → that job."""
    parents: dict[int, dict[int, Parent]] = {}
    for job_id, on, met, name, is_delete in found:
        parents.setdefault(job_id, {})[on] = Parent(name, is_delete == 1, bool(met))
    return parents


def named(job: Job, parents: Mapping[int, Parent]) -> Job:
    """`job`, with the current names of the jobs that it runs after, or the last known name of one without a row."""
    after = tuple(
        one._replace(name=parent.name) if (parent := parents.get(one.job_id)) and parent.name else one
        for one in job.options.after_jobs
    )
    if after == job.options.after_jobs:
        return job
    return job._replace(options=job.options._replace(after_jobs=after))


def missing(job: Job, parents: Mapping[int, Parent]) -> tuple[Missing, ...]:
    """The jobs that `job` waits for and that will not run."""
    gone = Parent(None, True, False)
    return tuple(
        Missing(one.name, parent.name is not None)
        for one in job.options.after_jobs
        if (parent := parents.get(one.job_id, gone)).name is None or parent.deleted
        if not parent.met
    )
