"""Forgetting what is old: by age and by number of runs per job, a batch at a time, never a scan."""

from jobd.store.store import Session


def prune(session: Session, before: int, keep_per_job: int, limit: int) -> int:
    """Forget up to `limit` runs that ended before the moment `before`, or have too many successors; how many."""
    # served by the index run_finished
    old = session.rows(
        "SELECT job_id, number FROM run WHERE finished_time < ? ORDER BY finished_time LIMIT ?", (before, limit)
    )
    # Only jobs that have run lately can have grown too many runs; run_finished finds the latest, the key the surplus.
    recent = session.rows(
        "SELECT DISTINCT job_id FROM (SELECT job_id FROM run ORDER BY finished_time DESC LIMIT ?) AS latest", (limit,)
    )
    for (job_id,) in recent:
        surplus = session.rows(
            "SELECT number FROM run WHERE job_id = ? ORDER BY number DESC LIMIT 1 OFFSET ?", (job_id, keep_per_job)
        )
        if surplus and len(old) < limit:
            old += session.rows(
                "SELECT job_id, number FROM run WHERE job_id = ? AND number <= ? ORDER BY number LIMIT ?",
                (job_id, surplus[0][0], limit - len(old)),
            )
    for job_id, number in set(old):
        session.execute("DELETE FROM run WHERE job_id = ? AND number = ?", (job_id, number))
        session.execute("DELETE FROM output WHERE job_id = ? AND number = ?", (job_id, number))
    return len(set(old))
