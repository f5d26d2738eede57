"""The life of a run, as pure functions: the state of a job after each event.

    waiting ──claimed──▶ queued ──▶ running ──▶ succeeded
       ▲                   │          │ failed, no retries left ──▶ failed
       │                   │          │ over its timeout, killed ──▶ timed_out (retried like a failure)
       │                   │          │ its node died ──▶ lost (run again until MAX_LOSSES losses)
       │                   │          │ cancelled by a user ──▶ cancelled
       │                   │          └ failed, retries left ──▶ retrying (at once without a back-off)
       │                   └ excluded by grace or catch-up ──▶ skipped   │
       └─────────────────────────────────────────────────────────────────┘
    retrying: a user cancels it ──▶ cancelled; its job is changed ──▶ superseded

Nothing here uses a clock, a database or a process: the moment and the random number are arguments. The result is the
new row of `schedule` and, when a run has ended, its row of `run`. Moments and durations are microseconds.
"""

from typing import NamedTuple

from jobd.clock import HOUR, MINUTE, SECOND, doubled
from jobd.definition import check, schedule_of
from jobd.errors import BadValue
from jobd.fingerprint import current_zone, fingerprint_of, with_moved_due_time
from jobd.job import (
    CANCELLED,
    DEFAULT_POOL,
    FAILED,
    LOST,
    MAX_COUNTER,
    MAX_STATE_ERROR,
    SKIPPED,
    SUPERSEDED,
    TIMED_OUT,
    Job,
    JobState,
    Options,
    Run,
    without_zone,
    zone_of,
)
from jobd.schedule import Schedule

MAX_LOSSES = 3  # a run that was lost this often may have killed its nodes, so it is not run again
MAX_CATCH_UP = 1_000  # missed due times that catch_up = "all" runs: the newest ones
UNRESOLVED_PAUSE = 30 * SECOND  # before a job that this node cannot run is offered again: another node may be able to
DEFAULT_GRACE = 2 * SECOND  # for catch_up = "none": a due time older than this has been missed
GRID_SHIFT = 1  # µs by which a grid moves when a clock set back repeats its due times: none may be recorded twice
MAX_CLOCK_LAG = MINUTE  # a new interval starts at most this far after now, even if clocks of earlier runs were ahead
BACKOFF_JITTER = 0.1  # fraction of a back-off, in both directions: jobs that failed together retry at different times


class Ended(NamedTuple):
    """How one attempt ended. `outcome` is one of jobd.job.OUTCOMES; the moments are µs."""

    outcome: str
    started: int
    finished: int
    error: str | None = None
    result: str | None = None


class Decision(NamedTuple):
    """The result of an event: the new state of the job, and the record of the run if the run has ended."""

    state: JobState
    run: Run | None = None

    @property
    def retry_at(self) -> int | None:
        """When this node starts the next attempt (µs) under the claim that it keeps; None: it starts no attempt."""
        return self.state.ready if self.run is None and self.state.node else None

    @property
    def releases(self) -> bool:
        """Whether the node gives the claim up, so that any node may claim the job."""
        return not self.state.node


def after_change(job: Job, old: JobState | None, now: int, zone: str) -> JobState:
    """The state of a job that is new, or has been changed, deleted, restored, paused or resumed.

    A change that does not concern the schedule keeps the due times and the current run. Claims stay as they are.
    """
    old = old or JobState(job.id)
    current = old._replace(
        pool=job.options.pool or DEFAULT_POOL,
        priority=job.options.priority,
        guarded=job.options.on_lost == "fail",
        error=None,
        # A deleted row may be created again. Its tokens start at the time in µs, which is above all earlier tokens.
        token=old.token if 0 < old.token <= MAX_COUNTER else now,
    )
    try:
        schedule = check(job, zone)
    except BadValue as error:
        return _with_nothing_due(current)._replace(error=_one_line(error))
    fingerprint = fingerprint_of(job, schedule, zone)
    if without_zone(current.fingerprint) != job.fingerprint:
        current = _with_new_schedule(current, fingerprint, schedule.first(_open_from(job, current, schedule, now)))
    elif current.fingerprint != fingerprint and not _has_started(current):
        current = with_moved_due_time(current, schedule, _schedule_before(job, current), fingerprint, now)
    if job.deleted:
        return _without_request(current)._replace(ready=None)
    if job.options.paused:
        return current if current.manual and current.ready is not None else current._replace(ready=None)
    if current.ready is None and current.due is not None:
        current = _resume(job, current, schedule, now)
    elif old.error is not None:
        current = current._replace(ready=current.due)
    return current


def _with_new_schedule(current: JobState, fingerprint: str, first: int | None) -> JobState:
    """The state under a new schedule whose first due time is `first`. A run that a user requested stays requested."""
    if current.manual and current.ready is not None:
        return current._replace(fingerprint=fingerprint, anchor=first, resume=first)
    return _with_nothing_due(current)._replace(fingerprint=fingerprint, due=first, ready=first, anchor=first)


def _open_from(job: Job, current: JobState, schedule: Schedule, now: int) -> int:
    """The earliest moment at which a new schedule may be due: after all runs of the old schedule.

    `now` may be outdated when the change takes effect, or may come from a clock that is behind. No due time may repeat.
    """
    ran = max(job.last_finished or 0, current.due or 0 if _has_started(current) else 0)
    return ran + GRID_SHIFT if now < ran < now + (MAX_CLOCK_LAG if schedule.at_once else 3 * HOUR) else now


def _with_nothing_due(current: JobState) -> JobState:
    """The state without a current run. A current run that has had an attempt is given up and keeps its number."""
    number = current.number + (current.attempt > 0)
    return current._replace(
        fingerprint="", due=None, ready=None, resume=None, attempt=0, losses=0, manual=False, number=number
    )


def _without_request(current: JobState) -> JobState:
    """The state without the run that a user requested: the scheduled due time is current again."""
    if not current.manual:
        return current
    return _with_nothing_due(current)._replace(fingerprint=current.fingerprint, due=current.resume, ready=current.ready)


def after_row_change(job: Job | None, problem: str | None, old: JobState, now: int, zone: str) -> JobState:
    """`after_change` for a row of `job` as it was read. An invalid row, explained by `problem`, has no due time."""
    if job is not None and problem is None:
        return after_change(job, old, now, zone)
    return _with_nothing_due(_without_request(old))._replace(error=problem or "its definition cannot be read")


def superseded_run(old: JobState | None, new: JobState, now: int) -> Run | None:
    """The record of a run that waited for a retry when its job changed from `old` to `new`; None: there was none."""
    if old is None or not old.attempt or old.due is None or new.number == old.number:
        return None
    attempts = f"{old.attempt} attempt{'s'[: old.attempt > 1]}"
    ended = Ended(SUPERSEDED, now, now, f"given up after {attempts}: its job was changed")
    return _record(old, ended, old.attempt)._replace(started=None)


def after_zone_change(job: Job, current: JobState, now: int, zone: str) -> JobState:
    """The state after a possible change of the time zone rules from which it was computed."""
    try:
        schedule = schedule_of(job, zone)
    except BadValue:
        return current
    fingerprint = fingerprint_of(job, schedule, zone)
    if current.fingerprint != fingerprint or _has_started(current):
        return current
    return with_moved_due_time(current, schedule, None, fingerprint, now)


def after_clock_set_back(job: Job, current: JobState, now: int, zone: str, far: bool) -> JobState:
    """The state after the wall clock was set back to `now`; `far`: by three hours or more.

    An interval follows the new clock at once. A clock time keeps its current due time, so that none is due twice,
    unless the clock was set back so `far` that the old time must have been wrong: the rule of Debian's cron(8).
    """
    if current.node or current.ready is None or current.due is None or current.ready <= now:
        return current
    try:
        schedule = _current_schedule(job, current, zone)
    except BadValue:
        return current
    if current.losses and not current.attempt:
        return current._replace(ready=now)  # a lost run is run again at once
    if current.attempt or current.manual:
        longest = job.options.backoff_max if job.options.backoff_max is not None else HOUR
        return current._replace(ready=min(current.ready, now + longest))
    if not (far or schedule.aligned or schedule.from_finish):
        return current
    due, anchor = schedule.after(now, current.anchor or current.due), current.anchor
    if due is None or due >= current.due:
        return current
    if schedule.aligned:
        due, anchor = due + GRID_SHIFT, (anchor or due) + GRID_SHIFT
    return current._replace(due=due, ready=due, anchor=anchor)


def request(current: JobState, now: int) -> JobState:
    """The state after a user requested a run at `now`. The scheduled due time becomes current again after that run."""
    if current.attempt or current.losses or current.manual:
        return current._replace(ready=now)
    return current._replace(due=now, ready=now, resume=current.due, manual=True, error=None)


def after_claim(job: Job, claimed: JobState, now: int, zone: str) -> Decision:
    """The decision about a job that has just been claimed: the state to run, or (with `node` 0) the reason not to."""
    try:
        schedule = _current_schedule(job, claimed, zone)
    except BadValue as error:
        return Decision(give_back(claimed)._replace(ready=None, error=_one_line(error)))
    if job.deleted:  # A requested run is dropped here, because the job may be restored before the change is processed.
        free = give_back(_without_request(claimed))._replace(ready=None)
        return Decision(free, superseded_run(claimed, free, now))
    if claimed.due is None:
        return Decision(repair(job, claimed, now, zone))
    options = job.options
    due = _due(claimed)
    if claimed.attempt or claimed.losses or claimed.manual:
        return Decision(claimed)
    if schedule.aligned and due == claimed.anchor and due < now:
        # An interval is aligned to the moment at which a daemon first claims the job.
        return Decision(claimed._replace(due=now, anchor=now))
    grace = options.grace if options.grace is not None else (DEFAULT_GRACE if options.catch_up == "none" else None)
    if grace is not None and now - due > grace and not (options.grace is None and schedule.after(due, due) is None):
        return _skip(job, claimed, schedule, now, f"{(now - due) / SECOND:.1f} s late")
    if options.catch_up == "all":
        return _catch_up_all(claimed, schedule, now)
    return Decision(claimed)


def after_attempt(job: Job, current: JobState, ended: Ended, zone: str, random: float) -> Decision:
    """The decision after an attempt. `random` is from 0 to 1. `retry_at` is set if the node retries at once."""
    attempts = current.attempt + 1
    if ended.outcome in (FAILED, TIMED_OUT) and attempts <= job.retry_times:
        delay = _backoff(job.options, attempts, random)
        again = current._replace(attempt=attempts, ready=ended.finished + delay, started=_first_start(current, ended))
        return Decision(again if not delay else give_back(again))
    return _end_run(job, current, zone, ended, ended.started, attempts)


def repair(job: Job, claimed: JobState, now: int, zone: str) -> JobState:
    """The state of a claimed job whose row was invalid: unclaimed, and planned like a new job."""
    return after_change(job, give_back(claimed)._replace(fingerprint=""), now, zone)


def unresolved(current: JobState, reason: str, now: int) -> JobState:
    """The state of a job that this node cannot run, for `reason`: unclaimed, and ready again after UNRESOLVED_PAUSE."""
    return give_back(current)._replace(error=reason[:MAX_STATE_ERROR], ready=now + UNRESOLVED_PAUSE)


def give_back(current: JobState) -> JobState:
    """The state without its claim: any node may claim the job."""
    return current._replace(node=0, started=None)


def after_loss(job: Job, current: JobState, now: int, zone: str, reason: str) -> Decision:
    """The decision after a node died, or was stopped, with the job claimed. A run that had started is recorded as lost.

    If the start of a run is not recorded, the run may have started just before its machine died. Then the next run is
    guarded: it starts only after its start has been committed. If it is lost too, both losses are counted.
    """
    if current.due is None:
        return Decision(repair(job, current, now, zone))
    if current.started is None:
        return Decision(give_back(current)._replace(guarded=True))
    unknown = current.guarded and not current.losses and job.options.on_lost != "fail"
    losses = current.losses + (2 if unknown else 1)
    ended = Ended(LOST, current.started, now, reason)
    if losses >= MAX_LOSSES:
        ended = ended._replace(outcome=FAILED, error=f"{reason}; it was lost {losses} times and is not tried again")
    elif job.options.on_lost != "fail" and not job.deleted:
        again = give_back(current)._replace(number=current.number + 1, losses=losses, ready=now, guarded=True)
        return Decision(again, _record(current, ended, current.attempt + 1))
    return _end_run(job, current, zone, ended, current.started, current.attempt + 1)


def after_cancel(job: Job, current: JobState, now: int, zone: str) -> Decision:
    """The decision after a user cancelled a run that waits: for a retry, or, being due, for a worker."""
    now = max(now, _due(current))  # with a clock that is behind, the same due time would come again
    ended = Ended(CANCELLED, now, now, "cancelled")
    decision = _end_run(job, current, zone, ended, now, current.attempt)
    return decision._replace(run=decision.run and decision.run._replace(started=None))


def _end_run(job: Job, current: JobState, zone: str, ended: Ended, started: int, attempts: int) -> Decision:
    """The decision after a run: the state for the next due time, and the record with the number of missed due times."""
    following = _advance(job, current, zone, started, ended.finished)
    return Decision(following, _record(current, ended, attempts, following.missed - current.missed))


def _advance(job: Job, current: JobState, zone: str, started: int, finished: int) -> JobState:
    """The state for the next due time after a run."""
    if current.manual:
        return _resting(_after_run(job, current, current.resume), job)
    if job.runonce:
        return _after_run(job, current, None)
    try:
        schedule = _current_schedule(job, current, zone)
    except BadValue as error:
        return _after_run(job, current, None)._replace(error=_one_line(error), fingerprint="")
    due, anchor = _due(current), current.anchor or _due(current)
    following = schedule.after(_resume_after(schedule, job.options, due, anchor, started, finished), anchor)
    missed = 0
    if following is not None and following <= due:
        following += GRID_SHIFT
        current = current._replace(anchor=anchor + GRID_SHIFT)
    elif following is not None and not schedule.from_finish:
        missed = schedule.count(due, following - 1, anchor)
    return _resting(_after_run(job, current, following, missed), job)


def _after_run(job: Job, current: JobState, due: int | None, missed: int = 0) -> JobState:
    """The state of a job after a run; `due` is next."""
    return JobState(  # one call without _replace, because each run passes here
        current.job_id,
        due,
        due,
        number=current.number + 1,
        anchor=current.anchor,
        pool=current.pool,
        missed=current.missed + missed,
        fingerprint=current.fingerprint,
        guarded=job.options.on_lost == "fail",
        token=current.token,
        priority=current.priority,
    )


def _resume_after(schedule: Schedule, options: Options, due: int, anchor: int, started: int, finished: int) -> int:
    """The moment after which the next due time is searched: it decides which due times a late or long run misses."""
    if schedule.from_finish:
        return finished
    if options.catch_up == "all":
        return due
    if schedule.aligned:
        after_finish = schedule.after(finished, anchor)
        if after_finish is not None and after_finish <= due:
            return finished  # the clock was set back: continue from its new time
        return max(due, finished)
    if options.catch_up == "none":
        return max(due, finished)
    return max(due, started)  # due times missed during the run are caught up with one run


def _catch_up_all(claimed: JobState, schedule: Schedule, now: int) -> Decision:
    due, anchor = _due(claimed), claimed.anchor or _due(claimed)
    excess = schedule.count(due, now, anchor) - MAX_CATCH_UP + 1
    if excess <= 0:
        return Decision(claimed)
    reached = schedule.newest(due, now, anchor, MAX_CATCH_UP)
    skipped = _record(claimed, Ended(SKIPPED, now, now, f"more than {MAX_CATCH_UP} due times were missed"), 0)
    kept = claimed._replace(due=reached, number=claimed.number + 1, missed=claimed.missed + excess)
    return Decision(kept, skipped._replace(started=None, missed=excess - 1))


def _skip(job: Job, claimed: JobState, schedule: Schedule, now: int, reason: str) -> Decision:
    due, anchor = _due(claimed), claimed.anchor or _due(claimed)
    following = None if job.runonce else schedule.after(max(due, now), anchor)
    passed = 0 if following is None else schedule.count(due, following - 1, anchor)
    free = give_back(claimed)._replace(
        due=following, ready=following, number=claimed.number + 1, missed=claimed.missed + passed + 1
    )
    record = _record(claimed, Ended(SKIPPED, now, now, reason), 0)
    return Decision(free, record._replace(started=None, missed=passed))


def _resume(job: Job, current: JobState, schedule: Schedule, now: int) -> JobState:
    """The state of a job that is resumed or restored.

    Due times during the pause are counted as missed. A requested run, a retry and a single run are still executed.
    """
    due = _due(current)
    if current.manual:
        return current._replace(ready=due)
    following = schedule.after(max(due, now), current.anchor or due)
    if due >= now or following is None or job.runonce or current.attempt:
        return current._replace(ready=due)
    missed = schedule.count(due, following - 1, current.anchor or due) + 1
    return current._replace(due=following, ready=following, missed=current.missed + missed)


def _has_started(current: JobState) -> bool:
    """Whether the current run has had an attempt or a loss: until its end it follows the zone that it started with."""
    return bool(current.attempt or current.losses)


def _current_schedule(job: Job, current: JobState, zone: str) -> Schedule:
    """The job's schedule in the zone that its state follows. Raises BadValue."""
    return schedule_of(job, current_zone(current, zone))


def _schedule_before(job: Job, current: JobState) -> Schedule | None:
    """The job's schedule in the zone that its state follows, even if the job now names another; None: not known."""
    zone, _ = zone_of(current.fingerprint)
    try:
        return schedule_of(job._replace(options=job.options._replace(timezone=zone)), zone) if zone else None
    except BadValue:
        return None


def _resting(current: JobState, job: Job) -> JobState:
    return current._replace(ready=None) if job.deleted or job.options.paused else current


def _backoff(options: Options, attempts: int, random: float) -> int:
    if not options.backoff:
        return 0
    longest = options.backoff_max if options.backoff_max is not None else HOUR
    delay = doubled(options.backoff, attempts - 1, longest)
    return max(1, round(delay * (1 + BACKOFF_JITTER * (2 * random - 1))))


def _record(current: JobState, ended: Ended, attempts: int, missed: int = 0) -> Run:
    return Run(
        current.job_id,
        current.number,
        _due(current),
        _first_start(current, ended),
        ended.finished,
        attempts,
        ended.outcome,
        current.node,
        ended.error,
        ended.result,
        missed,
    )


def _first_start(current: JobState, ended: Ended) -> int:
    """The start of the current run (µs): that of its first attempt, unless the claim was given back since then."""
    return ended.started if current.started is None or not current.attempt else current.started


def _due(current: JobState) -> int:
    if current.due is None:
        raise ValueError(f"job {current.job_id} has nothing due")
    return current.due


def _one_line(error: BadValue) -> str:
    return " ".join(f"{error}; {error.hint}".strip("; ").split())[:MAX_STATE_ERROR]
