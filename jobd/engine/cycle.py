"""One cycle of the keeper, as one transaction: its input, its steps and its result.

It may be retried, so it has no effect outside the database; the caller applies the result after the commit.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobd import lifecycle
from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.definition import with_defaults
from jobd.engine.changes import AppliedChanges, ChangeApplier
from jobd.engine.demand import MAX_SHARED_CLAIMS, Capacity
from jobd.engine.full_pass import FullPass, run_slice
from jobd.engine.messages import RunStarted
from jobd.engine.release import KnownStarts, release_claims
from jobd.engine.share import Share, claims_to_add, share_of
from jobd.engine.takeover import UnregisteredNode, unregistered_nodes
from jobd.fingerprint import follows_another
from jobd.job import Job
from jobd.settings import Settings
from jobd.store import installation, nodes, output
from jobd.store import schedule_table as table
from jobd.store.installation import ProposedZone
from jobd.store.schedule_table import NONE_EXCLUDED, Claimed, Excluded
from jobd.store.store import Session


class CycleInput(NamedTuple):
    """The work of a cycle. `wall`, `claim_by`, `urgent_by` and `last_call_by` are wall-clock µs.

    `wall` is now. Jobs that are ready by `claim_by` may be claimed. Jobs that are ready by `urgent_by` cannot wait for
    a later cycle. Jobs that are ready by `last_call_by` may be claimed beyond this node's share.
    """

    node: int
    wall: int
    claim_by: int
    urgent_by: int
    last_call_by: int
    beat: bool  # advance the heartbeat, and compare the claims in the table with `held`
    read_peers: bool  # read the live nodes
    find_unregistered: bool  # read the nodes that have claims but are not registered
    updates: Sequence[ClaimUpdate]
    starts_to_record: Sequence[RunStarted]
    printed: Sequence[OutputPart]
    held: Mapping[int, int]  # job id → fencing token of each claim that this node holds
    known_starts: KnownStarts  # starts of runs whose claims this node no longer holds
    full_pass: FullPass | None  # the current pass over all jobs
    pools: Mapping[str, int] | None  # the workers per pool to record in this node's row; None: no change
    capacities: Mapping[str, Capacity]  # by pool
    shares: Mapping[str, Share | None]  # by pool, as of the last cycle that read the peers
    priorities: Mapping[str, Sequence[int]]  # by pool: the last known priorities of its unclaimed jobs
    proposed_zone: ProposedZone | None = None  # this node's zone, after a start or a reload, for the nodes to agree on
    excluded: Excluded = NONE_EXCLUDED  # jobs not to claim


class CycleResult:
    """The result of a cycle."""

    def __init__(self) -> None:
        self.live: list[nodes.NodeRow] | None = None  # None: not read
        self.shares: dict[str, Share | None] | None = None  # by pool (None: no other node serves it); None: not read
        self.unregistered: list[UnregisteredNode] | None = None  # None: not read
        self.declared_dead = False  # this node; then the cycle did nothing else
        self.accepted: set[int] = set()  # the jobs whose updates are recorded
        self.recorded_starts: set[int] = set()  # the jobs whose starts are recorded
        self.vanished: dict[int, int] = {}  # job id → fencing token of held claims that the table does not have
        self.changes = AppliedChanges()
        self.full_pass: FullPass | None = None  # the rest of the pass; None: it is complete
        self.zone: str | None = None  # of jobs that name no zone; None: not read
        self.claimed: set[int] = set()  # job ids, including those that were released again in this cycle
        self.claims: list[Claim] = []
        self.more: set[str] = set()  # pools that may have more jobs to claim
        self.next_ready: dict[str, int | None] = {}  # by pool: the first ready time of its unclaimed jobs; None: none
        self.priorities: dict[str, tuple[int, ...]] = {}  # by pool: of its unclaimed jobs, the highest first
        self.errors: list[tuple[str, str]] = []  # (job, error) of claimed jobs that cannot run


def run_cycle(session: Session, work: CycleInput, settings: Settings) -> CycleResult:
    """Record outcomes, apply changes that users made, claim jobs that are due soon."""
    result = CycleResult()
    # Check this in every cycle: no node would ever take over what this one claims after it was declared dead.
    if not (nodes.beat if work.beat else nodes.is_registered)(session, work.node):
        result.declared_dead = True
        return result
    if work.pools is not None:
        nodes.record_pools(session, work.node, work.pools)
    if work.read_peers:
        result.live = nodes.live(session)
        result.zone = installation.zone(session)
    if work.proposed_zone is not None:
        result.zone = installation.agree_on_zone(session, work.node, work.proposed_zone)
    if result.zone is not None and result.zone != settings.timezone:
        settings = settings._replace(timezone=result.zone)
    if work.find_unregistered:
        result.unregistered = unregistered_nodes(session)
    if work.printed:  # before the outcomes, whose last parts say which earlier parts to drop
        # Drop output of claims that this node no longer holds: the next attempt may have the same run number.
        jobs = sorted({part.job_id for part in work.printed})
        held = {
            job_id: state.token
            for job_id, state in table.states_for_update(session, jobs).items()
            if state.node == work.node
        }
        output.save(session, [part for part in work.printed if held.get(part.job_id) == part.token])
    if work.updates:
        result.accepted = table.record(session, work.updates, work.wall)
        _refresh_moved(session, work.updates, settings.timezone)
    if work.beat:
        _compare_claims(session, work, settings, result)
    if work.starts_to_record:
        started = [(one.job_id, one.token, one.started) for one in work.starts_to_record]
        result.recorded_starts = table.record_starts(session, work.node, started)
    if work.full_pass is not None:
        result.full_pass = run_slice(session, work.full_pass, work.wall, settings.timezone)
    result.changes = ChangeApplier(work.node, work.wall, settings.timezone, settings.defaults).apply(session)
    if result.live is not None:
        result.shares = {pool: _share(session, work, settings, pool, result.live) for pool in work.capacities}
    shares = work.shares if result.shares is None else result.shares
    for pool, capacity in work.capacities.items():
        if capacity.room > 0 or (capacity.now > 0 and shares.get(pool) is not None):
            _claim(session, work, settings, pool, capacity, shares.get(pool), result)
        else:
            result.more.add(pool)
            if capacity.overtaking > 0 and (
                work.read_peers or result.changes.touched or len(_known_priorities(work, pool)) > 1
            ):
                _claim_higher(session, work, settings, pool, capacity, result)
    return result


def _share(
    session: Session, work: CycleInput, settings: Settings, pool: str, live: Sequence[nodes.NodeRow]
) -> Share | None:
    others = [row.pools.get(pool, 0) for row in live if row.id != work.node]
    if not any(others):
        return None
    live_nodes, most = [row.id for row in live], MAX_SHARED_CLAIMS * len(live)
    in_play = table.claimed_or_ready(session, pool, live_nodes, work.claim_by, most, _known_priorities(work, pool))
    return share_of(in_play, settings.pools.get(pool, 0), others, work.shares.get(pool))


def _refresh_moved(session: Session, updates: Sequence[ClaimUpdate], zone: str) -> None:
    """Have jobs re-planned whose run has ended and whose next due time follows a former zone of the installation."""
    ended = [one.state for one in updates if one.run is not None and not one.state.node]
    left = [state.job_id for state in ended if state.due is not None and follows_another(state.fingerprint, zone)]
    if left:
        table.record_changes(session, left, "changed")


def _compare_claims(session: Session, work: CycleInput, settings: Settings, result: CycleResult) -> None:
    """Reconcile the claims in the table with those that this node holds.

    They may differ if the result of a commit was unknown (it may even take effect later), if runs were ended with the
    lease, if the database lost committed transactions, or if a user edited the table.
    """
    stored = table.tokens_of(session, work.node)
    released = {(one.state.job_id, one.token) for one in work.updates if not one.state.node}
    held = {job_id: token for job_id, token in work.held.items() if (job_id, token) not in released}
    # If a claim has another token, its run is killed first. The job is released after this node has abandoned it.
    kept = {job_id: token for job_id, token in stored.items() if job_id in held}
    if len(kept) < len(stored):
        release_claims(
            session, work.node, kept, work.known_starts, work.wall, settings, "the database was out of reach"
        )
    result.vanished = {job_id: token for job_id, token in held.items() if stored.get(job_id) != token}


def _known_priorities(work: CycleInput, pool: str) -> Sequence[int]:
    return work.priorities.get(pool, (0,))


def _earliest(firsts: Mapping[int, int | None]) -> int | None:
    return min((moment for moment in firsts.values() if moment is not None), default=None)


def _claim(
    session: Session,
    work: CycleInput,
    settings: Settings,
    pool: str,
    capacity: Capacity,
    share: Share | None,
    result: CycleResult,
) -> None:
    firsts = table.first_ready(session, pool, _known_priorities(work, pool), work.excluded)
    result.priorities[pool] = tuple(firsts)
    first = _earliest(firsts)
    if first is None or first > work.urgent_by:
        result.next_ready[pool] = first
        return

    def claim(until: int, limit: int) -> list[Claimed]:
        return table.claim(session, work.node, pool, until, limit, work.excluded, firsts) if first <= until else []

    if share is None:
        # A job that is ready soon must not delay a job that is ready sooner, even one of a lower priority.
        several = len(firsts) > 1
        claimed = claim(work.last_call_by, capacity.room) if several else []
        if left := capacity.room - len(claimed):
            until = table.ready_by(session, pool, firsts, work.claim_by, left) if several else work.claim_by
            claimed += claim(until, left)
        full = len(claimed) >= capacity.room
    else:
        claimed = claim(work.last_call_by, capacity.now)
        full = first <= work.last_call_by and len(claimed) >= capacity.now  # the rest is for other nodes
        more = min(claims_to_add(share, capacity.before, capacity.holding), capacity.room) - len(claimed)
        if more > 0 and not full:
            claimed += claim(work.claim_by, more)
    _accept_claims(session, work, settings, claimed, result)
    if not full:
        result.next_ready[pool] = _earliest(table.first_ready(session, pool, tuple(firsts), work.excluded))
    else:
        result.more.add(pool)


def _claim_higher(
    session: Session, work: CycleInput, settings: Settings, pool: str, capacity: Capacity, result: CycleResult
) -> None:
    """Claim ready jobs that have a higher priority than jobs that already wait for a worker here."""

    def higher(known: Sequence[int]) -> dict[int, int | None]:
        firsts = table.first_ready(session, pool, known, work.excluded)
        result.priorities[pool] = tuple(firsts)
        return {priority: first for priority, first in firsts.items() if priority > capacity.priority}

    firsts = higher(_known_priorities(work, pool))
    if (first := _earliest(firsts)) is not None and first <= work.last_call_by:
        claimed = table.claim(session, work.node, pool, work.last_call_by, capacity.overtaking, work.excluded, firsts)
        _accept_claims(session, work, settings, claimed, result)
        firsts = higher(result.priorities[pool])
    result.next_ready[pool] = _earliest(firsts)


def _accept_claims(
    session: Session, work: CycleInput, settings: Settings, claimed: Sequence[Claimed], result: CycleResult
) -> None:
    """Add claimed jobs to the result, and record the states that differ from those in the table."""
    corrections: list[ClaimUpdate] = []
    result.claimed.update(one.state.job_id for one in claimed)
    for one in claimed:
        job = with_defaults(one.job, settings.defaults) if one.job is not None else None
        decision = _decide_start(job, one, work.wall, settings.timezone, result)
        if job is not None and decision.state.node:
            result.claims.append(Claim(job, decision.state))
        # This includes a changed due time: if the run is lost, it is recorded with the due time that the task received.
        if decision != lifecycle.Decision(one.state):
            corrections.append(ClaimUpdate(work.node, one.state.token, decision.state, decision.run, ()))
    if corrections:
        table.record(session, corrections, work.wall)


def _decide_start(job: Job | None, one: Claimed, wall: int, zone: str, result: CycleResult) -> lifecycle.Decision:
    if job is None or one.problem is not None:
        problem = one.problem or "its definition cannot be read"
        result.errors.append((job.name if job else f"job {one.state.job_id}", problem))
        return lifecycle.Decision(one.state._replace(node=0, started=None, ready=None, error=problem))
    decision = lifecycle.after_claim(job, one.state, wall, zone)
    if decision.state.error is not None and decision.releases:
        result.errors.append((job.name, decision.state.error))
    return decision
