"""The state of a job, in one word, and the reason why it does not run, in one sentence. Pure functions of stored data.

waiting     its due time has not come, or no node has taken it yet
queued      a node has claimed it and will start it
running     a node is running it
retrying    the run failed and waits for its next attempt
done        nothing more is due; the last run succeeded (or was cancelled or skipped)
failed      nothing more is due; the last run failed
paused      it does not run until `jobd resume`
blocked     it runs after a job that is deleted, so it never runs by itself
invalid     its definition is invalid, or its task is unknown
deleted     it was deleted; `jobd restore` brings it back

The code that computes a state is imported only where it is needed: `jobd list` usually finds all states stored.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobd.clock import MINUTE
from jobd.errors import BadValue, spelt
from jobd.job import FAILED, LOST, TIMED_OUT, Job, JobState, without_zone, zone_of
from jobd.store.reads import JobOverview, NodeSummary

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
NEXT_TIMES = 3  # due times that are shown of a job
BAD_OUTCOMES = (FAILED, TIMED_OUT, LOST)


def with_state(overview: JobOverview, now: int, zone: str) -> JobOverview:
    """`overview` with the job's state. If no node has computed it yet, it is the state that a node will compute."""
    job, state = overview.job, overview.state
    if overview.problem or (state is not None and (state.node or _has_current_state(job, state, zone))):
        return overview
    from jobd.lifecycle import after_change

    return overview._replace(
        state=after_change(job, state, now, zone), state_missing=state is None and now - job.updated > MINUTE
    )


def _has_current_state(job: Job, state: JobState, zone: str) -> bool:
    """Whether the state was computed from the present definition and time zone."""
    follows, _ = zone_of(state.fingerprint)
    return without_zone(state.fingerprint) == job.fingerprint and follows in ("", job.options.timezone or zone)


def error_of(overview: JobOverview) -> str | None:
    """The reason in its row or its state why the job cannot run; None if there is none."""
    problem = overview.problem or (overview.state.error if overview.state is not None else None)
    if problem is None and overview.missing:
        names = [one.name for one in overview.missing]
        return f"it runs after {', '.join(map(repr, names))}, which {_is(names)} deleted"
    return problem


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def state_of(overview: JobOverview) -> str:
    """The state of a job, one of the words above."""
    job, state = overview.job, overview.state
    if job.deleted:
        return "deleted"
    if state is not None and state.node:
        return "queued" if state.started is None else "running"
    if overview.problem or (state is not None and state.error):
        return "invalid"
    if job.options.paused:
        return "waiting" if state is not None and state.manual and state.ready is not None else "paused"
    if state is None or state.ready is not None:
        return "retrying" if state is not None and state.attempt else "waiting"
    if overview.missing:
        return "blocked"
    if job.options.after_jobs or _waits_for_a_start(overview):
        return "waiting"
    return "failed" if overview.last is not None and overview.last.outcome in BAD_OUTCOMES else "done"


def _waits_for_a_start(overview: JobOverview) -> bool:
    from jobd.schedule import is_at_start

    job = overview.job
    return is_at_start(job.interval) and not (job.runonce and overview.last is not None)


def next_due(overview: JobOverview, zone: str) -> int | None:
    """The next due time (µs since 1970 UTC): the current one until its run has started, then the following one."""
    state = overview.state
    if state is None or overview.problem or state.error or state.due is None:
        return None
    if state.started is None or not state.node:
        return state.due if state.ready is not None or state.node else None
    return _following(overview.job, state, state.due, zone)


def _following(job: Job, state: JobState, due: int, zone: str) -> int | None:
    if state.manual or job.runonce:
        return state.resume
    from jobd.definition import schedule_of

    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return None
    return None if schedule.from_finish else schedule.after(due, state.anchor or due)


def next_due_times(overview: JobOverview, zone: str) -> Iterator[tuple[int, str]]:
    """(due time, name of the job) of each due time, from the current one on."""
    job, state = overview.job, overview.state
    if state_of(overview) not in ("waiting", "queued", "running", "retrying") or state is None:
        return
    due: int | None = state.due
    if state.manual and due is not None:
        yield due, job.name
        due = state.resume
    from jobd.definition import schedule_of

    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return
    while due is not None:
        yield due, job.name
        due = None if job.runonce or schedule.from_finish else schedule.after(due, state.anchor or due)


class Why(NamedTuple):
    """The reason why a job does not run. `stuck`: it will not run until a user acts."""

    text: str
    stuck: bool


def reason(overview: JobOverview, nodes: Sequence[NodeSummary], now: int) -> Why | None:
    """The reason why the job does not run at this moment; None if it runs. `nodes`: the live nodes."""
    job, state, word = overview.job, overview.state, state_of(overview)
    if word in ("queued", "running") and state is not None and state.node not in {node.id for node in nodes}:
        other = "another takes it over within a lease or two" if nodes else "`jobd start` starts one that takes it over"
        return Why(f"node {state.node}, which has claimed it, is gone; {other}", not nodes)
    match word:
        case "running":
            return None
        case "deleted":
            return Why(f"it was deleted; `jobd restore {spelt(job.name)}` brings it back", True)
        case "invalid":
            return Why(f"it cannot run: {error_of(overview)}", True)
        case "paused":
            return Why(f"it is paused; `jobd resume {spelt(job.name)}` resumes it", True)
        case "blocked":
            what = f"`jobd set {spelt(job.name)} --after-job …` fixes that"
            if all(one.kept for one in overview.missing):
                what = f"`jobd restore {' '.join(spelt(one.name) for one in overview.missing)}` or {what}"
            return Why(f"{error_of(overview)}, so it never runs by itself; {what}", True)
        case "done" | "failed":
            return Why("nothing more is due", True)
        case "waiting" if state is not None and state.due is None:
            return Why(f"it is due {_event(job)}", False)
    if not nodes:
        return Why("no node is running; `jobd start` starts one", True)
    if word == "queued":
        return Why("a node has claimed it and starts it when it is due and a worker is free", False)
    if overview.state_missing:
        return Why("its row of the table `schedule` is gone; a node creates it again, which may take minutes", False)
    if state is None:
        return Why("it is new; a node picks it up at its next poll", False)
    return _why_free(state, word, nodes, now)


def _event(job: Job) -> str:
    from jobd.schedule.follows import Follows

    after = job.options.after_jobs
    return Follows(after).describe() if after else "when a daemon next starts"


def _why_free(state: JobState, word: str, nodes: Sequence[NodeSummary], now: int) -> Why:
    """The reason why no node has claimed a job that is to run."""
    from jobd.view.text import moment

    pools = {pool for node in nodes for pool in node.pools or (state.pool,)}
    if state.pool not in pools:
        return Why(f"no running node has the pool {state.pool!r}; there is: {', '.join(sorted(pools))}", True)
    if state.ready is None or state.ready <= now:
        return Why(f"it is due, and no running node has a free worker in the pool {state.pool!r}", False)
    if word == "retrying":
        return Why(f"it waits until {moment(state.ready)} for its next attempt", False)
    return Why(f"it is due at {moment(state.ready)}", False)
