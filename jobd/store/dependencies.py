"""Jobs that are due when others have run: which waits for which, and what has happened since its last run.

A row of `job_dependency` says that `job_id` waits for a run of `on_job_id`, to succeed or (`any_outcome`) to end in
whatever way, and whether one has since (`met`). When all of a job's rows are met and it is not under way, it is due.
"""

from collections.abc import Iterable, Mapping, Sequence

from jobd.errors import BadValue
from jobd.job import LOST, SKIPPED, SUCCEEDED, Job, Plan, Run, split_dependency
from jobd.store.store import Session

COLUMNS = ("job_id", "on_job_id", "any_outcome", "met")


def write(session: Session, jobs: Sequence[Job], ids: Mapping[str, int]) -> None:
    """Put down what `jobs` wait for; `ids` are those of all jobs that they name. What had been met stays so.

    Raises BadValue when a job is not there, or when they would wait for each other in a circle.
    """
    wanted: dict[tuple[int, int], int] = {}
    for job in jobs:
        for text in job.options.after_jobs:
            name, any_outcome = split_dependency(text)
            if name not in ids:
                raise BadValue(f"{job.name!r} is to run after {name!r}, but there is no such job", "see `jobd list`")
            wanted[job.id, ids[name]] = int(any_outcome)
    job_ids = sorted({job.id for job in jobs})
    known = session.among("SELECT job_id, on_job_id, any_outcome, met FROM job_dependency WHERE ", "job_id", job_ids)
    met = {(job_id, on): met for job_id, on, any_outcome, met in known if wanted.get((job_id, on)) == any_outcome}
    if known:
        for job_id in job_ids:
            session.execute("DELETE FROM job_dependency WHERE job_id = ?", (job_id,))
    rows = [(job_id, on, any_outcome, met.get((job_id, on), 0)) for (job_id, on), any_outcome in wanted.items()]
    session.write_rows("job_dependency", COLUMNS, rows)
    if rows:
        _refuse_circle(session, {job.id: job.name for job in jobs})


def ended(session: Session, ends: Iterable[tuple[Plan, Run]]) -> None:
    """These runs have ended, and `Plan` is what followed: whoever waited for them and for nothing else is due."""
    final: dict[int, Run] = {}
    for plan, run in ends:
        if run.outcome != SKIPPED and not (run.outcome == LOST and plan.losses):  # else it is still to come
            final[run.job_id] = run
    ids = sorted(final)
    if not ids or not session.rows("SELECT 1 FROM job_dependency LIMIT 1"):
        return
    # served by the index job_dependency_on
    waiting = [job_id for (job_id,) in session.among("SELECT job_id FROM job_dependency WHERE ", "on_job_id", ids)]
    # The lock makes two nodes that each bring the last thing but one look one after the other.
    rows = session.among(
        "SELECT job_id, on_job_id, any_outcome, met FROM job_dependency WHERE ",
        "job_id",
        sorted({*waiting, *ids}),
        lock=True,
    )
    unmet = set()
    for job_id, on, any_outcome, met in rows:
        end = final.get(on)
        if not met and end is not None and (any_outcome or end.outcome == SUCCEEDED):
            session.execute("UPDATE job_dependency SET met = 1 WHERE job_id = ? AND on_job_id = ?", (job_id, on))
        elif not met:
            unmet.add(job_id)
    for job_id in sorted({job_id for job_id, *_ in rows} - unmet):
        _make_due(session, job_id, max(run.finished for run in final.values()))


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
