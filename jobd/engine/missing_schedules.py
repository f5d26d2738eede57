"""Finds jobs whose job state (row of the table `schedule`) is missing or outdated, and drops rows without a job.

Such jobs would never run, or run at the wrong time. Only manual edits cause this (DELETE FROM schedule, a lost row of
job_change, a restored dump), so it is not urgent: one slice of the jobs is scanned now and then. The row may have been
deleted during a run. So a job is re-planned only after it was observed for one lease: by then the node of such a run
has noticed the loss of its claim and has killed the run.
"""

from jobd import logs
from jobd.clock import SECOND, Clock
from jobd.engine.lease import Watch
from jobd.job import LOWEST_ID, MAX_BIGINT
from jobd.store import schedule_table as table
from jobd.store import slices
from jobd.store.store import Session, Store

JOBS_PER_SLICE = 5_000  # so that one scan stays short
SCAN_INTERVAL = 30 * SECOND  # between slices


class MissingScheduleScan:
    """The progress of the scan, and the suspicious jobs. `lease` is in µs."""

    def __init__(self, clock: Clock, lease: int) -> None:
        self.next_at = clock.monotonic() + SECOND  # monotonic µs; the first slice waits until the start is over
        self._clock = clock
        self._lease = lease
        self._suspects = Watch(lease)
        self._after = LOWEST_ID  # the jobs up to this id have been scanned

    def step(self, store: Store, zone: str) -> None:
        """Scan a slice, if it is due, and re-plan jobs that had no valid state for one lease.

        `zone` is the zone of the installation. Raises JobdError.
        """
        asked = self._clock.monotonic()
        if asked < self.next_at:
            return
        self.next_at = asked + SCAN_INTERVAL  # if the database refuses the scan, it must not block other work
        until, more, suspects = store.transact(lambda session: self._scan(session, zone))
        answered = self._clock.monotonic()
        found = self._suspects.observe(asked, answered, [(job_id, None) for job_id in suspects])
        if found:
            store.transact(lambda session: table.record_changes(session, found, "changed"))
            what = "no row in the table `schedule`, or one of another definition"
            logs.log("warning", f"{len(found)} jobs had {what}, and are planned again")
        if len(found) < len(suspects):
            self.next_at = answered + min(self._lease, SCAN_INTERVAL)  # the same slice again
        else:
            self._after = until if more else LOWEST_ID
            self.next_at = answered + SCAN_INTERVAL

    def _scan(self, session: Session, zone: str) -> tuple[int, bool, list[int]]:
        until, more = slices.slice_end(session, self._after, JOBS_PER_SLICE)
        slices.drop_jobless(session, self._after, until if more else MAX_BIGINT, JOBS_PER_SLICE)
        suspects = slices.jobs_without_schedule(session, self._after, until) + slices.jobs_with_outdated_schedule(
            session, self._after, until, zone
        )
        return until, more, suspects
