"""The engine of a daemon: its processors, its keeper, and the dispatch loop's side of their messages.

It does not wait: the daemon's loop waits for the descriptors of `readers`, up to `wait_seconds`, and calls `step`.
"""

import random
import threading
from collections.abc import Callable, Collection
from typing import Any, assert_never

from jobd import logs
from jobd.clock import SECOND, Clock, SystemClock, iso
from jobd.engine.budget import Budget
from jobd.engine.keeper import Keeper
from jobd.engine.lease import Lease
from jobd.engine.mailbox import Mailbox
from jobd.engine.messages import (
    Abandoned,
    Cancel,
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
)
from jobd.engine.nodelock import Locks
from jobd.engine.pools import Pools
from jobd.engine.processor import Processor, RunSettings
from jobd.engine.spawner import Spawner
from jobd.engine.spool import Spool, open_spool
from jobd.engine.start_journal import StartJournal, open_start_journal
from jobd.errors import JobdError
from jobd.settings import Settings
from jobd.store.store import Store, open_store

MAX_REFRESHES = 100  # unanswered requests; limits memory if many commands come while the keeper waits
KEEPER_TIMEOUT = 60 * SECOND  # a keeper this late for its poll is considered hung


def _start_journal(settings: Settings) -> StartJournal:
    return open_start_journal(settings.state_dir)


def _spool(settings: Settings) -> Spool:
    return open_spool(settings.state_dir, settings.database)


class Engine:
    """Runs jobs, from `start` until `finished`. Its methods are called in the main thread only.

    `instance` identifies all daemons of a state directory. `chance` returns a number from 0 to 1. `spawner`, `store`,
    `mailbox`, `start_journal` and `spool` are factories. Raises JobdError if the start journal cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        instance: str,
        spawner: Callable[[Settings], Spawner],
        locks: Locks,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        store: Callable[[Settings], Store] = open_store,
        mailbox: type[Mailbox[Any]] = Mailbox,
        start_journal: Callable[[Settings], StartJournal] = _start_journal,
        spool: Callable[[Settings], Spool] = _spool,
    ) -> None:
        self.finished = False
        self.node = 0
        self._settings = settings
        self._clock = clock or SystemClock()
        self._make_spawner = spawner
        self._chance = chance
        self._spawner = spawner(settings)
        self._since = self._clock.wall()
        self._start_journal = start_journal(settings)
        known_starts = self._start_journal.read()  # of the previous daemon
        self._inbox: Mailbox[ToDispatch] = mailbox()
        self.budget = Budget()
        self.pools = Pools(settings.pools, self._processor)
        self._more: set[str] = set()
        self._state = "running"
        self._stop_at: int | None = None
        self._leaving = False
        self._refreshes = 0  # requested and not answered yet
        self._lease = Lease(settings.lease)  # as the keeper has reported it, like the next two
        self._others_exist = False  # other nodes are registered
        self._database_problem: str | None = None
        self._trusted = 0  # the deadline that the workers have, monotonic µs
        self.keeper = Keeper(
            settings,
            lambda: store(settings),
            instance,
            locks,
            self._clock,
            self.pools.demands(),
            known_starts,
            spool(settings),
            mailbox(),
            self._inbox,
            self.budget,
        )
        self._thread = threading.Thread(target=self.keeper.run, name="keeper", daemon=True)

    # Called by the daemon

    def start(self) -> None:
        """Start the workers, open the database and register this node. Raises JobdError if that fails."""
        self.pools.step()
        self._thread.start()
        while not self.node:
            self._inbox.wait(None)
            try:
                self._read_inbox()
            except JobdError:
                self.close()
                raise

    def readers(self) -> list[int]:
        """The descriptors that the engine waits on."""
        return [self._inbox.descriptor, *self.pools.readers()]

    def wait_seconds(self) -> float | None:
        """Seconds until `step` has timed work to do; None: it has none."""
        waits = [] if (wait := self.pools.wait_us()) is None else [wait]
        now = self._clock.monotonic()
        if self._stop_at is not None:
            waits.append(self._stop_at - now)
        if self.node and (at := self._lease_at()) > now:
            waits.append(at - now)
        return max(0, min(waits)) / SECOND if waits else None

    def step(self, ready: Collection[int]) -> None:
        """Handle the descriptors in `ready` and do the work that is due. Raises the error that ended the keeper."""
        # A renewal may have arrived since `ready` was found.
        if self._inbox.descriptor in ready or self._lease.expired(self._clock.monotonic()):
            self._read_inbox()
        self._check_lease()  # first, so that no run starts after the end of the lease
        if self.pools.handle(ready):
            self._spawner.kill_escaped(self.pools.pids())
        self.pools.step()
        self._request_claims()
        if (notice := self.budget.dropped_notice(self._clock.monotonic())) is not None:
            logs.log("warning", notice)
        if self._state != "running":
            self._wind_down()

    def drain(self, timeout: int | None = None) -> None:
        """Stop claiming, give back the jobs that have not started, and let runs continue for `timeout` µs.

        None: for `stop_timeout`, or for what an earlier call said.
        """
        if self._state == "running":
            self._state = "draining"
            self._stop_at = self._clock.monotonic() + self._settings.stop_timeout
            self.keeper.inbox.put(Drain())
            self.pools.give_back_all()
        if timeout is not None and self._stop_at is not None:
            self._stop_at = self._clock.monotonic() + timeout

    def drains_for(self) -> int:
        """How long runs may still continue, in µs."""
        return max(0, self._stop_at - self._clock.monotonic()) if self._stop_at is not None else 0

    def abort(self) -> None:
        """As `drain`, but kill runs at once. They are recorded as lost."""
        self.drain()
        self._stop_at = None
        self.pools.stop_runs("the daemon was stopped", grace=False)

    def close(self) -> None:
        """End every worker process and wait for it."""
        self.pools.close()

    def reload(self, settings: Settings) -> None:
        """Apply new settings and new plugin code. Runs in progress are not disturbed.

        Raises JobdError if the names of the pools have changed.
        """
        if set(settings.pools) != set(self.pools.names()):
            raise JobdError("pools cannot be added or removed by a reload", "restart the daemon")
        self._settings = settings
        self._spawner = self._make_spawner(settings)
        self.pools.renew_workers(settings.pools, self._run_settings(), self._spawner)
        self.keeper.inbox.put(SettingsChanged(settings))

    def takes_unknown_task(self) -> bool:
        """Whether a worker was given a task that it does not know, since the last call."""
        return self.pools.take_unknown_task()

    def refresh(self, reply: Callable[[str | None], None]) -> None:
        """Process the changes in the database now. `step` calls `reply` when they are in effect.

        The argument of `reply` is None, or the reason why the database cannot be used.
        """
        if self._refreshes >= MAX_REFRESHES:
            reply(self._database_problem or "too many commands wait for the daemon")
            return
        self._refreshes += 1
        self.keeper.inbox.put(Refresh(reply))

    def healthy(self) -> bool:
        """Whether the keeper thread is alive and cycling. A database outage does not count as unhealthy."""
        at_most = self._settings.poll + KEEPER_TIMEOUT
        return self._thread.is_alive() and self._clock.monotonic() - self.keeper.last_step_at < at_most

    def status(self) -> dict[str, object]:
        """The engine's part of `jobd status`."""
        running = self.pools.running()
        return {
            "state": self._state,
            "node": self.node,
            "since": iso(self._since),
            "workers": self.pools.ready_workers(),
            "running": len(running),
            "runs": [
                {"job": run.claim.job.name, "run": run.claim.state.number, "since": iso(run.started)} for run in running
            ],
            "queued": self.pools.queued(),
            "database": self._database_problem or "ok",
            "log_failures": logs.failures(),
            "buffered": self.budget.used,
        }

    # Inside

    def _run_settings(self) -> RunSettings:
        return RunSettings(self._settings.timezone, self._settings.history.output)

    def _processor(self, size: int, in_flight: set[int]) -> Processor:
        chance, record_start = self._chance, self._start_journal.record
        run_settings, clock, report = self._run_settings(), self._clock, self._report
        return Processor(size, run_settings, self._spawner, clock, chance, report, record_start, self.budget, in_flight)

    def _report(self, message: ToKeeper) -> None:
        self.keeper.inbox.put(message, urgent=isinstance(message, RunStarted) and message.before_start)

    def _read_inbox(self) -> None:
        for message in self._inbox.take():
            match message:
                case NewClaims(more=more):
                    self._queue(message)
                    self._more |= more
                case PoolsShared(pools=pools):
                    self.pools.set_shared(pools)
                case Recall(job_id=job_id):
                    self.pools.recall(job_id)
                    self.keeper.inbox.put(Recalled(job_id))
                case Cancel(job_id=job_id):
                    self.pools.cancel(job_id)
                case StartRecorded(job_id=job_id, token=token, held=held):
                    self.pools.start_recorded(job_id, token, held)
                case ClaimVanished(job_id=job_id, token=token):
                    self.pools.abandon(job_id, token, "its run was ended, because its claim is no longer in the table")
                    if not self.pools.is_in_flight(job_id):  # else Abandoned follows when its process has ended
                        self.keeper.inbox.put(Abandoned({job_id: (token, None)}))
                case Refreshed(reply=reply):
                    self._refreshes -= 1
                    reply()
                case NodeRegistered(node=node):
                    self.node = node
                case LeaseRenewed() | OtherNodes() | DatabaseState():
                    self._note_state(message)
                case DeclaredDead(node=node):
                    self.node = node
                    self.pools.abandon_all("its run was ended here, because another node has taken it over")
                case KeeperEnded(error=error):
                    if error is not None:
                        raise error
                    self.finished = True
                case _:
                    assert_never(message)

    def _note_state(self, message: LeaseRenewed | OtherNodes | DatabaseState) -> None:
        match message:
            case LeaseRenewed(sent=sent, length=length):
                if length != self._lease.length:
                    self._lease = Lease(length)
                self._lease.renewed(sent)
            case OtherNodes(exist=exist):
                self._others_exist = exist
            case DatabaseState(problem=problem):
                self._database_problem = problem
            case _:
                assert_never(message)

    def _queue(self, new: NewClaims) -> None:
        self.pools.queue(new.claims)
        if self._state != "running":
            self.pools.give_back_all()

    def _request_claims(self) -> None:
        """Request more claims for each pool that runs low, if the keeper has reported more due jobs for it."""
        for pool in list(self._more):
            if self.pools[pool].runs_low(alone=not self._others_exist):
                self._more.discard(pool)
                self.keeper.inbox.put(ClaimMore())

    def _check_lease(self) -> None:
        """Send changed deadlines to the workers' guardians, and end all runs when the lease has expired."""
        if not self.node:
            return
        lease, now = self._lease, self._clock.monotonic()
        bound = self._bound_by_lease()
        trusted = (lease.deadline() or 0) if bound else lease.prolonged(now, self._trusted)
        if trusted != self._trusted:
            self._trusted = trusted
            self.pools.trust_until(trusted)
        if bound and lease.expired(now):
            # This includes claims that arrived in this step: their commit was confirmed too late.
            self.pools.abandon_all("its run was ended, because the database is unavailable and the lease has expired")

    def _bound_by_lease(self) -> bool:
        """Whether runs must end when the lease does: `on_db_loss` says so, or another node may take them over."""
        return self._settings.on_db_loss == "kill" or self._others_exist

    def _lease_at(self) -> int:
        """When `_check_lease` has work to do without a message from the keeper (monotonic µs)."""
        lease = self._lease
        return (lease.deadline() or 0) if self._bound_by_lease() else lease.prolong_at(self._trusted)

    def _wind_down(self) -> None:
        if self._stop_at is not None and self._clock.monotonic() >= self._stop_at:
            self._stop_at = None
            self.pools.stop_runs("the daemon was stopped, and the run did not end in time", grace=True)
        # Wait for processes that are being killed too: after the sign-off other nodes may start their jobs at once.
        if not self.pools.any_in_flight() and not self._leaving:
            self._leaving = True
            self.keeper.inbox.put(SignOff())
