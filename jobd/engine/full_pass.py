"""Work that concerns every job (daemon start, new plugins or zones, a clock set back), in slices, one per cycle.

A single transaction over a million jobs would take seconds, in which nothing else could be claimed or written.
"""

from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle
from jobd.clock import SECOND, Clock
from jobd.fingerprint import follows_another
from jobd.job import LOWEST_ID
from jobd.schedule import is_at_start
from jobd.schedule.zone import MAX_CLOCK_CORRECTION, rules_version
from jobd.store import installation, slices
from jobd.store import schedule_table as table
from jobd.store.store import Session

JOBS_PER_SLICE = 2_000  # so that each slice delays its cycle only a little
CLOCK_TOLERANCE = SECOND  # smaller differences are NTP corrections


class FullPass(NamedTuple):
    """The work of a pass over all jobs, and its progress."""

    starting: bool = False  # request a run of each job whose schedule is the start of a daemon (@reboot)
    wake: bool = False  # make jobs ready again whose task was unknown
    zones: bool = False  # re-plan jobs that follow another zone than the installation's, or older zone rules
    all_zones: bool = False  # the zone rules have changed, so check the jobs of every zone
    put_back: int = 0  # re-plan jobs that wait for a time which the clock, set back by this many µs, will reach again
    after: int = LOWEST_ID  # the jobs up to this id are done


class FullPasses:
    """The passes that are to be done, one after the other, and the watch over the wall clock that requests some."""

    def __init__(self, first: FullPass, clock: Clock) -> None:
        self._passes = [first]
        self._clock = clock
        self._ahead = clock.wall() - clock.monotonic()  # µs by which the wall clock is ahead of the monotonic clock

    def __bool__(self) -> bool:
        return bool(self._passes)

    def first(self) -> FullPass | None:
        """The pass to go on with, or None."""
        return self._passes[0] if self._passes else None

    def add(self, new: FullPass) -> None:
        """Add a pass, or merge it into the last of several. The first pass may have started already."""
        if len(self._passes) < 2:
            self._passes.append(new)
            return
        last = self._passes[-1]
        self._passes[-1] = last._replace(
            wake=last.wake or new.wake, zones=last.zones or new.zones, put_back=last.put_back + new.put_back
        )

    def slice_done(self, rest: FullPass | None) -> None:
        """Note what is left of the first pass; None: it is complete."""
        self._passes[:1] = [rest] if rest is not None else []

    def check_clock(self, now: int) -> bool:
        """If the wall clock was set back, have the jobs re-planned that would wait for the old time to come again.

        Returns whether it was. `now` is monotonic µs.
        """
        ahead = self._clock.wall() - now
        put_back = self._ahead - ahead
        self._ahead = ahead
        if put_back <= CLOCK_TOLERANCE:
            return False
        self.add(FullPass(put_back=put_back))
        return True


def run_slice(session: Session, work: FullPass, now: int, zone: str) -> FullPass | None:
    """Do the next slice of a pass; the rest of the pass, or None at its end. `now` is wall-clock µs."""
    if work.zones and work.after == LOWEST_ID:
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
            installation.note_zone_check(session, rules_version(), zone)
    return work._replace(after=until) if more else None


def _with_zone_checks(session: Session, work: FullPass, zone: str) -> FullPass:
    """`work` at its start, with `zones` and `all_zones` set as needed.

    A start usually needs no zone check, which would cost seconds of processor time for a million jobs. A node that has
    just adopted another zone always checks: it may have planned jobs by its old zone after other nodes had checked.
    """
    version, checked_for = installation.last_zone_check(session)
    is_new = version != rules_version()
    return work._replace(zones=is_new or checked_for != zone or not work.starting, all_zones=is_new)


def clock_set_back_by(session: Session, wall: Callable[[], int], instance: str) -> int:
    """By how many µs the clock was set back while no daemon of this instance ran: its last run ends in the future.

    Runs of other instances do not count, because their clocks may be ahead. The clock is read again after the query,
    which may be slow.
    """
    ahead = table.last_finished(session, instance, wall() + CLOCK_TOLERANCE) - wall()
    return ahead if ahead > CLOCK_TOLERANCE else 0


def _start_jobs(session: Session, ids: list[int], now: int, zone: str) -> None:
    """Request a run at `now` for each of these jobs that is due at a start and has no run in progress or requested."""
    states = []
    for one in table.load_for_update(session, ids) if ids else ():
        job = one.job
        if job is None or one.problem is not None or job.options.paused or not is_at_start(job.interval):
            continue
        state = lifecycle.after_change(job, one.state, now, zone)
        requested = state.node or state.manual or state.attempt
        if state.error is None and not requested and not (job.runonce and state.number > 1):
            states.append(lifecycle.request(state, now))
    if states:
        table.save_states(session, states)


def _move_jobs(session: Session, work: FullPass, until: int, now: int, zone: str) -> None:
    """Re-plan the jobs of a slice that do not follow `zone`. Claimed jobs keep their zone until their run has ended."""
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
