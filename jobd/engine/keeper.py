"""The keeper: the only thread that uses the store.

Each cycle is one transaction: record outcomes, apply changes that users made, claim jobs that are due soon. Outcomes
that arrive during a commit are batched into the next one. The keeper also advances the node's heartbeat and takes
over from nodes whose heartbeat has stopped (see jobd.engine.lease). During a database outage, runs continue; the
keeper holds all unwritten outcomes and writes them when the database is back.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import assert_never

import jobd
from jobd import lifecycle, logs
from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND, SECOND, Clock
from jobd.engine.buffers import Budget
from jobd.engine.claims import HeldClaims
from jobd.engine.cycle import MAX_SHARED_CLAIMS, NO_CAPACITY, Capacity, CycleInput, CycleResult, run_cycle
from jobd.engine.full_pass import CLOCK_TOLERANCE, FullPass, add_pass, clock_set_back_by
from jobd.engine.lease import Lease, Neighbours, Watch
from jobd.engine.mailbox import Mailbox
from jobd.engine.messages import (
    Abandoned,
    Cancel,
    ClaimMore,
    ClaimVanished,
    DeclaredDead,
    Drain,
    KeeperEnded,
    LeaseRenewed,
    NewClaims,
    NodeRegistered,
    OutputPrinted,
    PoolsShared,
    Recall,
    Recalled,
    Refresh,
    Refreshed,
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
from jobd.engine.outcomes import Outcomes
from jobd.engine.processor import Demand
from jobd.engine.pruner import Pruner
from jobd.engine.share import Share, eager_poll, last_call, recheck_at
from jobd.engine.spool import Spool
from jobd.engine.takeover import (
    KnownStarts,
    Losses,
    UnregisteredNode,
    take_over,
    take_over_unregistered,
    unregistered_nodes,
)
from jobd.errors import DatabaseUnavailable, JobdError, OutcomeUnknown, StatementRefused
from jobd.lifecycle import UNRESOLVED_PAUSE
from jobd.schedule.zone import rules_version
from jobd.settings import Settings
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.installation import ProposedZone
from jobd.store.schedule_table import NOTHING, Without
from jobd.store.store import Session, Store

# Batching windows for outcomes: of jobs that are soon due again (or while jobs wait to be claimed), normal, longest.
BATCH_WINDOW_MIN, BATCH_WINDOW_CALM, BATCH_WINDOW_MAX = 10 * MILLISECOND, 25 * MILLISECOND, 50 * MILLISECOND
BATCH_WINDOW_CYCLES = 4  # the window is this multiple of the last cycle's duration, so cycles use 1/5 of the time
CLAIM_AHEAD = 250 * MILLISECOND  # claims reach this much further than the next poll
LOCK_CHECK_INTERVAL = SECOND // 2  # between checks of the locks of the nodes on this machine
MAX_UPDATES = 2_000  # outcomes in a transaction
MAX_CLAIMS = 4_000  # per pool, while no other node exists

SIGN_OFF_TIMEOUT = 10 * SECOND  # a stopping daemon stops writing outcomes after this time
MAX_REMEMBERED_JOBS = 1_000  # limits the memory of invalid jobs already logged, and of jobs without a known task


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
        self._budget = budget
        self.lease = Lease(settings.lease)
        self.watch = Watch(settings.lease)
        self._unregistered = Watch(settings.lease)  # nodes that hold claims but are not registered
        self._lock = locks.name
        self._neighbours = Neighbours(locks.is_held)
        self.last_cycle_at = clock.monotonic()  # the start of the loop's last iteration
        self.outage = Outage()
        self._settings = settings
        self._open_store = open_store
        self._instance = instance
        self._clock = clock
        self._demands = demands
        self._outbox = outbox
        self._known_starts = dict(known_starts)  # starts of runs whose outcome is unknown
        self._store: Store
        self._node = 0
        self._held = HeldClaims()
        self._outcomes = Outcomes(spool, self._budget)
        self._starts_to_record: dict[int, RunStarted] = {}
        self._refreshes: list[Refresh] = []
        self._pending_recalls: set[int] = set()  # jobs whose Recalled has not arrived yet
        # job id → fencing token of the last Recall or Cancel sent, so that each is sent once per claim
        self._recall_tokens: dict[int, int] = {}
        self._cancel_tokens: dict[int, int] = {}
        self._next_ready: dict[str, int | None] = {}
        self._priorities: dict[str, tuple[int, ...]] = {}  # by pool: priorities of its unclaimed jobs
        self._left_over = True  # the table job_change may contain changes
        self._reconcile = False  # `_held` may differ from this node's claims in the table
        self._proposed_zone: ProposedZone | None = _proposed_zone(settings)  # not yet agreed on with the other nodes
        self._full_passes = [FullPass(starting=True, wake=True, zones=True)]  # done in this order
        self._pruner = Pruner(clock)
        self._schedule_scan = MissingScheduleScan(clock, settings.lease)
        self._reported: dict[tuple[str, str], None] = {}
        self._shares: dict[str, Share | None] = {}  # by pool; None: no other node serves it
        self._fruitless_polls: int | None = None  # polls in a row that brought no claims; None: this node has its share
        self._slowest_cycle = 0  # µs; decays by 1/8 per cycle
        self._last_call_at: int | None = None  # when to claim jobs that were left to other nodes and are still free
        # Jobs whose task this node does not have but other nodes may have → fencing token of the released claim.
        self._unknown_tasks: dict[int, int] = {}
        self._publish_pools = False  # the pool sizes in this node's row are outdated
        self._draining = False
        self._batch_window = BATCH_WINDOW_CALM
        self._leave_by: int | None = None
        self._cycle_at: int | None = 0  # when the next requested cycle is due; None: no cycle is requested
        self._poll_at = self._next_peer_check = self._neighbours_at = 0
        self._ahead = clock.wall() - clock.monotonic()  # µs by which the wall clock is ahead of the monotonic clock

    # The loop

    def run(self) -> None:
        """Open the store and run cycles until a SignOff has been handled. Errors are sent in KeeperEnded."""
        try:
            rules_version()  # slow at the first call, so call it outside of transactions
            self._open()
            while True:
                self.last_cycle_at = self._clock.monotonic()
                self.step()
                if self._leave_by is not None and self._may_leave():
                    break
                wait = self._wait()
                self.inbox.patient = self._cycle_at is not None
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
        self._check_clock(now)
        self._check_neighbours(now)
        if self.outage.problem is not None:
            self._outcomes.keep(now)
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
            self._reconcile = True
            self._unknown_tasks.clear()  # if the commit claimed a job, its token is not the remembered one
            self._database_away(error, now)
        except DatabaseUnavailable as error:
            self._database_away(error, now)
        else:
            if self.outage.succeeded():
                logs.log("info", "the database is back")
            if self._outcomes.kept() and not self._outcomes:
                self._outcomes.empty_spool()

    def _check_clock(self, now: int) -> None:
        """If the wall clock was set back, have the jobs re-planned that would wait for the old time to come again."""
        ahead = self._clock.wall() - now
        if ahead < self._ahead - CLOCK_TOLERANCE:
            self._full_passes = add_pass(self._full_passes, FullPass(put_back=self._ahead - ahead))
            self._request_cycle(now)
        self._ahead = ahead

    def _check_neighbours(self, now: int) -> None:
        """Request a cycle at once if a node on this machine has ended, instead of at the next poll."""
        if self._neighbours.any() and now >= self._neighbours_at:
            self._neighbours_at = now + LOCK_CHECK_INTERVAL
            if self._neighbours.ended():
                self._next_peer_check = now
                self._request_cycle(now)

    def _open(self) -> None:
        self._store = self._open_store()
        self._register()
        self._deliver_spool()
        for one in self._store.transact(unregistered_nodes):
            if one.instance == self._instance:
                self._take_over_unregistered(one)
        for row in self._store.transact(nodes.live):
            # This daemon holds the lock on the state directory, so an earlier node of it is dead despite its heartbeat.
            if row.instance == self._instance and row.id != self._node:
                self._take_over_dead(row, "its daemon died")
        self._known_starts.clear()
        if put_back := self._store.transact(
            lambda session: clock_set_back_by(session, self._clock.wall, self._instance)
        ):
            self._full_passes = add_pass(self._full_passes, FullPass(put_back=put_back))
        self._outbox.put(NodeRegistered(self._node))

    def _register(self) -> None:
        sent = self._clock.monotonic()
        host, pid, now = os.uname().nodename, os.getpid(), self._clock.wall()
        lock, pools = self._lock, self._pools()
        self._node = self._store.transact(
            lambda s: nodes.register(s, host, pid, jobd.__version__, self._instance, now, lock, pools)
        )
        self.lease = Lease(self._settings.lease)
        self.lease.renewed(sent)
        self._cycle_at = sent

    def _receive(self, message: ToKeeper) -> None:
        now = self._clock.monotonic()
        match message:
            case ClaimUpdate():
                self._outcomes.add(message)
                self._request_cycle(now if len(self._outcomes) >= MAX_UPDATES else now + self._linger(message))
            case Unresolved(update=update):
                self._receive(self._release_unresolved(update))
            case RunStarted(job_id=job_id):
                self._starts_to_record[job_id] = message
                self._request_cycle(now if message.before_start else now + self._batch_window)
            case OutputPrinted(part=part):
                self._outcomes.add_printed(part)
                self._request_cycle(now + self._batch_window)
            case Recalled(job_id=job_id):
                self._pending_recalls.discard(job_id)
                self._reconcile |= job_id not in self._held  # the table shows a claim that is not held
                self._request_cycle(now)
            case Refresh():
                self._refreshes.append(message)
                self.outage.hurry()
                self._request_cycle(now)
            case ClaimMore():
                self._request_cycle(now)
            case Drain():
                self._draining = self._publish_pools = True
                self._request_cycle(now)
            case SignOff():
                self._leave_by = now + SIGN_OFF_TIMEOUT
                self._request_cycle(now)
            case Abandoned(claims=claims):
                for job_id, (token, started) in claims.items():
                    self._held.release(job_id, token)
                    if started is not None:
                        self._known_starts[job_id, token] = started
                self._reconcile = True
                self._request_cycle(now)
            case SettingsChanged(settings=settings):
                self._settings, self._proposed_zone = settings, _proposed_zone(settings)
                self._publish_pools = True
                self._unknown_tasks.clear()
                self._store.take_password(settings)
                self._full_passes = add_pass(self._full_passes, FullPass(wake=True, zones=True))
                self._request_cycle(now)
            case _:
                assert_never(message)

    def _release_unresolved(self, update: ClaimUpdate) -> ClaimUpdate:
        """The update that releases a job whose task this node does not have.

        If other nodes serve the pool, the job is ready for them at once; else it is ready after UNRESOLVED_PAUSE. This
        node does not claim it again, unless no other node takes it or a user changes it.
        """
        state = update.state
        if len(self._unknown_tasks) >= MAX_REMEMBERED_JOBS:
            return update
        self._unknown_tasks[state.job_id] = update.token
        if self._shares.get(state.pool) is None:
            return update
        return update._replace(state=state._replace(ready=self._clock.wall()))

    def _request_cycle(self, at: int) -> None:
        self._cycle_at = at if self._cycle_at is None else min(at, self._cycle_at)

    def _due(self, now: int) -> bool:
        moments = (self._cycle_at, self._last_call_at, self.lease.renewal_due())
        if any(moment is not None and now >= moment for moment in moments):
            return True
        if now < self._poll_at:
            return False
        self._poll_at = now + self._pause()
        horizon = self._clock.wall() + self._horizon()
        return (
            self._left_over
            or not self.watch.alone()
            or any(moment is not None and moment <= horizon for moment in self._next_ready.values())
            or self._store.changed()
        )

    def _wait(self) -> int:
        """Microseconds until the next timed work is due; 0 or less: now."""
        moments = [self.lease.renewal_due(), self._poll_at, self._pruner.next_at, self._schedule_scan.next_at]
        if self._neighbours.any():
            moments.append(self._neighbours_at)
        moments += [moment for moment in (self._cycle_at, self._last_call_at) if moment is not None]
        return max(min(moments), self.outage.retry_at) - self._clock.monotonic()

    def _pause(self) -> int:
        """Microseconds between polls."""
        poll = self._settings.poll
        return poll if self._fruitless_polls is None else eager_poll(poll, self._fruitless_polls)

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
            if not _may_be_one_outcome(error) or not self._drop_bad(work.updates):
                raise
            return
        if result.declared_dead:
            self._restart_as_new_node()
            return
        self._outcomes.drop(work.updates)
        more_printed = self._outcomes.drop_printed(work.printed)
        for start in work.starts_to_record:
            if start.before_start:
                self._outbox.put(StartRecorded(start.job_id, start.token, start.job_id in result.recorded_starts))
        self._starts_to_record.clear()
        if work.beat:
            self._known_starts.clear()
        for job_id, token in result.vanished.items():
            self._outbox.put(ClaimVanished(job_id, token))  # the claim stays in `_held` until Abandoned arrives
        self._cycle_at = now if self._outcomes or more_printed else None
        self._reconcile = self._publish_pools = False
        answered = self._clock.monotonic()
        if work.beat:
            self.lease.renewed(now)
            self._outbox.put(LeaseRenewed())
        self._batch_window = self._next_batch_window(answered - now, bool(result.more))
        self._release(work.updates, result.accepted)
        self._pruner.runs_ended((one.run for one in work.updates if one.run is not None), self._settings.history)
        self._announce(result)
        self._slowest_cycle = max(answered - now, self._slowest_cycle * 7 // 8)
        self._update_shares(work, result)
        if result.live is not None:
            # Together: a poll shortly before a check would delay the check by another poll, and a takeover with it.
            self._poll_at = self._next_peer_check = now + self._pause()
        if work.proposed_zone is not None and work.proposed_zone is self._proposed_zone:
            self._proposed_zone = None
        self._full_passes[:1] = [result.full_pass] if result.full_pass is not None else []
        self._follow_zone(result.zone)
        if self._full_passes or result.changes.more:
            # Leave the database to other clients for as long as this cycle took.
            self._request_cycle(2 * answered - now)
        if result.live is not None:
            self._check_peers(now, answered, result.live)
        if result.unregistered is not None:
            seen = {one.node: one for one in result.unregistered}
            for node in self._unregistered.observe(now, answered, seen.items()):
                self._take_over_unregistered(seen[node])

    def _update_shares(self, work: CycleInput, result: CycleResult) -> None:
        """Set the poll rate by whether this node has its share, and when to check the jobs left to other nodes."""
        if result.shares is not None:
            before, self._shares = self._shared_pools(), result.shares
            if (shared := self._shared_pools()) != before:
                self._outbox.put(PoolsShared(shared))
            too_little = any(
                share is not None and self._held.count(pool) < share.least and pool not in result.more
                for pool, share in result.shares.items()
            )
            vain = self._fruitless_polls if self._fruitless_polls is not None and not result.claims else -1
            self._fruitless_polls = vain + 1 if too_little else None
        left = [
            moment
            for pool, moment in result.next_ready.items()
            if moment is not None and self._shares.get(pool) is not None and work.call < moment <= work.until
        ]
        self._last_call_at = None
        if left:
            ahead = recheck_at(min(left), last_call(self._slowest_cycle)) - self._clock.wall()
            self._last_call_at = self._clock.monotonic() + ahead

    def _shared_pools(self) -> frozenset[str]:
        return frozenset(pool for pool, share in self._shares.items() if share is not None)

    def _follow_zone(self, zone: str | None) -> None:
        """Adopt the time zone that the nodes have agreed on."""
        if zone is not None and zone != self._settings.timezone:
            logs.log("warning", f"jobs that name no time zone follow {zone}, as another node's jobd.toml has it")
            self._settings = self._settings._replace(timezone=zone)
            self._full_passes = add_pass(self._full_passes, FullPass(zones=True))

    def _next_batch_window(self, took: int, more: bool) -> int:
        """The batching window in µs after a cycle that took `took` µs.

        It is proportional to `took`, and minimal while there is `more` to claim: dispatch then waits for this thread.
        """
        return BATCH_WINDOW_MIN if more else max(BATCH_WINDOW_CALM, min(BATCH_WINDOW_CYCLES * took, BATCH_WINDOW_MAX))

    def _linger(self, outcome: ClaimUpdate) -> int:
        """Microseconds that this outcome may still wait for a batch. Outcomes of jobs that are soon due wait less."""
        ready, run = outcome.state.ready, outcome.run
        if ready is None or ready >= (wall := self._clock.wall()) + CLAIM_AHEAD:
            return self._batch_window
        heard_after = max(0, wall - run.finished) if run is not None else 0
        return max(0, min(self._batch_window, BATCH_WINDOW_MIN) - heard_after)

    def _with_current_time(self, work: CycleInput) -> CycleInput:
        """`work` as of now. The transaction may have begun late; an old time would look like a clock set back."""
        return work._replace(wall=self._clock.wall())

    def _cycle_input(self, now: int) -> CycleInput:
        """Collect the work of one cycle. It is removed from the keeper's state only after the commit."""
        updates = self._outcomes.first(MAX_UPDATES)
        self._release_unreadable()
        beat = now >= self.lease.renewal_due() or self._reconcile
        wall = self._clock.wall()
        until = wall + self._horizon()
        # A few large batches of claims cost less than many small ones, but they would starve other nodes.
        read_peers = beat or now >= self._next_peer_check
        # A cycle that reads the peers counts as a poll, so the next poll comes later than `_poll_at` says.
        alone = self.watch.alone() and not read_peers
        urgent = wall + max(0, self._poll_at - now) + CLAIM_AHEAD if alone else until
        return CycleInput(
            node=self._node,
            wall=wall,
            until=until,
            urgent=urgent,
            call=wall + last_call(self._slowest_cycle),
            beat=beat,
            read_peers=read_peers,
            find_unregistered=beat or not self._unregistered.alone(),
            updates=updates,
            starts_to_record=list(self._starts_to_record.values()),
            printed=self._outcomes.printed(),
            held=self._held.tokens() if beat else {},
            known_starts=self._known_starts,
            full_pass=self._full_passes[0] if self._full_passes else None,
            pools=self._pools() if self._publish_pools else None,
            proposed_zone=self._proposed_zone,
            capacities={} if self._draining else self._capacities(updates),
            shares=self._shares,
            priorities=self._priorities,
            without=NOTHING if self.watch.alone() else Without(dict(self._unknown_tasks), wall - UNRESOLVED_PAUSE),
        )

    def _release_unreadable(self) -> None:
        """Release claims whose outcomes cannot be read back from the spool. Their runs are recorded as lost."""
        for job_id, one in self._outcomes.unreadable.items():
            self._held.release(job_id, one.token)
            if one.started is not None:
                self._known_starts[job_id, one.token] = one.started
            self._reconcile = True
        self._outcomes.unreadable.clear()

    def _pools(self) -> Mapping[str, int]:
        """The number of workers per pool, for new claims; empty while draining."""
        return {} if self._draining else self._settings.pools

    def _capacities(self, updates: list[ClaimUpdate]) -> dict[str, Capacity]:
        """The room for claims per pool."""
        released = {one.state.job_id for one in updates if not one.state.node}
        capacities = {}
        calm = self._budget.calm  # if not, the outcomes of further runs could exceed the memory budget
        for pool, demand in self._demands.items():
            before = self._held.count(pool)
            holding = before - self._held.count_of(released, pool)
            most, now, over, above = demand(self._horizon())
            most = min(most, self.most_claims())
            # Claim in batches: no more claims are needed while at least half of the demand is held.
            room = most - holding if 2 * holding <= most else 0
            capacities[pool] = Capacity(room, min(now, most), holding, before, over, above) if calm else NO_CAPACITY
        return capacities

    def most_claims(self) -> int:
        """The limit on the claims held per pool. The dispatch loop calls this too."""
        return MAX_CLAIMS if self.watch.alone() else MAX_SHARED_CLAIMS

    def _release(self, updates: Sequence[ClaimUpdate], accepted: set[int]) -> None:
        for one in updates:
            job_id = one.state.job_id
            if job_id not in accepted:
                logs.log("warning", f"a late result of job {job_id} was discarded: its claim is no longer valid")
            if not one.state.node:
                self._held.release(job_id, one.token)
            elif job_id not in accepted and self._held.token(job_id) == one.token:
                # A kept claim: the next attempt may have started already.
                self._outbox.put(ClaimVanished(job_id, one.token))

    def _announce(self, result: CycleResult) -> None:
        for claim in result.claims:
            self._held.add(claim.job.id, claim.state.token, claim.state.pool)
        if result.claims or result.more:
            self._outbox.put(NewClaims(result.claims, frozenset(result.more)))
        self._next_ready.update(result.next_ready)
        self._priorities.update(result.priorities)
        self._left_over = result.changes.left_over
        if self._unknown_tasks:
            for job_id in result.claimed | result.changes.touched:
                self._unknown_tasks.pop(job_id, None)
        before, self._recall_tokens = self._recall_tokens, self._tokens(result.changes.recall)
        for job_id, _ in self._recall_tokens.items() - before.items():
            self._pending_recalls.add(job_id)
            self._outbox.put(Recall(job_id))
        before, self._cancel_tokens = self._cancel_tokens, self._tokens(result.changes.cancel)
        for job_id, _ in self._cancel_tokens.items() - before.items():
            self._outbox.put(Cancel(job_id))
        for name, problem in (*result.changes.errors, *result.errors):
            self._report_invalid(name, problem)
        if self._refreshes and not self._pending_recalls:
            self._answer_refreshes(None)

    def _answer_refreshes(self, trouble: str | None) -> None:
        for refresh in self._refreshes:
            self._outbox.put(Refreshed(partial(refresh.reply, trouble)))
        self._refreshes.clear()

    def _tokens(self, job_ids: Iterable[int]) -> dict[int, int]:
        return {job_id: self._held.token(job_id) for job_id in job_ids}

    def _report_invalid(self, name: str, problem: str) -> None:
        if (name, problem) not in self._reported:
            if len(self._reported) >= MAX_REMEMBERED_JOBS:
                self._reported.clear()
            self._reported[name, problem] = None
            logs.log("error", f"{name} is invalid and will not run: {problem}", job=name)

    # Nodes

    def _check_peers(self, asked: int, answered: int, live: list[nodes.NodeRow]) -> None:
        others = {row.id: row for row in live if row.id != self._node}
        counters = [(row.id, row.heartbeat) for row in others.values()]
        for node in self.watch.observe(asked, answered, counters):
            self._take_over_dead(others.pop(node), "its node died")
        for node in self._neighbours.observe({row.id: row.lock for row in others.values()}):
            self._take_over_dead(others[node], "its daemon died")

    def _take_over_dead(self, row: nodes.NodeRow, reason: str) -> None:
        wall = self._clock.wall()
        losses = self._store.transact(lambda s: take_over(s, row, self._known_starts, wall, self._settings, reason))
        self._log_takeover(losses, f"node {row.id} ({row.host}, process {row.pid}) is dead")

    def _take_over_unregistered(self, one: UnregisteredNode) -> None:
        wall = self._clock.wall()
        losses = self._store.transact(
            lambda s: take_over_unregistered(s, one, self._known_starts, wall, self._settings)
        )
        self._log_takeover(losses, f"node {one.node}, which has claimed jobs, is not registered")

    def _log_takeover(self, losses: Losses | None, what: str) -> None:
        if losses is not None:
            self._request_cycle(self._clock.monotonic())
            logs.log(
                "warning", f"{what}: {losses.runs} of its runs were lost, {losses.waiting} of its jobs had not begun"
            )

    def _restart_as_new_node(self) -> None:
        """Register as a new node after another node has declared this one dead. All claims are void."""
        logs.log("error", f"node {self._node} was declared dead by another node; its runs are ended")
        self._held.clear()
        self._outcomes.clear()
        self._starts_to_record.clear()
        self._pending_recalls.clear()
        self._recall_tokens.clear()
        self._cancel_tokens.clear()
        self._reconcile = True  # the other node may not have released the old claims yet
        self._register()
        self._outbox.put(DeclaredDead(self._node))

    # Trouble, housekeeping, the end

    def _database_away(self, error: JobdError, now: int) -> None:
        """Schedule a retry with back-off. Each different error is logged at once, and again after a minute."""
        if self.outage.failed(str(error), now):
            logs.log("error", f"{error}; retrying until it is back" + (f" ({error.hint})" if error.hint else ""))
        self._left_over = True
        self._request_cycle(now)
        self._answer_refreshes(self.outage.problem)

    def _deliver_spool(self) -> None:
        """Write the outcomes that the previous daemon left in the spool. Claims taken over since then are refused."""
        count = written = 0
        for updates in self._outcomes.load_spooled():
            count += len(updates)
            try:
                written += len(self._store.transact(partial(_record_and_refresh, updates)))
            except Exception as error:
                if not _may_be_one_outcome(error):
                    raise
                # A bad spool must not keep this daemon from starting.
                if not self._drop_bad(updates):
                    logs.log("error", f"the outcomes in the spool cannot be written: {error}")
        if count:
            logs.log("info", f"recovered {written} of {count} outcomes from the spool")
        self._outcomes.empty_spool()  # also removes a half-written line, which would hide later entries

    def _drop_bad(self, updates: Sequence[ClaimUpdate]) -> bool:
        """Write outcomes one by one after a cycle failed because of its data. Stop the jobs whose outcome is refused.

        Returns whether any was refused. That means a bug in jobd or a damaged table; it affects only the job itself.
        """
        dropped = False
        for one in updates:
            job_id = one.state.job_id
            try:
                accepted = self._store.transact(partial(_record_one, one))
            except Exception as its:
                if not _may_be_one_outcome(its):
                    raise
                dropped = True
                reason = f"its outcome could not be written: {type(its).__name__}: {its}"
                logs.log("error", f"job {job_id} is stopped: {reason}")
                self._store.transact(partial(_give_up_one, one, reason))
                self._held.release(job_id, one.token)
            else:
                self._release([one], accepted)
            self._outcomes.drop([one])
        return dropped

    def _may_leave(self) -> bool:
        written = not self._outcomes and self.outage.problem is None
        return written or (self._leave_by is not None and self._clock.monotonic() > self._leave_by)

    def _sign_off(self) -> None:
        if self._outcomes:
            self._outcomes.keep(self._clock.monotonic(), hurry=True)
            kept = "they are kept for the next start" if self._outcomes.kept() else "they are lost"
            logs.log("error", f"{len(self._outcomes)} outcomes could not be written, {kept}: {self.outage.problem}")
        try:
            self._store.transact(self._leave)
        except JobdError as error:
            logs.log("warning", f"could not sign off: {error}")
        self._store.close()

    def _leave(self, session: Session) -> None:
        if not self._outcomes:
            # Give back jobs claimed while the dispatch loop was already stopping: none of their runs has started.
            # (If a run has started and there was no time to report it, another node records it as lost. Unreadable
            # rows are re-planned by another node.)
            left = [
                state
                for state, *_ in table.claims_of(session, self._node)
                if state.due is not None
                and state.started is None
                and (state.job_id, state.token) not in self._known_starts
            ]
            if left:
                table.record(
                    session,
                    [ClaimUpdate(self._node, state.token, lifecycle.give_back(state), None, ()) for state in left],
                )
        nodes.leave(session, self._node, self._clock.wall())


def _may_be_one_outcome(error: Exception) -> bool:
    """Whether a single outcome may have caused this error: a refused statement, or a bug in writing the outcome."""
    return isinstance(error, StatementRefused) or not isinstance(error, JobdError)


def _proposed_zone(settings: Settings) -> ProposedZone:
    return ProposedZone(settings.timezone, settings.zone_of_machine)


def _record_and_refresh(updates: Sequence[ClaimUpdate], session: Session) -> set[int]:
    """Record outcomes from the spool, and have their jobs re-planned: an older jobd may have written the states."""
    accepted = table.record(session, updates)
    table.record_changes(session, sorted(accepted), "changed")
    return accepted


def _record_one(one: ClaimUpdate, session: Session) -> set[int]:
    return table.record(session, [one])


def _give_up_one(one: ClaimUpdate, reason: str, session: Session) -> None:
    table.block(session, one, reason)
