"""What people ask of a job once: a run now, and the end of the one in progress. Each is one transaction.

What has been asked for happens. A run that was asked for outlives a change of the definition, and is dropped only with
the job. A run that is to end has no further attempt, however its present one ends.
"""

from jobd import lifecycle
from jobd.errors import JobdError, spelt
from jobd.store import schedule_table as table
from jobd.store.definitions import defined, forget_changes, standing_of
from jobd.store.store import Session, Store


def request_run(store: Store, name: str, now: int, zone: str) -> int:
    """Ask for a run of a job now; the number that it will have. Raises JobdError when the job runs already."""

    def work(session: Session) -> int:
        (standing,) = standing_of(session, [name])
        job, plan = defined(standing), standing.plan
        if standing.problem is not None:
            raise _invalid(name, standing.problem)
        if plan is not None and plan.node:
            if plan.started is not None:
                raise JobdError(
                    f"the job {name!r} is running already (run {plan.number})", f"see `jobd show {spelt(name)}`"
                )
            table.note_change(session, job.id, "run")
            return plan.number
        new = lifecycle.plan(job, plan, now, zone)
        if new.error is not None and new.due is None:
            raise _invalid(name, new.error)
        run = lifecycle.given_up(plan, new, now)
        plan = lifecycle.request(new, now)
        table.replan(session, [plan], [run] if run is not None else [])
        forget_changes(session, [job.id])
        return plan.number

    return store.transact(work)


def request_cancel(store: Store, name: str, now: int, zone: str) -> None:
    """Ask for the end of the run in progress. Raises JobdError when there is none."""

    def work(session: Session) -> None:
        (standing,) = standing_of(session, [name])
        plan = standing.plan
        # What a node has claimed ahead of its due time has not begun, and nobody knows it as a run yet.
        begun = plan is not None and (plan.started or plan.losses or (plan.due or 0) <= now)
        if plan is None or not (plan.attempt or (plan.node and begun)):
            raise JobdError(f"the job {name!r} is not running", "there is nothing to cancel")
        table.note_change(session, standing.job_id, "cancel")

    store.transact(work)


def _invalid(name: str, why: str) -> JobdError:
    return JobdError(f"the job {name!r} is invalid and cannot run: {why}", f"`jobd set {spelt(name)}` puts it right")
