"""What concerns all jobs: a start of a daemon, new plugins or zones, a clock put back. Done in slices, one a cycle.

With a million jobs one look at all of them takes seconds, for which nothing else would be claimed or written.
"""

from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle
from jobd.clock import SECOND
from jobd.fingerprint import follows_another
from jobd.schedule import is_at_start
from jobd.schedule.zone import MAX_CLOCK_CORRECTION, rules_version
from jobd.store import installation, slices
from jobd.store import schedule_table as table
from jobd.store.store import Session

JOBS_PER_SLICE = 2_000  # jobs at a time
CLOCK_TOLERANCE = SECOND  # by less than this a clock is not put back, but kept right
_LOWEST_ID = -(2**63)


class FullPass(NamedTuple):
    """What all jobs are looked at for, and how far that has come."""

    starting: bool = False  # ask for a run of those that are due when a daemon starts
    wake: bool = False  # offer those again whose task was unknown
    zones: bool = False  # move those to the zone of the installation that follow another, or older rules
    all_zones: bool = False  # there are new rules: all that follow any zone are to be looked at
    put_back: int = 0  # have those looked at that wait for a time which the clock, put back by so much, has yet to show
    after: int = _LOWEST_ID  # the jobs up to this id have been looked at


def add_pass(sweeps: list[FullPass], new: FullPass) -> list[FullPass]:
    """`sweeps` and `new`. The first of `sweeps` may have begun; `new` is merged into a later one, if there is one."""
    if len(sweeps) < 2:
        return [*sweeps, new]
    last = sweeps[-1]
    both = last._replace(
        wake=last.wake or new.wake, zones=last.zones or new.zones, put_back=last.put_back + new.put_back
    )
    return [*sweeps[:-1], both]


def run_slice(session: Session, work: FullPass, now: int, zone: str) -> FullPass | None:
    """Look at the next slice of the jobs; what is left to do."""
    if work.zones and work.after == _LOWEST_ID:
        work = _with_zone_checks(session, work, zone)
    until, more = slices.slice_end(session, work.after, JOBS_PER_SLICE)
    if work.wake:
        slices.wake_unresolved(session, work.after, until)
    if work.put_back:
        slices.note_clock(
            session, now, "far back" if work.put_back >= MAX_CLOCK_CORRECTION else "back", work.after, until
        )
    if work.starting:
        _start_jobs(session, slices.due_at_start(session, work.after, until), now, zone)
    if work.zones:
        _move_jobs(session, work, until, now, zone)
        if not more:
            installation.note_looked_at(session, rules_version(), zone)
    return work._replace(after=until) if more else None


def _with_zone_checks(session: Session, work: FullPass, zone: str) -> FullPass:
    """`work` with what the zones ask for, at its beginning.

    At a start, mostly nothing: to look at a million jobs takes some seconds of processor time. A node that has just
    heard of another zone looks in any case: it may have planned by the one before after others had looked.
    """
    version, looked_for = installation.looked_at(session)
    is_new = version != rules_version()
    return work._replace(zones=is_new or looked_for != zone or not work.starting, all_zones=is_new)


def clock_set_back_by(session: Session, wall: Callable[[], int], instance: str) -> int:
    """By how much the clock was put back while no daemon of this instance ran: it has runs that end in the future.

    Those of others tell nothing: their clocks may be ahead of this one. The clock is read again after the history: the
    way there may be slow.
    """
    ahead = table.last_finished(session, instance, wall() + CLOCK_TOLERANCE) - wall()
    return ahead if ahead > CLOCK_TOLERANCE else 0


def _start_jobs(session: Session, ids: list[int], now: int, zone: str) -> None:
    """Ask for a run, at `now`, of those of these jobs that are due at a start. What runs already is left alone."""
    states = []
    for one in table.load_for_update(session, ids) if ids else ():
        job = one.job
        if job is None or one.problem is not None or job.options.paused or not is_at_start(job.interval):
            continue
        state = lifecycle.after_change(job, one.state, now, zone)
        asked_for = state.node or state.manual or state.attempt
        if state.error is None and not asked_for and not (job.runonce and state.number > 1):
            states.append(lifecycle.request(state, now))
    if states:
        table.save_states(session, states)


def _move_jobs(session: Session, work: FullPass, until: int, now: int, zone: str) -> None:
    """Move those jobs of a slice to `zone` that follow another. What is claimed keeps its own until its run is over."""
    found = slices.unclaimed_fingerprints(session, work.after, until)
    ids = [job_id for job_id, fingerprint in found if follows_another(fingerprint, zone, work.all_zones)]
    states = []
    for one in table.load_for_update(session, ids) if ids else ():
        if one.job is None or one.problem is not None or one.state is None or one.state.node:
            continue
        state = lifecycle.after_change(one.job, one.state, now, zone)
        if work.all_zones:
            state = lifecycle.after_zone_change(one.job, state, now, zone)
        if state != one.state:
            states.append(state)
    if states:
        table.save_states(session, states)
