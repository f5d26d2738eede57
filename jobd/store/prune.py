"""Forgetting what is old: by age and by number of runs per job, a batch at a time, never a scan."""

from jobd.store.store import Session


def prune(session: Session, before: int, keep_per_job: int, limit: int) -> int:
    """Forget up to `limit` runs that ended before the moment `before`, or have too many successors; how many."""
    # served by the index run_finished
    old = session.rows(
        "SELECT job_id, number FROM run WHERE finished_time < ? ORDER BY finished_time LIMIT ?", (before, limit)
    )
    # Only jobs that have run lately can have grown too many runs; run_finished finds the latest. The runs of a job are
    # numbered without gaps, so the key finds the surplus.
    recent = session.rows(
        "SELECT job_id, max(number) FROM (SELECT job_id, number FROM run ORDER BY finished_time DESC LIMIT ?) AS latest"
        " GROUP BY job_id",
        (limit,),
    )
    for job_id, newest in recent:
        if newest > keep_per_job and len(old) < limit:
            old += session.rows(
                "SELECT job_id, number FROM run WHERE job_id = ? AND number <= ? ORDER BY number LIMIT ?",
                (job_id, newest - keep_per_job, limit - len(old)),
            )
    for job_id, number in set(old):
        session.execute("DELETE FROM run WHERE job_id = ? AND number = ?", (job_id, number))
        session.execute("DELETE FROM output WHERE job_id = ? AND number = ?", (job_id, number))
    return len(set(old))
