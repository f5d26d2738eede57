"""What people and programs changed, put into effect: the rows of `job_change`, read by the keeper in its transaction.

A job that nobody has claimed is planned anew at once. One that another node has claimed is that node's to handle. One
of our own is called back from the queue; if it runs already, its change waits for its end. So does a cancellation: when
the attempt ends at that very moment, or its node dies, the run is cancelled before its next attempt.
"""

from typing import NamedTuple

from jobd import lifecycle
from jobd.job import Options, Plan, Run
from jobd.store import dependencies
from jobd.store import schedule_table as table
from jobd.store.rows import UNSOUND
from jobd.store.schedule_table import ClaimUpdate
from jobd.store.store import Session

MAX_CHANGES = 500


class AppliedChanges(NamedTuple):
    """What there was to see. `left_over`: some of it still waits for its moment. `more`: there is more to see."""

    touched: frozenset[int] = frozenset()
    recall: frozenset[int] = frozenset()
    cancel: frozenset[int] = frozenset()
    errors: tuple[tuple[str, str], ...] = ()
    left_over: bool = False
    more: bool = False


class ChangeApplier:
    """One look at the changes, within a transaction."""

    def __init__(self, node: int, now: int, zone: str, defaults: Options) -> None:
        self._node, self._now, self._zone, self._defaults = node, now, zone, defaults
        self._recall: set[int] = set()
        self._cancel: set[int] = set()
        self._errors: list[tuple[str, str]] = []
        self._done: list[int] = []
        self._plans: dict[int, Plan] = {}
        self._given_up: list[Run] = []

    def apply(self, session: Session) -> AppliedChanges:
        """Put into effect what can be; say what concerns the runs of this node."""
        changes = table.changes(session, MAX_CHANGES)
        if not changes:
            return AppliedChanges()
        # A run that is cancelled may make other jobs due, so their plans are read after that.
        self._apply_some(session, [change for change in changes if change.what == "cancel"])
        self._apply_some(session, [change for change in changes if change.what != "cancel"])
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
        standing = {one.job_id: one for one in table.stand(session, sorted({change.job_id for change in changes}))}
        for change in changes:
            one = standing.get(change.job_id)
            if one is None:
                self._done.append(change.id)
            elif one.plan is not None and one.plan.node:
                self._apply_to_claimed(change, one.plan)
            else:
                self._apply_to_unclaimed(session, change, one)
        if self._plans:
            table.replan(session, list(self._plans.values()), self._given_up)
            after = [one.job_id for one in standing.values() if one.job is not None and one.job.options.after_jobs]
            dependencies.look_again(session, after, self._now)
            self._plans.clear()
            self._given_up.clear()

    def _apply_to_claimed(self, change: table.Change, plan: Plan) -> None:
        if plan.node != self._node:
            return
        if change.what == "cancel":
            self._cancel.add(change.job_id)
        else:
            self._recall.add(change.job_id)

    def _apply_to_unclaimed(self, session: Session, change: table.Change, one: table.Standing) -> None:
        self._done.append(change.id)
        plan = self._plans.get(change.job_id, one.plan or Plan(change.job_id))
        job = one.job
        if job is None or one.problem is not None or change.what == "changed" or plan.basis == UNSOUND:
            new = lifecycle.replan(job, one.problem, plan, self._now, self._zone)
            if new.error is not None and not (job and job.deleted):
                self._errors.append((job.name if job else f"job {change.job_id}", new.error))
            self._replan(plan, new)
        elif change.what in ("back", "far back"):
            self._plans[change.job_id] = lifecycle.put_back(
                lifecycle.filled(job, self._defaults), plan, self._now, self._zone, change.what == "far back"
            )
        elif change.what == "run" and not job.deleted:
            new = lifecycle.plan(job, plan, self._now, self._zone)
            self._replan(plan, new)
            self._plans[change.job_id] = lifecycle.request(new, self._now)
        elif change.what == "cancel" and (plan.attempt or plan.losses) and plan.due is not None:
            step = lifecycle.cancel(lifecycle.filled(job, self._defaults), plan, self._now, self._zone)
            table.record(session, [ClaimUpdate(0, plan.token, step.plan, step.run, ())])
            self._plans[change.job_id] = step.plan

    def _replan(self, old: Plan, new: Plan) -> None:
        """Have `new` written, and the run in hand that it leaves no room for."""
        self._plans[new.job_id] = new
        run = lifecycle.given_up(old, new, self._now)
        if run is not None:
            self._given_up.append(run)
