"""Work on all jobs, one slice of their ids at a time: a single statement over a million rows would block the rest."""

from typing import NamedTuple

from jobd.fingerprint import follows_another
from jobd.job import DEFAULT_POOL, without_zone
from jobd.store.rows import UNREADABLE
from jobd.store.store import Session


def slice_end(session: Session, after: int, count: int) -> tuple[int, bool]:
    """The last id of the `count` jobs after job `after`, and whether more jobs may follow."""
    # served by the primary key
    slice_of = "SELECT id FROM job WHERE id > ? ORDER BY id LIMIT ?"
    ((last, found),) = session.rows(f"SELECT max(id), count(*) FROM ({slice_of}) AS slice", (after, count))
    return (after if last is None else int(last)), found == count


def note_clock(session: Session, now: int, what: str, after: int, until: int) -> None:
    """Record a change of the jobs that wait for a time that the clock, set back to `now` (µs), will reach again.

    Only for ids above `after`, up to `until`: a slice, served by the primary key.
    """
    session.execute(
        "INSERT INTO job_change (job_id, what) SELECT job_id, ? FROM schedule"
        " WHERE job_id > ? AND job_id <= ? AND (due_time > ? OR ready_time > ?)",
        (what, after, until, now, now),
    )


def due_at_start(session: Session, after: int, until: int) -> list[int]:
    """The ids of the live jobs of a slice whose interval contains `@reboot`."""
    # served by the primary key
    sql = 'SELECT id FROM job WHERE id > ? AND id <= ? AND is_delete = 0 AND LOWER("interval") LIKE ?'
    return [job_id for (job_id,) in session.rows(sql, (after, until, "%@reboot%"))]


def unclaimed_fingerprints(session: Session, after: int, until: int) -> list[tuple[int, str]]:
    """(job id, fingerprint) of the unclaimed jobs of a slice."""
    # served by the primary key, not by schedule_claim
    sql = "SELECT job_id, basis FROM schedule WHERE job_id > ? AND job_id <= ? AND node_id + 0 = 0"
    return session.rows(sql, (after, until))


def jobs_without_schedule(session: Session, after: int, until: int) -> list[int]:
    """The ids of the live jobs of a slice that have no row of `schedule`."""
    # served by the primary keys
    sql = (
        "SELECT job.id FROM job LEFT JOIN schedule"
        " ON schedule.job_id = job.id AND schedule.job_id > ? AND schedule.job_id <= ?"
        " WHERE job.id > ? AND job.id <= ? AND job.is_delete = 0 AND schedule.job_id IS NULL"
    )
    return sorted(job_id for (job_id,) in session.rows(sql, (after, until) * 2))


class _Compared(NamedTuple):
    """A definition and the state that was computed from it."""

    job_id: int
    runonce: int
    interval: str | None
    deleted: int
    paused: int
    pool: str | None
    priority: int
    fingerprint: str
    due: int | None
    ready: int | None
    begun: int  # attempts and losses of the current run
    fitting_pool: str
    fitting_priority: int

    def fits(self, zone: str) -> bool:
        """Whether the state matches this definition and the installation's zone."""
        if self.deleted:
            return self.ready is None
        if (self.pool or DEFAULT_POOL, self.priority) != (self.fitting_pool, self.fitting_priority):
            return False
        if not self.begun and self.due is not None and follows_another(self.fingerprint, zone):
            return False  # a run that has started keeps its zone until its end
        known = f"{without_zone(self.fingerprint)}|"
        waits = self.ready is not None or self.due is None or bool(self.paused)
        return waits and known.startswith(f"{int(self.runonce)}||{self.interval or ''}|")


def jobs_with_outdated_schedule(session: Session, after: int, until: int, zone: str) -> list[int]:
    """The ids of the unclaimed jobs of a slice whose state was computed from another definition or installation zone.

    This happens if rows were written without a recorded change: a dump was restored while triggers were off, or (on
    MySQL, see jobd.store.mysql.seal) with valid seals.
    """
    # served by the primary keys, and job_change_job
    sql = (
        'SELECT job.id, runonce, "interval", is_delete, COALESCE(paused, 0), job_options.pool,'
        " COALESCE(job_options.priority, 0), basis, due_time, ready_time, attempt + losses, schedule.pool,"
        " schedule.priority FROM job"
        " JOIN schedule ON schedule.job_id = job.id AND schedule.job_id > ? AND schedule.job_id <= ?"
        " LEFT JOIN job_options ON job_options.job_id = job.id"
        " WHERE job.id > ? AND job.id <= ? AND schedule.node_id + 0 = 0 AND error IS NULL AND basis <> ?"
        # changes not yet applied; PostgreSQL would read them again for each job if they stood in a NOT EXISTS
        " AND job.id NOT IN (SELECT job_id FROM job_change WHERE job_id > ? AND job_id <= ?)"
    )
    counted = map(_Compared._make, session.rows(sql, (*(after, until) * 2, UNREADABLE, after, until)))
    return sorted(one.job_id for one in counted if not one.fits(zone))


def drop_jobless(session: Session, after: int, until: int, limit: int) -> None:
    """Delete the unclaimed states of a slice whose row of `job` no longer exists, up to `limit`."""
    # served by the primary keys
    sql = (
        "SELECT schedule.job_id FROM schedule LEFT JOIN job ON job.id = schedule.job_id AND job.id > ? AND job.id <= ?"
        " WHERE schedule.job_id > ? AND schedule.job_id <= ? AND schedule.node_id + 0 = 0 AND job.id IS NULL LIMIT ?"
    )
    for (job_id,) in session.rows(sql, (*(after, until) * 2, limit)):
        session.execute("DELETE FROM schedule WHERE job_id = ? AND node_id = 0", (job_id,))


def wake_unresolved(session: Session, after: int, until: int) -> None:
    """Make the jobs of a slice whose task was unknown ready again: the plugins may have it now."""
    session.execute(
        # served by the primary key, not by schedule_claim, where all free jobs are alike
        "UPDATE schedule SET ready_time = due_time WHERE job_id > ? AND job_id <= ? AND node_id + 0 = 0"
        " AND error IS NOT NULL AND ready_time IS NOT NULL AND attempt = 0 AND due_time < ready_time",
        (after, until),
    )
