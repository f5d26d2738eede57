"""Pruning the history by age and by the number of runs per job, in batches and without a full scan.

Several nodes may prune at the same time: each skips the rows that another has locked.
"""

from collections.abc import Mapping, Sequence

from jobd.store.store import Session

PAIRS = 50  # per condition: planners still handle this number quickly


def prune(session: Session, before: int, surplus: Mapping[int, int], limit: int) -> int:
    """Delete up to `limit` runs that ended before `before` (µs) or exceed the limit of their job; their number.

    `surplus`: job → the number up to which its runs are too many.
    """
    skip, left, wanted = session.dialect.skip_locked, limit, sorted(surplus.items())
    for start in range(0, len(wanted), PAIRS):
        some = wanted[start : start + PAIRS]
        # served by the primary key
        condition = " OR ".join(["(job_id = ? AND number <= ?)"] * len(some))
        values = [value for pair in some for value in pair]
        sql = f"SELECT job_id, number FROM run{session.dialect.primary_key_hint} WHERE {condition} LIMIT ?{skip}"
        if left:
            left -= _delete(session, session.rows(sql, (*values, left)))
    if left:
        # served by the index run_finished
        sql = f"SELECT job_id, number FROM run WHERE finished_time < ? ORDER BY finished_time LIMIT ?{skip}"
        left -= _delete(session, session.rows(sql, (before, left)))
    return limit - left


def _delete(session: Session, runs: Sequence[tuple[int, ...]]) -> int:
    """Delete these runs, given by job and number, with their output; their number."""
    for start in range(0, len(runs), PAIRS):
        for table in ("run", "output"):
            session.dialect.delete(session, table, runs[start : start + PAIRS], ("job_id", "number"))
    return len(runs)
