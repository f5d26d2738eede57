"""What state a job is in, in one word, and why it is not running, in one sentence. Pure functions of what is stored.

waiting     its due time has not come, or no node has taken it yet
queued      a node has claimed it and will start it
running     a node is running it
retrying    the run failed and waits for its next attempt
done        nothing more is due; the last run ended well (or was cancelled or skipped)
failed      nothing more is due; the last run failed
paused      it rests until `jobd resume`
blocked     it runs after a job that is deleted, so it never runs by itself
invalid     its definition makes no sense, or its task is unknown
deleted     it was deleted; `jobd restore` brings it back

What it takes to plan is imported where it is needed: `jobd list` of jobs that have their plans goes without.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobd.clock import MINUTE
from jobd.errors import BadValue, spelt
from jobd.job import FAILED, LOST, TIMED_OUT, Job, Plan, without_zone, zone_of
from jobd.store.reads import Listed, NodeRow

STATE_STYLES = {
    "waiting": "",
    "queued": "busy",
    "running": "busy",
    "retrying": "wait",
    "done": "good",
    "failed": "bad",
    "paused": "dim",
    "blocked": "bad",
    "invalid": "bad",
    "deleted": "dim",
}
NEXT_TIMES = 3  # shown of a job
BAD_OUTCOMES = (FAILED, TIMED_OUT, LOST)


def planned(listed: Listed, now: int, zone: str) -> Listed:
    """`listed` as a node will see it: a row that none has looked at yet gets the plan that it will have."""
    job, plan = listed.job, listed.plan
    if listed.problem or (plan is not None and (plan.node or _is_planned(job, plan, zone))):
        return listed
    from jobd.lifecycle import plan as plan_of

    return listed._replace(plan=plan_of(job, plan, now, zone), lost=plan is None and now - job.updated > MINUTE)


def _is_planned(job: Job, plan: Plan, zone: str) -> bool:
    """Whether the plan is made from the job as it is, and follows its zone."""
    follows, _ = zone_of(plan.basis)
    return without_zone(plan.basis) == job.basis and follows in ("", job.options.timezone or zone)


def error_of(listed: Listed) -> str | None:
    """Why the job cannot run, as far as its row and its plan tell."""
    problem = listed.problem or (listed.plan.error if listed.plan is not None else None)
    if problem is None and listed.missing:
        names = [one.name for one in listed.missing]
        return f"it runs after {', '.join(map(repr, names))}, which {_is(names)} deleted"
    return problem


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def state_of(listed: Listed) -> str:
    """The state of a job."""
    job, plan = listed.job, listed.plan
    if job.deleted:
        return "deleted"
    if plan is not None and plan.node:
        return "queued" if plan.started is None else "running"
    if listed.problem or (plan is not None and plan.error):
        return "invalid"
    if job.options.paused:
        return "waiting" if plan is not None and plan.manual and plan.ready is not None else "paused"
    if plan is None or plan.ready is not None:
        return "retrying" if plan is not None and plan.attempt else "waiting"
    if listed.missing:
        return "blocked"
    if job.options.after_jobs or _waits_for_a_start(listed):
        return "waiting"
    return "failed" if listed.last is not None and listed.last.outcome in BAD_OUTCOMES else "done"


def _waits_for_a_start(listed: Listed) -> bool:
    from jobd.schedule import is_at_start

    job = listed.job
    return is_at_start(job.interval) and not (job.runonce and listed.last is not None)


def next_due(listed: Listed, zone: str) -> int | None:
    """The next due time: the one in hand until its run has begun, then the one after it."""
    plan = listed.plan
    if plan is None or listed.problem or plan.error or plan.due is None:
        return None
    if plan.started is None or not plan.node:
        return plan.due if plan.ready is not None or plan.node else None
    return _following(listed.job, plan, plan.due, zone)


def _following(job: Job, plan: Plan, due: int, zone: str) -> int | None:
    if plan.manual or job.runonce:
        return plan.resume
    from jobd.lifecycle import schedule_of

    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return None
    return None if schedule.from_finish else schedule.after(due, plan.anchor or due)


def coming(listed: Listed, zone: str) -> Iterator[tuple[int, str]]:
    """The due times of a job from the one in hand on."""
    job, plan = listed.job, listed.plan
    if state_of(listed) not in ("waiting", "queued", "running", "retrying") or plan is None:
        return
    due: int | None = plan.due
    if plan.manual and due is not None:
        yield due, job.name
        due = plan.resume
    from jobd.lifecycle import schedule_of

    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return
    while due is not None:
        yield due, job.name
        due = None if job.runonce or schedule.from_finish else schedule.after(due, plan.anchor or due)


class Why(NamedTuple):
    """Why a job is not running. `stuck`: it will not run until a person does something about it."""

    text: str
    stuck: bool


def reason(listed: Listed, nodes: Sequence[NodeRow], now: int) -> Why | None:
    """Why the job is not running at this moment; None when it is. `nodes` are those that live."""
    job, plan, state = listed.job, listed.plan, state_of(listed)
    if state in ("queued", "running") and plan is not None and plan.node not in {node.id for node in nodes}:
        other = "another takes it over within a lease or two" if nodes else "`jobd start` starts one that takes it over"
        return Why(f"node {plan.node}, which has claimed it, is gone; {other}", not nodes)
    match state:
        case "running":
            return None
        case "deleted":
            return Why(f"it was deleted; `jobd restore {spelt(job.name)}` brings it back", True)
        case "invalid":
            return Why(f"it cannot run: {error_of(listed)}", True)
        case "paused":
            return Why(f"it is paused; `jobd resume {spelt(job.name)}` resumes it", True)
        case "blocked":
            what = f"`jobd set {spelt(job.name)} --after-job …` fixes that"
            if all(one.kept for one in listed.missing):
                what = f"`jobd restore {' '.join(spelt(one.name) for one in listed.missing)}` or {what}"
            return Why(f"{error_of(listed)}, so it never runs by itself; {what}", True)
        case "done" | "failed":
            return Why("nothing more is due", True)
        case "waiting" if plan is not None and plan.due is None:
            return Why(f"it is due {_event(job)}", False)
    if not nodes:
        return Why("no node is running; `jobd start` starts one", True)
    if state == "queued":
        return Why("a node has claimed it and starts it when it is due and a worker is free", False)
    if listed.lost:
        return Why("its row of the table `schedule` is gone; a node creates it again, which may take minutes", False)
    if plan is None:
        return Why("it is new; a node picks it up at its next poll", False)
    return _why_free(plan, state, nodes, now)


def _event(job: Job) -> str:
    from jobd.schedule.follows import Follows

    after = job.options.after_jobs
    return Follows(after).describe() if after else "when a daemon next starts"


def _why_free(plan: Plan, state: str, nodes: Sequence[NodeRow], now: int) -> Why:
    """Why no node has claimed a job that is to run."""
    from jobd.cli.show import moment

    pools = {pool for node in nodes for pool in node.pools or (plan.pool,)}
    if plan.pool not in pools:
        return Why(f"no running node has the pool {plan.pool!r}; there is: {', '.join(sorted(pools))}", True)
    if plan.ready is None or plan.ready <= now:
        return Why(f"it is due, and no running node has a free worker in the pool {plan.pool!r}", False)
    if state == "retrying":
        return Why(f"it waits until {moment(plan.ready)} for its next attempt", False)
    return Why(f"it is due at {moment(plan.ready)}", False)
