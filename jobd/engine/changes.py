"""Applies the changes that users and programs made: the keeper reads the rows of `job_change` in its transaction.

An unclaimed job is re-planned at once. A job claimed by another node is left to that node, and a new job that another
node is planning is left to that one, with all its changes, so that their order is kept. A job claimed by this node
is recalled from the queue; if it is running, its change waits for the end of the run. A cancellation stays in the
table meanwhile too: if the attempt ends at that moment, or its node dies, the run is cancelled before its next attempt.
"""

from typing import NamedTuple

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.definition import with_defaults
from jobd.job import JobState, Options, Run
from jobd.store import dependencies
from jobd.store import schedule_table as table
from jobd.store.rows import UNREADABLE
from jobd.store.store import Session

MAX_CHANGES = 500  # per cycle, so that it stays short


class AppliedChanges(NamedTuple):
    """The result of a step. `left_over`: rows of job_change may be left. `more`: the next step may process some.

    `touched`, `recall` and `cancel` are ids of jobs that have changes, must be recalled, and must be cancelled.
    `errors` are (job name, problem).
    """

    touched: frozenset[int] = frozenset()
    recall: frozenset[int] = frozenset()
    cancel: frozenset[int] = frozenset()
    errors: tuple[tuple[str, str], ...] = ()
    left_over: bool = False
    more: bool = False


class ChangeApplier:
    """Applies changes once, within a transaction, as `node`. `now` is wall-clock µs."""

    def __init__(self, node: int, now: int, zone: str, defaults: Options) -> None:
        self._node, self._now, self._zone, self._defaults = node, now, zone, defaults
        self._recall: set[int] = set()
        self._cancel: set[int] = set()
        self._errors: list[tuple[str, str]] = []
        self._done: list[int] = []
        self._states: dict[int, JobState] = {}
        self._given_up: list[Run] = []
        self._cancelled: dict[int, ClaimUpdate] = {}

    def apply(self, session: Session) -> AppliedChanges:
        """Apply up to MAX_CHANGES changes to unclaimed jobs; report those that concern this node's claims."""
        changes = table.changes(session, MAX_CHANGES)
        if not changes:
            return AppliedChanges()
        taken = table.lock_changes_of_new_jobs(session, changes)
        free = [change for change in changes if change.job_id not in taken]
        # The cancellation of a run may make other jobs due, so read their states after it.
        self._apply_some(session, [change for change in free if change.what == "cancel"])
        self._apply_some(session, [change for change in free if change.what != "cancel"])
        if self._done:
            table.drop_changes(session, self._done)
        more = len(changes) == MAX_CHANGES and len(self._done) > 0
        left_over = more or len(self._done) < len(changes)
        touched = frozenset(change.job_id for change in changes)
        return AppliedChanges(
            touched, frozenset(self._recall), frozenset(self._cancel), tuple(self._errors), left_over, more
        )

    def _apply_some(self, session: Session, changes: list[table.Change]) -> None:
        if not changes:
            return
        loaded = {
            one.job_id: one for one in table.load_for_update(session, sorted({change.job_id for change in changes}))
        }
        for change in changes:
            one = loaded.get(change.job_id)
            if one is None:
                self._done.append(change.id)
            elif one.state is not None and one.state.node:
                self._apply_to_claimed(change, one.state)
            else:
                self._apply_to_unclaimed(change, one)
        self._save(session, [one.job_id for one in loaded.values() if one.job and one.job.options.after_jobs])

    def _save(self, session: Session, after_others: list[int]) -> None:
        """Write the new states, and make the jobs due that wait for nothing more."""
        table.save_states(session, list(self._states.values()), self._given_up)
        # The end of a run can make any job due, even its own. So no state that was read before is written after this.
        table.record(session, list(self._cancelled.values()), self._now)
        dependencies.recheck(session, after_others, self._now)
        for waiting in (self._states, self._given_up, self._cancelled):
            waiting.clear()

    def _apply_to_claimed(self, change: table.Change, state: JobState) -> None:
        if state.node != self._node:
            return
        if change.what == "cancel":
            self._cancel.add(change.job_id)
        else:
            self._recall.add(change.job_id)

    def _apply_to_unclaimed(self, change: table.Change, one: table.JobWithState) -> None:
        self._done.append(change.id)
        state = self._states.get(change.job_id, one.state or JobState(change.job_id))
        job = one.job
        if job is None or one.problem is not None or change.what == "changed" or state.fingerprint == UNREADABLE:
            new = lifecycle.after_row_change(job, one.problem, state, self._now, self._zone)
            if new.error is not None and not (job and job.deleted):
                self._errors.append((job.name if job else f"job {change.job_id}", new.error))
            self._replan(state, new)
        elif change.what in ("back", "far back"):
            self._states[change.job_id] = lifecycle.after_clock_set_back(
                with_defaults(job, self._defaults), state, self._now, self._zone, change.what == "far back"
            )
        elif change.what == "run" and not job.deleted:
            new = lifecycle.after_change(job, state, self._now, self._zone)
            self._replan(state, new)
            self._states[change.job_id] = lifecycle.request(new, self._now)
        elif change.what == "cancel" and (state.attempt or state.losses) and state.due is not None:
            decision = lifecycle.after_cancel(with_defaults(job, self._defaults), state, self._now, self._zone)
            # Node 0: no node has claimed the job; `load_for_update` holds its row.
            self._cancelled[change.job_id] = ClaimUpdate(0, state.token, decision.state, decision.run, ())

    def _replan(self, old: JobState, new: JobState) -> None:
        """Save `new`, and record the pending retry that it supersedes, if there is one."""
        self._states[new.job_id] = new
        run = lifecycle.superseded_run(old, new, self._now)
        if run is not None:
            self._given_up.append(run)
