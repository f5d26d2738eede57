"""One turn of the keeper, as a transaction: all that it does in the database, and what that brought.

It may be repeated, so it changes nothing outside of the database; what it brought takes effect when the commit has.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobd import lifecycle
from jobd.config import Settings
from jobd.engine.changes import Findings, Looker
from jobd.engine.messages import Began
from jobd.engine.queue import Item
from jobd.engine.share import Share, ahead, share_of
from jobd.engine.sweep import Sweep, sweep
from jobd.engine.takeover import Begun, Gone, give_on, gone
from jobd.job import Job
from jobd.store import installation, nodes, output
from jobd.store import schedule_table as table
from jobd.store.installation import SaidZone
from jobd.store.output import Part
from jobd.store.schedule_table import NOTHING, Claimed, Settlement, Without
from jobd.store.store import Session
from jobd.zoned import follows_another

MOST_SHARED = 500  # claims of a pool beside other nodes, so that all have their share to the end


class Want(NamedTuple):
    """The claims that a pool can take: `room`, and while other nodes serve the pool at most `now` of ready jobs.

    The pool holds `holding` claims, and held `before` when the turn began. Where it has no room, there is some for
    `over` ready jobs with a priority above `above`.
    """

    room: int
    now: int
    holding: int
    before: int
    over: int = 0
    above: int = 0


NO_ROOM = Want(0, 0, 0, 0)


class Work(NamedTuple):
    """What a turn is to do. `wall` and `until` are moments: now, and as far ahead as claims reach.

    `urgent` and `call` are two more: what is ready by then cannot wait for a later turn, and is nobody's share.
    """

    node: int
    wall: int
    until: int
    urgent: int
    call: int
    beat: bool  # move the heartbeat on, and see whether the table agrees with `held`
    look_around: bool  # read who else lives
    look_for_gone: bool  # and who has claims although it does not
    settlements: Sequence[Settlement]
    began: Sequence[Began]
    printed: Sequence[Part]
    held: Mapping[int, int]  # job → fencing token of all that this node holds
    begun: Begun  # of what it holds no more, the runs that had begun
    sweep: Sweep | None  # what concerns all jobs, as far as it has come
    pools: Mapping[str, int] | None  # tell the others how many workers this node has in each
    wanted: Mapping[str, Want]  # by pool
    shares: Mapping[str, Share | None]  # by pool, as of the last look around
    priorities: Mapping[str, Sequence[int]]  # by pool, those of its unclaimed jobs, as found last
    said: SaidZone | None = None  # the zone to be agreed on, after a start or a reload
    without: Without = NOTHING


class Done:
    """What a turn brought."""

    def __init__(self) -> None:
        self.live: list[nodes.NodeRow] | None = None
        self.shares: dict[str, Share | None] | None = None  # by pool, where it looked around
        self.gone: list[Gone] | None = None
        self.buried = False
        self.accepted: set[int] = set()
        self.marked: set[int] = set()
        self.vanished: dict[int, int] = {}  # job → token of what the table says this node holds no more
        self.found = Findings()
        self.sweep: Sweep | None = None  # what is left of it
        self.zone: str | None = None  # of jobs that name none, where it was looked up
        self.claimed: set[int] = set()  # jobs, also those that have not become items
        self.items: list[Item] = []
        self.more: set[str] = set()
        self.next_ready: dict[str, int | None] = {}
        self.priorities: dict[str, tuple[int, ...]] = {}  # by pool, those of its unclaimed jobs, the highest first
        self.errors: list[tuple[str, str]] = []


def turn(session: Session, work: Work, settings: Settings) -> Done:
    """Hand in outcomes, look at what people changed, claim what is due soon."""
    done = Done()
    # Asked in every turn: what a node claims after it was buried, nobody would ever take over.
    if not (nodes.beat if work.beat else nodes.still_lives)(session, work.node):
        done.buried = True
        return done
    if work.pools is not None:
        nodes.note_pools(session, work.node, work.pools)
    if work.look_around:
        done.live = nodes.live(session)
        done.zone = installation.zone(session)
    if work.said is not None:
        done.zone = installation.agree_on_zone(session, work.node, work.said)
    if done.zone is not None and done.zone != settings.timezone:
        settings = settings._replace(timezone=done.zone)
    if work.look_for_gone:
        done.gone = gone(session)
    if work.printed:  # before the outcomes, whose last words say which of it is to be dropped
        # A run of a claim that has passed on writes no more: the next attempt may have the same number.
        jobs = sorted({part.job_id for part in work.printed})
        held = {job_id: plan.token for job_id, plan in table.plans(session, jobs).items() if plan.node == work.node}
        output.save(session, [part for part in work.printed if held.get(part.job_id) == part.token])
    if work.settlements:
        done.accepted = table.settle(session, work.settlements)
        _move_ended(session, work.settlements, settings.timezone)
    if work.beat:
        _compare_claims(session, work, settings, done)
    if work.began:
        began = [(one.job_id, one.token, one.started) for one in work.began]
        done.marked = table.mark_started(session, work.node, began)
    if work.sweep is not None:
        done.sweep = sweep(session, work.sweep, work.wall, settings.timezone)
    done.found = Looker(work.node, work.wall, settings.timezone, settings.defaults).look(session)
    if done.live is not None:
        done.shares = {pool: _share(session, work, settings, pool, done.live) for pool in work.wanted}
    shares = work.shares if done.shares is None else done.shares
    for pool, want in work.wanted.items():
        if want.room > 0 or (want.now > 0 and shares.get(pool) is not None):
            _claim(session, work, settings, pool, want, shares.get(pool), done)
        else:
            done.more.add(pool)
            if want.over > 0 and (work.look_around or done.found.touched or len(_known(work, pool)) > 1):
                _overtake(session, work, settings, pool, want, done)
    return done


def _share(session: Session, work: Work, settings: Settings, pool: str, live: Sequence[nodes.NodeRow]) -> Share | None:
    others = [row.pools.get(pool, 0) for row in live if row.id != work.node]
    if not any(others):
        return None
    live_nodes, most = [row.id for row in live], MOST_SHARED * len(live)
    in_play = table.in_play(session, pool, live_nodes, work.until, most, _known(work, pool))
    return share_of(in_play, settings.pools.get(pool, 0), others, work.shares.get(pool))


def _move_ended(session: Session, settlements: Sequence[Settlement], zone: str) -> None:
    """Have those jobs looked at whose run is over and whose next due time follows a zone of before."""
    ended = [one.plan for one in settlements if one.run is not None and not one.plan.node]
    left = [plan.job_id for plan in ended if plan.due is not None and follows_another(plan.basis, zone)]
    if left:
        table.note_changes(session, left, "changed")


def _compare_claims(session: Session, work: Work, settings: Settings, done: Done) -> None:
    """Have the table and this node agree on what it holds.

    They may differ when the outcome of a commit is unknown (it may even come to pass later), when runs were ended with
    the lease, when the database forgot what it had committed, or when somebody edited the table by hand.
    """
    stored = table.tokens_of(session, work.node)
    settled = {(one.plan.job_id, one.token) for one in work.settlements if not one.plan.node}
    held = {job_id: token for job_id, token in work.held.items() if (job_id, token) not in settled}
    # A run whose claim has another token is ended first. The job is given on when this node has let go of the claim.
    kept = {job_id: token for job_id, token in stored.items() if job_id in held}
    if len(kept) < len(stored):
        give_on(session, work.node, kept, work.begun, work.wall, settings, "the database was out of reach")
    done.vanished = {job_id: token for job_id, token in held.items() if stored.get(job_id) != token}


def _known(work: Work, pool: str) -> Sequence[int]:
    return work.priorities.get(pool, (0,))


def _earliest(firsts: Mapping[int, int | None]) -> int | None:
    return min((moment for moment in firsts.values() if moment is not None), default=None)


def _claim(
    session: Session, work: Work, settings: Settings, pool: str, want: Want, share: Share | None, done: Done
) -> None:
    firsts = table.first_ready(session, pool, _known(work, pool), work.without)
    done.priorities[pool] = tuple(firsts)
    first = _earliest(firsts)
    if first is None or first > work.urgent:
        done.next_ready[pool] = first
        return

    def claim(until: int, limit: int) -> list[Claimed]:
        return table.claim(session, work.node, pool, until, limit, work.without, firsts) if first <= until else []

    if share is None:
        # A job that is ready soon must not delay a job that is ready sooner, even one of a lower priority.
        claimed = claim(work.call, want.room) if len(firsts) > 1 else []
        if left := want.room - len(claimed):
            several = len(firsts) > 1
            claimed += claim(table.ready_by(session, pool, firsts, work.until, left) if several else work.until, left)
        full = len(claimed) >= want.room
    else:
        claimed = claim(work.call, want.now)
        full = first <= work.call and len(claimed) >= want.now  # then the oldest that are left are not for this node
        more = min(ahead(share, want.before, want.holding), want.room) - len(claimed)
        if more > 0 and not full:
            claimed += claim(work.until, more)
    _begin(session, work, settings, claimed, done)
    if not full:
        done.next_ready[pool] = _earliest(table.first_ready(session, pool, tuple(firsts), work.without))
    else:
        done.more.add(pool)


def _overtake(session: Session, work: Work, settings: Settings, pool: str, want: Want, done: Done) -> None:
    """Claim what is to begin before others that wait here already."""

    def higher(known: Sequence[int]) -> dict[int, int | None]:
        firsts = table.first_ready(session, pool, known, work.without)
        done.priorities[pool] = tuple(firsts)
        return {priority: first for priority, first in firsts.items() if priority > want.above}

    firsts = higher(_known(work, pool))
    if (first := _earliest(firsts)) is not None and first <= work.call:
        claimed = table.claim(session, work.node, pool, work.call, want.over, work.without, firsts)
        _begin(session, work, settings, claimed, done)
        firsts = higher(done.priorities[pool])
    done.next_ready[pool] = _earliest(firsts)


def _begin(session: Session, work: Work, settings: Settings, claimed: Sequence[Claimed], done: Done) -> None:
    """What has been claimed becomes items, or is corrected."""
    corrections: list[Settlement] = []
    done.claimed.update(one.plan.job_id for one in claimed)
    for one in claimed:
        job = lifecycle.filled(one.job, settings.defaults) if one.job is not None else None
        step = _take(job, one, work.wall, settings.timezone, done)
        if job is not None and step.plan.node:
            done.items.append(Item(job, step.plan))
        if step != lifecycle.Step(one.plan):  # also a due time: a run that is lost is recorded with the one it was told
            corrections.append(Settlement(work.node, one.plan.token, step.plan, step.run, ()))
    if corrections:
        table.settle(session, corrections)


def _take(job: Job | None, one: Claimed, wall: int, zone: str, done: Done) -> lifecycle.Step:
    if job is None or one.problem is not None:
        problem = one.problem or "its definition cannot be read"
        done.errors.append((job.name if job else f"job {one.plan.job_id}", problem))
        return lifecycle.Step(one.plan._replace(node=0, started=None, ready=None, error=problem))
    step = lifecycle.take(job, one.plan, wall, zone)
    if step.plan.error is not None and not step.plan.node:
        done.errors.append((job.name, step.plan.error))
    return step
