"""The keeper: the one thread that talks to the store.

It turns round one transaction: hand in outcomes, look at what people changed, claim what is due soon. While one
transaction is being written the next one's outcomes gather, so that a commit is shared by as many runs as happen in
its time. Beside that it keeps the node's heartbeat and takes over from nodes whose heart has stopped (the rules are
in jobd.engine.lease). A database that is away stops none of this for longer than it is away: what was to be written
waits, and the runs go on.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import jobd
from jobd import lifecycle, logs
from jobd.clock import MILLISECOND, MINUTE, SECOND, Clock
from jobd.config import Settings
from jobd.engine.buffers import Budget
from jobd.engine.census import Census
from jobd.engine.lease import Lease, Neighbours, Watch
from jobd.engine.mailbox import Mailbox
from jobd.engine.messages import (
    Abandoned,
    Began,
    Buried,
    Cancel,
    Claims,
    Drain,
    Hungry,
    Leave,
    Left,
    Look,
    Looked,
    Marked,
    Opened,
    Printed,
    Recall,
    Recalled,
    Renewed,
    Retune,
    Shared,
    Unresolved,
    Vanished,
)
from jobd.engine.nodelock import Locks
from jobd.engine.outcomes import Outcomes
from jobd.engine.processor import Appetite
from jobd.engine.pruner import Pruner
from jobd.engine.share import Share, last_call, look_at, sooner
from jobd.engine.spool import Spool
from jobd.engine.sweep import STEP, Sweep, put_back_since, with_another
from jobd.engine.takeover import Begun, Gone, Losses, adopt, gone, take_over
from jobd.engine.turn import MOST_SHARED, NO_ROOM, Done, Want, Work, turn
from jobd.errors import DatabaseUnavailable, JobdError, OutcomeUnknown, StatementRefused
from jobd.lifecycle import UNRESOLVED_PAUSE
from jobd.schedule.zone import rules_version
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.installation import SaidZone
from jobd.store.schedule_table import NOTHING, Settlement, Without
from jobd.store.store import Session, Store

# How long outcomes wait for company: of a job that is soon due again, of others, at most.
GATHER, GATHER_CALM, GATHER_MOST = 10 * MILLISECOND, 25 * MILLISECOND, 50 * MILLISECOND
GATHER_TURNS = 4  # or so many times as long as the last turn took: under load, turns take a fifth of the time
AHEAD = 250 * MILLISECOND  # claims reach this much further than the next poll
NEIGHBOURS = SECOND // 2  # how often the locks of the nodes on this machine are looked at
MOST_AT_ONCE = 2_000  # outcomes in a transaction
MOST_CLAIMS = 4_000  # of a pool in hand
RETRY_FIRST, RETRY_LAST = 50 * MILLISECOND, 5 * SECOND  # between tries while the database is away
RETRY_ASKED = SECOND  # when a person has just written to it
MOST_REASONS = 10  # that the log is told of while the database is away
PATIENCE = 10 * SECOND  # how long a stopping daemon tries to write what it knows
REMEMBERED = 1_000  # invalid jobs that the log has been told of


class Keeper:
    """The keeper's state and steps. The inbox is read here, the outbox by the dispatch loop."""

    def __init__(
        self,
        settings: Settings,
        open_store: Callable[[], Store],
        instance: str,
        locks: Locks,
        clock: Clock,
        appetites: Mapping[str, Callable[[int], Appetite]],
        begun: Begun,
        spool: Spool,
        inbox: Mailbox,
        outbox: Mailbox,
        budget: Budget,
    ) -> None:
        self.inbox = inbox
        self._budget = budget
        self.lease = Lease(settings.lease)
        self.watch = Watch(settings.lease)
        self._gone = Watch(settings.lease)  # of those that have claims and are not registered
        self._lock = locks.name
        self._neighbours = Neighbours(locks.is_held)
        self.turned_at = clock.monotonic()  # when the loop last went round
        self.trouble: str | None = None  # what is wrong with the database, in words
        self._settings = settings
        self._open_store = open_store
        self._instance = instance
        self._clock = clock
        self._appetites = appetites
        self._outbox = outbox
        self._begun = dict(begun)  # what became of them is not known yet
        self._store: Store
        self._node = 0
        self._held: dict[int, tuple[int, str]] = {}  # job → fencing token and pool, of all that is claimed
        self._outcomes = Outcomes(spool, self._budget)
        self._began: dict[int, Began] = {}
        self._looks: list[Look] = []
        self._recalled: set[int] = set()  # of these the answer is to come
        # job → the token under which it was called back, or its run was to be ended: once is enough
        self._called: dict[int, int] = {}
        self._cancelled: dict[int, int] = {}
        self._next_ready: dict[str, int | None] = {}
        self._priorities: dict[str, tuple[int, ...]] = {}  # by pool, those of its unclaimed jobs
        self._left_over = True  # changes may be waiting in the table
        self._reconcile = False  # what the table says of our claims may differ from what we hold
        self._zone_said: SaidZone | None = _said(settings)  # not yet agreed on with the others
        self._sweeps = [Sweep(starting=True, wake=True, zones=True)]  # what concerns all jobs, one after the other
        self._pruner = Pruner(clock)
        self._census = Census(clock, settings.lease)
        self._reported: dict[tuple[str, str], None] = {}
        self._shares: dict[str, Share | None] = {}  # by pool, what of it is this node's while others serve it
        self._vain_looks: int | None = None  # for more work, since some came; None: it has enough
        self._slowest = 0  # µs, a turn of late
        self._call_at: int | None = None  # when what was left to others is anybody's
        # Jobs whose task this node has not, and others may have → the token under which each was given back.
        self._lacking: dict[int, int] = {}
        self._tell_pools = False  # the others do not know what this node has become
        self._draining = False
        self._gather = GATHER_CALM
        self._leave_by: int | None = None
        self._now_at: int | None = 0  # when a turn is due for what has gathered; None: nothing has
        self._poll_at = self._look_at = self._retry_at = self._neighbours_at = 0
        self._failures = self._failed_at = 0
        self._said: dict[str, int] = {}  # why the database is away → when the log was told
        self._ahead = clock.wall() - clock.monotonic()  # how far the wall clock is ahead of the monotonic one

    # The loop

    def run(self) -> None:
        """Open the store and go round until told to leave."""
        try:
            rules_version()  # takes a while, for which no transaction is to stand still
            self._open()
            while True:
                self.turned_at = self._clock.monotonic()
                self.step()
                if self._leave_by is not None and self._may_leave():
                    break
                wait = self._wait()
                self.inbox.patient = self._now_at is not None
                if wait > 0 and (self.inbox.patient or not self.inbox.pending()):
                    # Nothing calls a patient reader for what is not urgent, but some of it has less time than the rest.
                    self.inbox.wait(min(wait, GATHER) if self.inbox.patient else wait)
            self._sign_off()
        except Exception as error:  # noqa: BLE001 - a bug here must end the daemon, not leave it half alive
            self._outbox.put(Left(error))
        else:
            self._outbox.put(Left(None))

    def step(self) -> None:
        """Read the inbox and do what is due."""
        for message in self.inbox.take():
            self._receive(message)
        now = self._clock.monotonic()
        self._mind_clock(now)
        self._mind_neighbours(now)
        if self.trouble is not None:
            self._outcomes.keep(now)
        if now < self._retry_at:
            return
        try:
            if self._due(now):
                self._turn(now)
            elif now < min(self._pruner.at, self._census.at):
                return
            self._pruner.step(self._store, self._settings.history)
            self._census.step(self._store, self._settings.timezone)
        except OutcomeUnknown as error:
            self._reconcile = True
            self._lacking.clear()  # what was claimed has another token than the one that is known here
            self._database_away(error, now)
        except DatabaseUnavailable as error:
            self._database_away(error, now)
        else:
            if self.trouble is not None:
                logs.log("info", "the database is back")
                self._said.clear()
            self.trouble, self._failures = None, 0
            if self._outcomes.kept() and not self._outcomes:
                self._outcomes.empty_spool()

    def _mind_clock(self, now: int) -> None:
        """Notice that the wall clock was put back: what waits for a time must not wait for it to come round again."""
        ahead = self._clock.wall() - now
        if ahead < self._ahead - STEP:
            self._sweeps = with_another(self._sweeps, Sweep(put_back=self._ahead - ahead))
            self._soon(now)
        self._ahead = ahead

    def _mind_neighbours(self, now: int) -> None:
        """Look into the table at once when a neighbour has ended, however rarely that is polled."""
        if self._neighbours.any() and now >= self._neighbours_at:
            self._neighbours_at = now + NEIGHBOURS
            if self._neighbours.ended():
                self._look_at = now
                self._soon(now)

    def _open(self) -> None:
        self._store = self._open_store()
        self._register()
        self._deliver_spool()
        for one in self._store.transact(gone):
            if one.instance == self._instance:
                self._adopt(one)
        for row in self._store.transact(nodes.live):
            # The lock on the state directory is ours, so whoever ran here before is dead, whatever its heartbeat says.
            if row.instance == self._instance and row.id != self._node:
                self._bury(row, "its daemon died")
        self._begun.clear()
        if put_back := self._store.transact(lambda session: put_back_since(session, self._clock.wall, self._instance)):
            self._sweeps = with_another(self._sweeps, Sweep(put_back=put_back))
        self._outbox.put(Opened(self._node))

    def _register(self) -> None:
        sent = self._clock.monotonic()
        host, pid, now = os.uname().nodename, os.getpid(), self._clock.wall()
        lock, pools = self._lock, self._pools()
        self._node = self._store.transact(
            lambda s: nodes.register(s, host, pid, jobd.__version__, self._instance, now, lock, pools)
        )
        self.lease = Lease(self._settings.lease)
        self.lease.renewed(sent)
        self._now_at = sent

    def _receive(self, message: object) -> None:
        now = self._clock.monotonic()
        match message:
            case Settlement():
                self._outcomes.add(message)
                self._soon(now if len(self._outcomes) >= MOST_AT_ONCE else now + self._company(message))
            case Unresolved(settlement=settlement):
                self._receive(self._offered(settlement))
            case Began(job_id=job_id):
                self._began[job_id] = message
                self._soon(now if message.first else now + self._gather)
            case Printed(part=part):
                self._outcomes.print(part)
                self._soon(now + self._gather)
            case Recalled(job_id=job_id):
                self._recalled.discard(job_id)
                self._reconcile |= job_id not in self._held  # the table says that we hold it, and we do not
                self._soon(now)
            case Look():
                self._looks.append(message)
                self._retry_at = min(self._retry_at, self._failed_at + RETRY_ASKED)
                self._soon(now)
            case Hungry():
                self._soon(now)
            case Drain():
                self._draining = self._tell_pools = True
                self._soon(now)
            case Leave():
                self._leave_by = now + PATIENCE
                self._soon(now)
            case Abandoned(claims=claims):
                for job_id, (token, started) in claims.items():
                    if self._held.get(job_id, (0, ""))[0] == token:
                        del self._held[job_id]
                    if started is not None:
                        self._begun[job_id, token] = started
                self._reconcile = True
                self._soon(now)
            case Retune(settings=settings):
                self._settings, self._zone_said = settings, _said(settings)
                self._tell_pools = True
                self._lacking.clear()
                self._store.take_password(settings)
                self._sweeps = with_another(self._sweeps, Sweep(wake=True, zones=True))
                self._soon(now)

    def _offered(self, settlement: Settlement) -> Settlement:
        """What is given back for want of its task: at once to the others, if any serve its pool; else for a later try.

        This node leaves it to them from now on, unless nobody takes it, or a person changes it.
        """
        plan = settlement.plan
        if len(self._lacking) >= REMEMBERED:
            return settlement
        self._lacking[plan.job_id] = settlement.token
        if self._shares.get(plan.pool) is None:
            return settlement
        return settlement._replace(plan=plan._replace(ready=self._clock.wall()))

    def _soon(self, at: int) -> None:
        self._now_at = at if self._now_at is None else min(at, self._now_at)

    def _due(self, now: int) -> bool:
        moments = (self._now_at, self._call_at, self.lease.renewal_due())
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
        """Microseconds until something is due by itself."""
        moments = [self.lease.renewal_due(), self._poll_at, self._pruner.at, self._census.at]
        if self._neighbours.any():
            moments.append(self._neighbours_at)
        moments += [moment for moment in (self._now_at, self._call_at) if moment is not None]
        return max(min(moments), self._retry_at) - self._clock.monotonic()

    def _pause(self) -> int:
        """How long to wait for the next poll."""
        poll = self._settings.poll
        return poll if self._vain_looks is None else sooner(poll, self._vain_looks)

    def _horizon(self) -> int:
        return self._settings.poll + AHEAD

    # One turn

    def _turn(self, now: int) -> None:
        work = self._work(now)
        try:
            done = self._store.transact(lambda session: turn(session, self._of_now(work), self._settings))
        except Exception as error:
            if not _may_be_one_outcome(error) or not self._drop_bad(work.settlements):
                raise
            return
        if done.buried:
            self._start_over()
            return
        self._outcomes.drop(work.settlements)
        more_printed = self._outcomes.drop_printed(work.printed)
        for began in work.began:
            if began.first:
                self._outbox.put(Marked(began.job_id, began.token, began.job_id in done.marked))
        self._began.clear()
        if work.beat:
            self._begun.clear()
        for job_id, token in done.vanished.items():
            self._outbox.put(Vanished(job_id, token))  # it is held until that has ended: see Abandoned
        self._now_at = now if self._outcomes or more_printed else None
        self._reconcile = self._tell_pools = False
        answered = self._clock.monotonic()
        if work.beat:
            self.lease.renewed(now)
            self._outbox.put(Renewed())
        self._gather = self._gathering(answered - now, bool(done.more))
        self._let_go(work.settlements, done.accepted)
        self._pruner.ended((one.run for one in work.settlements if one.run is not None), self._settings.history)
        self._announce(done)
        self._slowest = max(answered - now, self._slowest * 7 // 8)
        self._mind_shares(work, done)
        if done.live is not None:
            self._look_at = now + self._pause()
            self._poll_at = min(self._poll_at, self._look_at)
        if work.said is not None and work.said is self._zone_said:
            self._zone_said = None
        self._sweeps[:1] = [done.sweep] if done.sweep is not None else []
        self._follow_zone(done.zone)
        if self._sweeps or done.found.more:
            self._soon(
                2 * answered - now
            )  # others, who may wait for this database, have as much time as this turn took
        if done.live is not None:
            self._take_over(now, answered, done.live)
        if done.gone is not None:
            seen = {one.node: one for one in done.gone}
            for node in self._gone.observe(now, answered, seen.items()):
                self._adopt(seen[node])

    def _mind_shares(self, work: Work, done: Done) -> None:
        """See whether this node has too little, and when to look after what it has left to the others."""
        if done.shares is not None:
            before, self._shares = self._shared(), done.shares
            if (shared := self._shared()) != before:
                self._outbox.put(Shared(shared))
            too_little = any(
                share is not None and self._holding(pool) < share.least and pool not in done.more
                for pool, share in done.shares.items()
            )
            vain = self._vain_looks if self._vain_looks is not None and not done.items else -1
            self._vain_looks = vain + 1 if too_little else None
        left = [
            moment
            for pool, moment in done.next_ready.items()
            if moment is not None and self._shares.get(pool) is not None and work.call < moment <= work.until
        ]
        self._call_at = None
        if left:
            ahead = look_at(min(left), last_call(self._slowest)) - self._clock.wall()
            self._call_at = self._clock.monotonic() + ahead

    def _shared(self) -> frozenset[str]:
        return frozenset(pool for pool, share in self._shares.items() if share is not None)

    def _holding(self, pool: str) -> int:
        return sum(name == pool for _, name in self._held.values())

    def _follow_zone(self, zone: str | None) -> None:
        """Go by the zone that the nodes have agreed on."""
        if zone is not None and zone != self._settings.timezone:
            logs.log("warning", f"jobs that name no time zone follow {zone}, as another node's jobd.toml has it")
            self._settings = self._settings._replace(timezone=zone)
            self._sweeps = with_another(self._sweeps, Sweep(zones=True))

    def _gathering(self, took: int, more: bool) -> int:
        """How long outcomes wait for company after a turn that took so long; not long while there is `more` to claim,
        because then it is this thread that the others wait for."""
        return GATHER if more else max(GATHER_CALM, min(GATHER_TURNS * took, GATHER_MOST))

    def _company(self, outcome: Settlement) -> int:
        """How long this outcome still waits for company."""
        ready, run = outcome.plan.ready, outcome.run
        if ready is None or ready >= (wall := self._clock.wall()) + AHEAD:
            return self._gather
        heard_after = max(0, wall - run.finished) if run is not None else 0
        return max(0, min(self._gather, GATHER) - heard_after)

    def _of_now(self, work: Work) -> Work:
        """`work`, when the transaction has begun, which may have taken long: by an old time a clock seems put back."""
        return work._replace(wall=self._clock.wall())

    def _work(self, now: int) -> Work:
        """What there is to do in the database; only a turn that has been committed takes any of it away."""
        settlements = self._outcomes.first(MOST_AT_ONCE)
        self._mind_unreadable()
        beat = now >= self.lease.renewal_due() or self._reconcile
        wall = self._clock.wall()
        until = wall + self._horizon()
        # Claims in a few large groups cost less than in many small ones, but other nodes are to have their share.
        urgent = wall + max(0, self._poll_at - now) + AHEAD if self.watch.alone() else until
        return Work(
            node=self._node,
            wall=wall,
            until=until,
            urgent=urgent,
            call=wall + last_call(self._slowest),
            beat=beat,
            look_around=beat or now >= self._look_at,
            look_for_gone=beat or not self._gone.alone(),
            settlements=settlements,
            began=list(self._began.values()),
            printed=self._outcomes.printed(),
            held={job_id: token for job_id, (token, _) in self._held.items()} if beat else {},
            begun=self._begun,
            sweep=self._sweeps[0] if self._sweeps else None,
            pools=self._pools() if self._tell_pools else None,
            said=self._zone_said,
            wanted={} if self._draining else self._wanted(settlements),
            shares=self._shares,
            priorities=self._priorities,
            without=NOTHING if self.watch.alone() else Without(dict(self._lacking), wall - UNRESOLVED_PAUSE),
        )

    def _mind_unreadable(self) -> None:
        """Let go of claims whose outcomes were in the spool and cannot be read back: they are told as lost runs."""
        for job_id, one in self._outcomes.unreadable.items():
            if self._held.get(job_id, (0, ""))[0] == one.token:
                del self._held[job_id]
            if one.started is not None:
                self._begun[job_id, one.token] = one.started
            self._reconcile = True
        self._outcomes.unreadable.clear()

    def _pools(self) -> Mapping[str, int]:
        """How many workers each pool has for what is claimed from now on."""
        return {} if self._draining else self._settings.pools

    def _wanted(self, settlements: list[Settlement]) -> dict[str, Want]:
        """How many claims each pool has room for."""
        released = {one.plan.job_id for one in settlements if not one.plan.node}
        wanted = {}
        calm = self._budget.calm  # else it would take more memory than it has to run more
        for pool, appetite in self._appetites.items():
            before = self._holding(pool)
            holding = before - sum(self._held.get(job_id, (0, ""))[1] == pool for job_id in released)
            most, now, over, above = appetite(self._horizon())
            most = min(most, self.most_claims())
            # Claims come in batches too: there is no hurry while half of what is wanted is in hand.
            room = most - holding if 2 * holding <= most else 0
            wanted[pool] = Want(room, min(now, most), holding, before, over, above) if calm else NO_ROOM
        return wanted

    def most_claims(self) -> int:
        """How many claims of a pool may be in hand."""
        return MOST_CLAIMS if self.watch.alone() else MOST_SHARED

    def _let_go(self, settlements: Sequence[Settlement], accepted: set[int]) -> None:
        for one in settlements:
            job_id = one.plan.job_id
            if job_id not in accepted:
                logs.log("warning", f"a late result of job {job_id} was discarded: its claim is no longer valid")
            if self._held.get(job_id, (0, ""))[0] != one.token:
                continue
            if not one.plan.node:
                del self._held[job_id]
            elif job_id not in accepted:  # its next attempt has begun already
                self._outbox.put(Vanished(job_id, one.token))

    def _announce(self, done: Done) -> None:
        for item in done.items:
            self._held[item.job.id] = (item.plan.token, item.plan.pool)
        if done.items or done.more:
            self._outbox.put(Claims(done.items, frozenset(done.more)))
        self._next_ready.update(done.next_ready)
        self._priorities.update(done.priorities)
        self._left_over = done.found.left_over
        if self._lacking:
            for job_id in done.claimed | done.found.touched:
                self._lacking.pop(job_id, None)
        before, self._called = self._called, self._tokens(done.found.recall)
        for job_id, _ in self._called.items() - before.items():
            self._recalled.add(job_id)
            self._outbox.put(Recall(job_id))
        before, self._cancelled = self._cancelled, self._tokens(done.found.cancel)
        for job_id, _ in self._cancelled.items() - before.items():
            self._outbox.put(Cancel(job_id))
        for name, problem in (*done.found.errors, *done.errors):
            self._report_invalid(name, problem)
        if self._looks and not self._recalled:
            self._answer_looks(None)

    def _answer_looks(self, trouble: str | None) -> None:
        for look in self._looks:
            self._outbox.put(Looked(partial(look.reply, trouble)))
        self._looks.clear()

    def _tokens(self, job_ids: Iterable[int]) -> dict[int, int]:
        return {job_id: self._held.get(job_id, (0, ""))[0] for job_id in job_ids}

    def _report_invalid(self, name: str, problem: str) -> None:
        if (name, problem) not in self._reported:
            if len(self._reported) >= REMEMBERED:
                self._reported.clear()
            self._reported[name, problem] = None
            logs.log("error", f"{name} is invalid and will not run: {problem}", job=name)

    # Nodes

    def _take_over(self, asked: int, answered: int, live: list[nodes.NodeRow]) -> None:
        others = {row.id: row for row in live if row.id != self._node}
        counters = [(row.id, row.heartbeat) for row in others.values()]
        for node in self.watch.observe(asked, answered, counters):
            self._bury(others.pop(node), "its node died")
        for node in self._neighbours.observe({row.id: row.lock for row in others.values()}):
            self._bury(others[node], "its daemon died")

    def _bury(self, row: nodes.NodeRow, reason: str) -> None:
        wall = self._clock.wall()
        losses = self._store.transact(lambda s: take_over(s, row, self._begun, wall, self._settings, reason))
        self._taken_over(losses, f"node {row.id} ({row.host}, process {row.pid}) is dead")

    def _adopt(self, one: Gone) -> None:
        wall = self._clock.wall()
        losses = self._store.transact(lambda s: adopt(s, one, self._begun, wall, self._settings))
        self._taken_over(losses, f"node {one.node}, which has claimed jobs, is not registered")

    def _taken_over(self, losses: Losses | None, what: str) -> None:
        if losses is not None:
            self._soon(self._clock.monotonic())
            logs.log(
                "warning", f"{what}: {losses.runs} of its runs were lost, {losses.waiting} of its jobs had not begun"
            )

    def _start_over(self) -> None:
        """Another node has buried this one: nothing that was claimed is ours any more, so begin as a new node."""
        logs.log("error", f"node {self._node} was declared dead by another node; its runs are ended")
        self._held.clear()
        self._outcomes.clear()
        self._began.clear()
        self._recalled.clear()
        self._called.clear()
        self._cancelled.clear()
        self._reconcile = True  # whoever declared it so may have left its claims as they were
        self._register()
        self._outbox.put(Buried(self._node))

    # Trouble, housekeeping, the end

    def _database_away(self, error: JobdError, now: int) -> None:
        """Try again later. The log is told of each reason at once, and then each minute, not at each try."""
        self._retry_at = now + min(RETRY_FIRST << min(self._failures, 10), RETRY_LAST)
        self._failed_at = now
        self._failures += 1
        self._left_over = True
        self._soon(now)
        self.trouble = str(error)
        if now - max(self._said.values(), default=now) >= MINUTE:
            self._said.clear()
        if self.trouble not in self._said and len(self._said) < MOST_REASONS:
            self._said[self.trouble] = now
            logs.log("error", f"{error}; retrying until it is back" + (f" ({error.hint})" if error.hint else ""))
        self._answer_looks(self.trouble)

    def _deliver_spool(self) -> None:
        """Hand in what a daemon before this one could not; what has been taken over meanwhile is refused."""
        count = written = 0
        for settlements in self._outcomes.left_behind():
            count += len(settlements)
            try:
                written += len(self._store.transact(partial(_settle_again, settlements)))
            except Exception as error:
                if not _may_be_one_outcome(error):
                    raise
                # The state of the daemon before must not keep this one from starting.
                if not self._drop_bad(settlements):
                    logs.log("error", f"the outcomes in the spool cannot be written: {error}")
        if count:
            logs.log("info", f"recovered {written} of {count} outcomes from the spool")
        self._outcomes.empty_spool()  # also of half a line, which would hide what is kept after it

    def _drop_bad(self, settlements: Sequence[Settlement]) -> bool:
        """A turn failed by what it wrote, not by the database: write the outcomes one by one and drop what is bad.

        Whether there was any such. Each drop is a bug in jobd or a broken table, but costs its own job only.
        """
        dropped = False
        for one in settlements:
            job_id = one.plan.job_id
            try:
                accepted = self._store.transact(partial(_settle_one, one))
            except Exception as its:
                if not _may_be_one_outcome(its):
                    raise
                dropped = True
                reason = f"its outcome could not be written: {type(its).__name__}: {its}"
                logs.log("error", f"job {job_id} is stopped: {reason}")
                self._store.transact(partial(_give_up_one, one, reason))
                if self._held.get(job_id, (0, ""))[0] == one.token:
                    del self._held[job_id]
            else:
                self._let_go([one], accepted)
            self._outcomes.drop([one])
        return dropped

    def _may_leave(self) -> bool:
        written = not self._outcomes and self.trouble is None
        return written or (self._leave_by is not None and self._clock.monotonic() > self._leave_by)

    def _sign_off(self) -> None:
        if self._outcomes:
            self._outcomes.keep(self._clock.monotonic(), hurry=True)
            kept = "they are kept for the next start" if self._outcomes.kept() else "they are lost"
            logs.log("error", f"{len(self._outcomes)} outcomes could not be written, {kept}: {self.trouble}")
        try:
            self._store.transact(self._leave)
        except JobdError as error:
            logs.log("warning", f"could not sign off: {error}")
        self._store.close()

    def _leave(self, session: Session) -> None:
        if not self._outcomes:
            # Claimed while the dispatch loop was already winding down: no run of these has begun. (Where one had, and
            # there was no time to say so, others record it as lost. A row that makes no sense they plan again.)
            left = [
                plan
                for plan, *_ in table.claims_of(session, self._node)
                if plan.due is not None and plan.started is None and (plan.job_id, plan.token) not in self._begun
            ]
            if left:
                table.settle(
                    session, [Settlement(self._node, plan.token, lifecycle.give_back(plan), None, ()) for plan in left]
                )
        nodes.leave(session, self._node, self._clock.wall())


def _may_be_one_outcome(error: Exception) -> bool:
    """Whether a single outcome among many may be what the database does not take, or jobd fails to write."""
    return isinstance(error, StatementRefused) or not isinstance(error, JobdError)


def _said(settings: Settings) -> SaidZone:
    return SaidZone(settings.timezone, settings.zone_of_machine)


def _settle_again(settlements: Sequence[Settlement], session: Session) -> set[int]:
    """Settle what an older jobd may have written, which knew less of a plan: these jobs are looked at again."""
    accepted = table.settle(session, settlements)
    table.note_changes(session, sorted(accepted), "changed")
    return accepted


def _settle_one(one: Settlement, session: Session) -> set[int]:
    return table.settle(session, [one])


def _give_up_one(one: Settlement, reason: str, session: Session) -> None:
    table.give_up(session, one, reason)
