"""What the start of a daemon makes due: the jobs with `@reboot`."""

from jobd import lifecycle
from jobd.schedule import is_at_start
from jobd.store import schedule_table as table
from jobd.store.store import Session


def start_jobs(session: Session, now: int, zone: str) -> None:
    """Ask for a run, at `now`, of every job that is due when a daemon starts. What runs already is left alone."""
    ids = table.due_at_start(session)
    plans = []
    for one in table.stand(session, ids) if ids else ():
        job = one.job
        if job is None or one.problem is not None or job.options.paused or not is_at_start(job.interval):
            continue
        plan = lifecycle.plan(job, one.plan, now, zone)
        asked_for = plan.node or plan.manual or plan.attempt
        if plan.error is None and not asked_for and not (job.runonce and plan.number > 1):
            plans.append(lifecycle.request(plan, now))
    if plans:
        table.replan(session, plans)
