"""Jobs whose state, the row of the table `schedule`, is missing or was made from another definition: they would run
never, or at the wrong time, so they are looked for. And rows without a job, which are dropped.

Only a change by hand makes such jobs: DELETE FROM schedule, a lost row of job_change, a dump that is restored. So there
is no hurry: a slice of the jobs is counted now and then. A row may have been deleted under a run. So a job that is
found is watched for a lease before it is planned again: by then the run's node has noticed, and has ended the run.
"""

from jobd import logs
from jobd.clock import SECOND, Clock
from jobd.engine.lease import Watch
from jobd.store import schedule_table as table
from jobd.store import slices
from jobd.store.store import Session, Store

JOBS_PER_SLICE = 5_000  # jobs at a time
SCAN_INTERVAL = 30 * SECOND
LOWEST_ID, HIGHEST_ID = -(2**63), 2**63 - 1


class MissingScheduleScan:
    """How far the count has come, and what it has missed."""

    def __init__(self, clock: Clock, lease: int) -> None:
        self.next_at = clock.monotonic() + SECOND  # when the next slice is due; a start has better things to do
        self._clock = clock
        self._lease = lease
        self._suspects = Watch(lease)
        self._after = LOWEST_ID  # the jobs up to this id have been counted

    def step(self, store: Store, zone: str) -> None:
        """Count a slice, if it is time; have those looked at that have been without a fitting state for long enough.

        `zone` is that of the installation.
        """
        asked = self._clock.monotonic()
        if asked < self.next_at:
            return
        self.next_at = asked + SCAN_INTERVAL  # should the database not allow it, all else goes on meanwhile
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
        slices.drop_jobless(session, self._after, until if more else HIGHEST_ID, JOBS_PER_SLICE)
        suspects = slices.jobs_without_schedule(session, self._after, until) + slices.jobs_with_outdated_schedule(
            session, self._after, until, zone
        )
        return until, more, suspects
