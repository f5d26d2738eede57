"""What the start of a daemon, and a clock that is put back, mean for the jobs that wait."""

from jobd import lifecycle
from jobd.clock import HOUR, SECOND
from jobd.schedule import is_at_start
from jobd.store import schedule_table as table
from jobd.store.store import Session

STEP = SECOND  # by less than this a clock is not put back, but kept right
FAR = 3 * HOUR  # by more than this it was wrong before


def note_clock(session: Session, now: int, by: int) -> None:
    """The wall clock has been put back to `now` by `by` microseconds: have the jobs that wait looked at."""
    table.note_clock(session, now, "far back" if by >= FAR else "back")


def check_clock(session: Session, now: int) -> None:
    """Notice that the clock was put back while no daemon ran: the history has runs that end in the future."""
    ahead = table.last_finished(session) - now
    if ahead > STEP:
        note_clock(session, now, ahead)


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
