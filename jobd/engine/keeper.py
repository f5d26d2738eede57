"""The keeper: the only thread that uses the store.

Each cycle is one transaction: record outcomes, apply changes that users made, claim jobs that are due soon. Outcomes
that arrive during a commit are batched into the next one. The keeper also advances the node's heartbeat and takes
over from nodes whose heartbeat has stopped (see jobd.engine.lease). During a database outage, runs continue; the
keeper holds all unwritten outcomes and writes them when the database is back.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from jobd import logs
from jobd.claim import ClaimUpdate
from jobd.clock import SECOND, Clock
from jobd.engine.budget import Budget
from jobd.engine.claims import HeldClaims
from jobd.engine.cycle import CycleInput, CycleResult, run_cycle
from jobd.engine.cycle_timer import BATCH_WINDOW_MIN, CLAIM_AHEAD, MAX_UPDATES, CycleTimer
from jobd.engine.delivery import deliver_spool, may_be_one_outcome, record_one_by_one
from jobd.engine.demand import NO_CAPACITY, Capacity, Demand, capacities
from jobd.engine.full_pass import FullPass, FullPasses, clock_set_back_by
from jobd.engine.mailbox import Mailbox
from jobd.engine.membership import Membership
from jobd.engine.messages import (
    Abandoned,
    ClaimMore,
    ClaimVanished,
    DatabaseState,
    DeclaredDead,
    Drain,
    KeeperEnded,
    LeaseRenewed,
    NewClaims,
    NodeRegistered,
    OtherNodes,
    OutputPrinted,
    PoolsShared,
    Recalled,
    Refresh,
    RunStarted,
    SettingsChanged,
    SignOff,
    StartRecorded,
    ToDispatch,
    ToKeeper,
    Unresolved,
)
from jobd.engine.missing_schedules import MissingScheduleScan
from jobd.engine.nodelock import Locks
from jobd.engine.outage import Outage
from jobd.engine.pending_updates import PendingUpdates
from jobd.engine.polling import Polling
from jobd.engine.problems import LoggedProblems
from jobd.engine.pruner import Pruner
from jobd.engine.recalls import Recalls
from jobd.engine.release import KnownStarts, give_back_unstarted
from jobd.engine.share import last_call
from jobd.engine.sharing import Sharing
from jobd.engine.spool import Spool
from jobd.engine.takeover import DeadNode, UnregisteredNode, take_over, unregistered_nodes
from jobd.errors import DatabaseUnavailable, JobdError, OutcomeUnknown
from jobd.schedule.zone import rules_version
from jobd.settings import Settings
from jobd.store import nodes
from jobd.store.installation import ProposedZone
from jobd.store.schedule_table import NONE_EXCLUDED
from jobd.store.store import Session, Store

SIGN_OFF_TIMEOUT = 10 * SECOND  # a stopping daemon stops writing outcomes after this time


class Keeper:
    """The keeper's state and steps. The keeper reads `inbox`; the dispatch loop reads `outbox`.

    `demands` gives for each pool a function from a horizon in µs to its Demand; it is called in the keeper's thread.
    `known_starts` are the starts that the previous daemon recorded. Fields named `…_at` are monotonic µs.
    """

    def __init__(
        self,
        settings: Settings,
        open_store: Callable[[], Store],
        instance: str,
        locks: Locks,
        clock: Clock,
        demands: Mapping[str, Callable[[int], Demand]],
        known_starts: KnownStarts,
        spool: Spool,
        inbox: Mailbox[ToKeeper],
        outbox: Mailbox[ToDispatch],
        budget: Budget,
    ) -> None:
        self.inbox = inbox
        self.membership = Membership(instance, locks, clock, settings.lease)
        self.outage = Outage()
        self.last_step_at = clock.monotonic()  # the start of the last step
        self._settings = settings
        self._open_store = open_store
        self._store: Store
        self._instance = instance
        self._clock = clock
        self._demands = demands
        self._outbox = outbox
        self._budget = budget
        self._held = HeldClaims(known_starts)
        self._pending = PendingUpdates(spool, budget)
        self._starts_to_record: dict[int, RunStarted] = {}
        self._recalls = Recalls()
        self._timer = CycleTimer()
        self._sharing = Sharing()
        self._polling = Polling()
        self._proposed_zone: ProposedZone | None = _proposed_zone(settings)  # not yet agreed on with the other nodes
        self._full_passes = FullPasses(FullPass(starting=True, wake=True, zones=True), clock)
        self._pruner = Pruner(clock)
        self._schedule_scan = MissingScheduleScan(clock, settings.lease)
        self._problems = LoggedProblems()
        self._publish_pools = False  # the pool sizes in this node's row are outdated
        self._draining = False
        self._leave_by: int | None = None

    # The loop

    def run(self) -> None:
        """Open the store and run cycles until a SignOff has been handled. Errors are sent in KeeperEnded."""
        try:
            rules_version()  # slow at the first call, so call it outside of transactions
            self._open()
            while True:
                self.last_step_at = self._clock.monotonic()
                self.step()
                if self._leave_by is not None and self._may_leave():
                    break
                wait = self._wait()
                self.inbox.patient = self._timer.requested_at is not None
                if wait > 0 and (self.inbox.patient or not self.inbox.pending()):
                    # Non-urgent messages do not wake a patient reader. Wake up for those with the shortest window.
                    self.inbox.wait(min(wait, BATCH_WINDOW_MIN) if self.inbox.patient else wait)
            self._sign_off()
        except Exception as error:  # noqa: BLE001 - a bug here must end the daemon, not leave it half alive
            self._outbox.put(KeeperEnded(error))
        else:
            self._outbox.put(KeeperEnded(None))

    def step(self) -> None:
        """Read the inbox and do the work that is due. Database outages are logged and retried; other errors raise."""
        for message in self.inbox.take():
            self._receive(message)
        now = self._clock.monotonic()
        if self._full_passes.check_clock(now):
            self._timer.request(now)
        if self.membership.neighbour_has_ended(now):  # at once, instead of at the next poll
            self._polling.check_peers(now)
            self._timer.request(now)
        if self.outage.problem is not None:
            self._pending.keep(now)
        if now < self.outage.retry_at:
            return
        try:
            if self._due(now):
                self._run_cycle(now)
            elif now < min(self._pruner.next_at, self._schedule_scan.next_at):
                return
            self._pruner.step(self._store, self._settings.history)
            self._schedule_scan.step(self._store, self._settings.timezone)
        except OutcomeUnknown as error:
            self._held.doubt()
            self._sharing.drop_all_unknown()  # if the commit claimed a job, its token is not the remembered one
            self._database_away(error, now)
        except DatabaseUnavailable as error:
            self._database_away(error, now)
        else:
            if self.outage.succeeded():
                logs.log("info", "the database is back")
                self._outbox.put(DatabaseState(None))
            if self._pending.kept() and not self._pending:
                self._pending.empty_spool()

    def _open(self) -> None:
        self._store = self._open_store()
        self._store.runs_recorded.append(lambda runs: self._pruner.runs_ended(runs, self._settings.history))
        self._register()
        deliver_spool(self._store, self._pending, self._clock.wall(), self._recorded, self._refused)
        self._take_over(self.membership.unregistered_predecessors(self._store.transact(unregistered_nodes)))
        self._take_over(self.membership.predecessors(self._store.transact(nodes.live)))
        self._held.compared()
        if put_back := self._store.transact(
            lambda session: clock_set_back_by(session, self._clock.wall, self._instance)
        ):
            self._full_passes.add(FullPass(put_back=put_back))
        self._outbox.put(NodeRegistered(self.membership.node))

    def _register(self) -> None:
        sent = self._clock.monotonic()
        node = self._store.transact(lambda session: self.membership.register(session, self._pools()))
        self.membership.registered(node, sent, self._settings.lease)
        self._outbox.put(LeaseRenewed(sent, self._settings.lease))
        self._timer.request(sent)

    def _receive(self, message: ToKeeper) -> None:
        now = self._clock.monotonic()
        match message:
            case ClaimUpdate():
                self._pending.add(message)
                self._timer.request_for(message, len(self._pending), now, self._clock.wall())
            case Unresolved(update=update):
                self._receive(self._sharing.release_unresolved(update, self._clock.wall()))
            case RunStarted(job_id=job_id, before_start=before_start):
                self._starts_to_record[job_id] = message
                if before_start:
                    self._timer.request(now)
                else:
                    self._timer.request_batched(now)
            case OutputPrinted(part=part):
                self._pending.add_printed(part)
                self._timer.request_batched(now)
            case Recalled(job_id=job_id):
                self._recalls.recalled(job_id)
                if job_id not in self._held:  # the table has a claim of this node that the keeper does not know
                    self._held.doubt()
                self._timer.request(now)
            case Refresh():
                self._recalls.add(message)
                self.outage.hurry()
                self._timer.request(now)
            case ClaimMore():
                self._timer.request(now)
            case Drain():
                self._draining = self._publish_pools = True
                self._timer.request(now)
            case SignOff():
                self._leave_by = now + SIGN_OFF_TIMEOUT
                self._timer.request(now)
            case Abandoned(claims=claims):
                for job_id, (token, started) in claims.items():
                    self._held.lose(job_id, token, started)
                self._timer.request(now)
            case SettingsChanged(settings=settings):
                self._settings, self._proposed_zone = settings, _proposed_zone(settings)
                self._publish_pools = True
                self._sharing.drop_all_unknown()
                self._store.take_password(settings)
                self._full_passes.add(FullPass(wake=True, zones=True))
                self._timer.request(now)
            case _:
                assert_never(message)

    def _due(self, now: int) -> bool:
        moments = (self._timer.requested_at, self._sharing.last_call_at, self.membership.lease.renewal_due())
        if any(moment is not None and now >= moment for moment in moments):
            return True
        pause, until = self._sharing.pause(self._settings.poll), self._clock.wall() + self._horizon()
        return self._polling.finds_work(now, pause, until, self.membership.alone(), self._store.changed)

    def _wait(self) -> int:
        """Microseconds until the next timed work is due; 0 or less: now."""
        moments = (
            self.membership.lease.renewal_due(),
            self.membership.neighbour_check_at(),
            self._timer.requested_at,
            self._sharing.last_call_at,
            self._polling.next_at,
            self._pruner.next_at,
            self._schedule_scan.next_at,
        )
        first = min(moment for moment in moments if moment is not None)
        return max(first, self.outage.retry_at) - self._clock.monotonic()

    def _horizon(self) -> int:
        return self._settings.poll + CLAIM_AHEAD

    # One cycle

    def _run_cycle(self, now: int) -> None:
        work = self._cycle_input(now)
        try:
            result = self._store.transact(
                lambda session: run_cycle(session, self._with_current_time(work), self._settings)
            )
        except Exception as error:
            if not may_be_one_outcome(error) or not self._record_one_by_one(work.updates):
                raise
            return
        if result.declared_dead:
            self._restart_as_new_node()
            return
        answered = self._clock.monotonic()
        self._publish_pools = False
        if work.beat:
            self._held.compared()
            self.membership.lease.renewed(now)
            self._outbox.put(LeaseRenewed(now, self.membership.lease.length))
        self._note_written(work, result, now, answered)
        self._apply_result(result)
        self._note_shares(work, result)
        if result.live is not None:
            self._polling.peers_read(now, self._sharing.pause(self._settings.poll))
        if work.proposed_zone is not None and work.proposed_zone is self._proposed_zone:
            self._proposed_zone = None
        self._full_passes.slice_done(result.full_pass)
        self._follow_zone(result.zone)
        if self._full_passes or result.changes.more:
            # Leave the database to other clients for as long as this cycle took.
            self._timer.request(2 * answered - now)
        self._observe_nodes(result, now, answered)

    def _note_written(self, work: CycleInput, result: CycleResult, now: int, answered: int) -> None:
        """Forget what the cycle has written, and report recorded starts and vanished claims."""
        self._pending.drop(work.updates)
        more_printed = self._pending.drop_printed(work.printed)
        for start in work.starts_to_record:
            if start.before_start:
                self._outbox.put(StartRecorded(start.job_id, start.token, start.job_id in result.recorded_starts))
        self._starts_to_record.clear()
        for job_id, token in result.vanished.items():
            self._outbox.put(ClaimVanished(job_id, token))  # the claim stays in `_held` until Abandoned arrives
        self._timer.cycle_ended(now, answered, more=bool(result.more), again=bool(self._pending) or more_printed)
        for one in work.updates:
            self._recorded(one, one.state.job_id in result.accepted)

    def _note_shares(self, work: CycleInput, result: CycleResult) -> None:
        before = self._sharing.pools()
        ahead = self._clock.wall() - self._clock.monotonic()
        self._sharing.cycle_ended(work, result, self._held, self._timer.slowest, ahead)
        if (shared := self._sharing.pools()) != before:
            self._outbox.put(PoolsShared(shared))

    def _follow_zone(self, zone: str | None) -> None:
        """Adopt the time zone that the nodes have agreed on."""
        if zone is not None and zone != self._settings.timezone:
            logs.log("warning", f"jobs that name no time zone follow {zone}, the time zone of another node's jobd.toml")
            self._settings = self._settings._replace(timezone=zone)
            self._full_passes.add(FullPass(zones=True))

    def _with_current_time(self, work: CycleInput) -> CycleInput:
        """`work` as of now. The transaction may have begun late; an old time would look like a clock set back."""
        return work._replace(wall=self._clock.wall())

    def _cycle_input(self, now: int) -> CycleInput:
        """Collect the work of one cycle. It is removed from the keeper's state only after the commit."""
        updates = self._pending.first(MAX_UPDATES)
        self._lose_unreadable()
        beat = now >= self.membership.lease.renewal_due() or self._held.uncertain
        wall = self._clock.wall()
        claim_by = wall + self._horizon()
        read_peers = beat or self._polling.peers_due(now)
        alone = self.membership.alone()
        # A few large batches of claims cost less than many small ones, but they would starve other nodes. A cycle that
        # reads the peers counts as a poll, so the next poll comes later than now planned.
        can_wait = alone and not read_peers
        return CycleInput(
            node=self.membership.node,
            wall=wall,
            claim_by=claim_by,
            urgent_by=self._polling.urgent_by(now, wall) if can_wait else claim_by,
            last_call_by=wall + last_call(self._timer.slowest),
            beat=beat,
            read_peers=read_peers,
            find_unregistered=beat or self.membership.knows_unregistered(),
            updates=updates,
            starts_to_record=list(self._starts_to_record.values()),
            printed=self._pending.printed(),
            held=self._held.tokens() if beat else {},
            known_starts=self._held.known_starts,
            full_pass=self._full_passes.first(),
            pools=self._pools() if self._publish_pools else None,
            proposed_zone=self._proposed_zone,
            capacities=self._capacities(updates),
            shares=self._sharing.shares,
            priorities=self._polling.priorities,
            excluded=NONE_EXCLUDED if alone else self._sharing.without_unknown(wall),
        )

    def _lose_unreadable(self) -> None:
        """Release claims whose outcomes cannot be read back from the spool. Their runs are recorded as lost."""
        for job_id, one in self._pending.take_unreadable().items():
            self._held.lose(job_id, one.token, one.started)

    def _pools(self) -> Mapping[str, int]:
        """The number of workers per pool, for new claims; empty while draining."""
        return {} if self._draining else self._settings.pools

    def _capacities(self, updates: list[ClaimUpdate]) -> dict[str, Capacity]:
        """The room for claims per pool."""
        if self._draining:
            return {}
        if not self._budget.calm:  # the outcomes of further runs could exceed the memory budget
            return dict.fromkeys(self._demands, NO_CAPACITY)
        released = {one.state.job_id for one in updates if not one.state.node}
        return capacities(self._demands, self._horizon(), self._held, released, self.membership.alone())

    def _recorded(self, one: ClaimUpdate, accepted: bool) -> None:
        """Note a written outcome; `accepted`: its claim was still valid."""
        job_id = one.state.job_id
        if not accepted:
            logs.log("warning", f"a late result of job {job_id} was refused: its claim is no longer valid")
        if not one.state.node:
            self._held.release(job_id, one.token)
        elif not accepted and self._held.token(job_id) == one.token:
            # A kept claim: the next attempt may have started already.
            self._outbox.put(ClaimVanished(job_id, one.token))

    def _refused(self, one: ClaimUpdate) -> None:
        """Note an outcome that the database refuses: its job is stopped."""
        self._held.release(one.state.job_id, one.token)

    def _record_one_by_one(self, updates: Sequence[ClaimUpdate]) -> bool:
        """Write these outcomes in a transaction each, after one for all has failed; whether any was refused."""
        now = self._clock.wall()
        return record_one_by_one(self._store, self._pending, updates, now, self._recorded, self._refused)

    def _apply_result(self, result: CycleResult) -> None:
        for claim in result.claims:
            self._held.add(claim.job.id, claim.state.token, claim.state.pool)
        if result.claims or result.more:
            self._outbox.put(NewClaims(result.claims, frozenset(result.more)))
        self._polling.cycle_ended(result.next_ready, result.priorities, result.changes.left_over)
        self._sharing.drop_unknown(result.claimed | result.changes.touched)
        for message in self._recalls.cycle_ended(result.changes.recall, result.changes.cancel, self._held):
            self._outbox.put(message)
        for name, problem in (*result.changes.errors, *result.errors):
            self._problems.log(name, problem)

    # Other nodes

    def _observe_nodes(self, result: CycleResult, now: int, answered: int) -> None:
        """Note the other nodes that a cycle has read between `now` and `answered`, and take over from the dead ones."""
        if result.live is not None:
            was_alone = self.membership.alone()
            found_dead = self.membership.observe(now, answered, result.live)
            if (alone := self.membership.alone()) != was_alone:
                self._outbox.put(OtherNodes(not alone))
            self._take_over(found_dead)
        if result.unregistered is not None:
            self._take_over(self.membership.observe_unregistered(now, answered, result.unregistered))

    def _take_over(self, dead: Sequence[DeadNode | UnregisteredNode]) -> None:
        for one in dead:
            if take_over(self._store, one, self._held.known_starts, self._clock.wall(), self._settings):
                self._timer.request(self._clock.monotonic())

    def _restart_as_new_node(self) -> None:
        """Register as a new node after another node has declared this one dead. All claims are void."""
        logs.log("error", f"node {self.membership.node} was declared dead by another node; its runs are ended")
        self._held.clear()  # the other node may not have released the old claims yet
        self._pending.clear()
        self._starts_to_record.clear()
        self._recalls.clear()
        self._register()
        self._outbox.put(DeclaredDead(self.membership.node))

    # Outages, the end

    def _database_away(self, error: JobdError, now: int) -> None:
        """Schedule a retry with back-off. Each different error is logged at once, and again after a minute."""
        before = self.outage.problem
        if self.outage.failed(str(error), now):
            logs.log("error", f"{error}; retrying until it is back" + (f" ({error.hint})" if error.hint else ""))
        if self.outage.problem != before:
            self._outbox.put(DatabaseState(self.outage.problem))
        self._polling.cycle_failed()
        self._timer.request(now)
        for answer in self._recalls.answers(self.outage.problem):
            self._outbox.put(answer)

    def _may_leave(self) -> bool:
        written = not self._pending and self.outage.problem is None
        return written or (self._leave_by is not None and self._clock.monotonic() > self._leave_by)

    def _sign_off(self) -> None:
        if self._pending:
            self._pending.keep(self._clock.monotonic(), hurry=True)
            kept = "are kept for the next start" if self._pending.kept() else "are lost"
            logs.log("error", f"{len(self._pending)} outcomes could not be written and {kept}: {self.outage.problem}")
        try:
            self._store.transact(self._leave)
        except JobdError as error:
            logs.log("warning", f"could not sign off: {error}")
        self._store.close()

    def _leave(self, session: Session) -> None:
        node = self.membership.node
        if not self._pending:
            give_back_unstarted(session, node, self._held.known_starts, self._clock.wall())
        nodes.leave(session, node, self._clock.wall())


def _proposed_zone(settings: Settings) -> ProposedZone:
    return ProposedZone(settings.timezone, settings.zone_of_machine)
