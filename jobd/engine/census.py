"""Jobs whose plan, the row of the table `schedule`, is missing or was made from another definition: they would run
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

SLICE = 5_000  # jobs at a time
EVERY = 30 * SECOND
FIRST, LAST = -(2**63), 2**63 - 1


class Census:
    """How far the count has come, and what it has missed."""

    def __init__(self, clock: Clock, lease: int) -> None:
        self.at = clock.monotonic() + SECOND  # when the next slice is due; a start has better things to do
        self._clock = clock
        self._lease = lease
        self._missed = Watch(lease)
        self._after = FIRST  # the jobs up to this id have been counted

    def step(self, store: Store, zone: str) -> None:
        """Count a slice, if it is time; have those looked at that have been without a fitting plan for long enough.

        `zone` is that of the installation.
        """
        asked = self._clock.monotonic()
        if asked < self.at:
            return
        self.at = asked + EVERY  # should the database not allow it, all else goes on meanwhile
        until, more, amiss = store.transact(lambda session: self._count(session, zone))
        answered = self._clock.monotonic()
        found = self._missed.observe(asked, answered, [(job_id, None) for job_id in amiss])
        if found:
            store.transact(lambda session: table.note_changes(session, found, "changed"))
            what = "no row in the table `schedule`, or one of another definition"
            logs.log("warning", f"{len(found)} jobs had {what}, and are planned again")
        if len(found) < len(amiss):
            self.at = answered + min(self._lease, EVERY)  # the same slice again
        else:
            self._after = until if more else FIRST
            self.at = answered + EVERY

    def _count(self, session: Session, zone: str) -> tuple[int, bool, list[int]]:
        until, more = slices.slice_end(session, self._after, SLICE)
        slices.drop_jobless(session, self._after, until if more else LAST, SLICE)
        amiss = slices.rowless(session, self._after, until) + slices.unfitting(session, self._after, until, zone)
        return until, more, amiss
