"""A node under test: the real keeper, WorkQueue and Processor on a real SQLite file.

Clocks, processes and random numbers are injected. Time passes only in `NodeHarness.pass_time`, so a year takes seconds
and is exact.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from jobd.clock import DAY, HOUR, MILLISECOND, SECOND, iso
from jobd.engine.budget import Budget
from jobd.engine.demand import Demand
from jobd.engine.keeper import Keeper
from jobd.engine.mailbox import Mailbox
from jobd.engine.messages import (
    Abandoned,
    Cancel,
    ClaimVanished,
    NewClaims,
    NodeRegistered,
    Recall,
    Recalled,
    Refresh,
    Refreshed,
    StartRecorded,
    ToDispatch,
    ToKeeper,
)
from jobd.engine.processor import Processor, RunSettings
from jobd.engine.spool import FileSpool, open_spool
from jobd.job import DEFAULT_POOL, Job, Options
from jobd.settings import HistorySettings, LogSettings, Settings
from jobd.store import definitions
from jobd.store.store import Store
from jobd.store.url import Target
from jobd.wire import VERSION, Order, decode, decode_order, encode, end_mark

START = 1_798_761_600 * SECOND  # 2027-01-01 00:00 UTC
SHORT = MILLISECOND  # the duration of a run
SECRET = "5" * 32  # of the mark at the end of its output


class Ran(NamedTuple):
    """A run that has ended, and both clocks at its end, in µs."""

    job: str
    due: str
    wall: int
    monotonic: int


class ManualClock:
    """A wall clock and a monotonic clock that stand still until a test moves them."""

    def __init__(self, wall: int) -> None:
        self.ahead = wall  # µs by which the wall clock is ahead of the monotonic one
        self.passed = 0

    def wall(self) -> int:
        return self.passed + self.ahead

    def monotonic(self) -> int:
        return self.passed


class FakeWorker:
    """A simulated worker process: it takes orders, and ends each run at a moment of the harness's clock."""

    def __init__(self, pid: int, harness: Any) -> None:
        self.pid = pid
        self.messages = pid
        self.output = pid + 2_000_000
        self.ended = pid + 1_000_000
        self.lease_expired = False
        self.order: Order | None = None
        self.done_at: int | None = None
        self._harness = harness
        self._said = [encode("ready", VERSION, SECRET)]
        self._printed = end_mark(SECRET)
        self.most_prefetched = 0  # the largest number of prefetched orders so far
        self.orders_received = 0  # the number of orders sent to it
        self.refuses_prefetch = False  # it prefetches nothing
        self._sent: list[Order] = []  # sent, and not flushed yet
        self._orders: list[Order] = []  # flushed, and not taken yet

    @property
    def speaks(self) -> bool:
        """Whether there is a message to receive."""
        return bool(self._said)

    def send(self, packet: bytes) -> None:
        self._sent.append(decode_order(decode(packet)))
        self.orders_received += 1

    def flush(self) -> bool:
        if self.refuses_prefetch and self.order is not None and self._sent:
            return False
        self._orders += self._sent
        self._sent.clear()
        self._take()
        self.most_prefetched = max(self.most_prefetched, len(self._orders))
        return True

    def receive(self) -> list[bytes]:
        said, self._said = self._said, []
        return said

    def read_output(self) -> bytes | None:
        printed, self._printed = self._printed, b""
        return printed or None

    def unread(self) -> int:
        return len(self._printed)

    def revoke(self) -> int:
        count = len(self._orders) + len(self._sent)
        self._orders.clear()
        self._sent.clear()
        return count

    def finish(self, outcome: str = "succeeded") -> None:
        """End the current run."""
        assert self.order is not None
        clock = self._harness.clock
        self._harness.ran.append(Ran(self.order.job, iso(self.order.due), clock.wall(), clock.monotonic()))
        self._printed += end_mark(SECRET)
        self._said.append(encode("done", self.order.serial, outcome, None, None, False, SECRET))
        self.order = self.done_at = None
        self._take()

    def send_bytes(self, packet: bytes) -> None:
        """Send this message, and discard all earlier messages that have not been received."""
        self._said = [packet]

    def _take(self) -> None:
        if self.order is None and self._orders:
            self.order = self._orders.pop(0)
            self.done_at = self._harness.clock.monotonic() + self._harness.takes(self.order)

    def trust_until(self, deadline: int) -> None:
        pass

    def terminate(self) -> None:
        pass

    def end(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def wait(self, timeout: int) -> bool:
        return True

    def reap(self) -> int:
        return 0


class FakeSpawner:
    """A spawner of fake workers instead of processes."""

    def __init__(self, harness: Any) -> None:
        self._harness = harness
        self._pids = 0

    def start(self) -> FakeWorker:
        self._pids += 1
        fake_worker = FakeWorker(self._pids, self._harness)
        self._harness.fake_workers.append(fake_worker)
        return fake_worker

    def kill_escaped(self, known: Collection[int]) -> None:
        pass


HARNESSES: list["NodeHarness"] = []  # all that were made, for the fixture that stops them


class NodeHarness:
    """One node and its clocks."""

    def __init__(self, folder: Path, workers: int = 8, poll: int = HOUR, lease: int = 1_000 * DAY) -> None:
        self.clock = ManualClock(START)
        self.ran: list[Ran] = []
        self.takes: Callable[[Order], int] = lambda order: SHORT
        self._folder = folder
        spool = open_spool(str(folder), "world")
        assert isinstance(spool, FileSpool)
        self._spool = spool
        self.name: str | None = None  # it has no lock that others could look at
        self.fake_workers: list[FakeWorker] = []
        self._settings = settings(folder, poll)._replace(lease=lease)
        self._workers = workers
        self.store = Store(Target("sqlite", str(folder / "jobd.db")))
        self.start()
        HARNESSES.append(self)

    def start(self) -> None:
        """Start a daemon."""
        self._up = True
        self._inbox: Mailbox[ToDispatch] = Mailbox()
        keepers_inbox: Mailbox[ToKeeper] = Mailbox()
        run_settings = RunSettings("UTC", 1024)
        spawner = FakeSpawner(self)
        self.budget = Budget()
        clock, report = self.clock, self._report
        self._processor = Processor(
            self._workers, run_settings, spawner, clock, lambda: 0.5, report, ignore_start, budget=self.budget
        )
        demands = {DEFAULT_POOL: lambda horizon: Demand(2_000, 2_000)}
        self._keeper = Keeper(
            self._settings,
            self._open,
            "instance",
            self,
            clock,
            demands,
            {},
            self._spool,
            keepers_inbox,
            self._inbox,
            self.budget,
        )
        self._keeper._pruner.next_at = 2**62  # never: no run is pruned here
        self._keeper._schedule_scan.next_at = 2**62
        self._keeper._open()
        self._handle_events()

    def is_held(self, name: str) -> bool:
        """Whether the lock of another node is held: there is none."""
        return False

    def stop(self) -> None:
        """Kill the daemon; its runs end with it."""
        if not self._up:
            return
        self._up = False
        for fake_worker in self.fake_workers:
            fake_worker.reap()
        self.fake_workers.clear()
        self._keeper._store.close()
        for mailbox in (self._inbox, self._keeper.inbox):
            os.close(mailbox.descriptor)

    def add(self, *jobs: Job) -> None:
        """Store jobs."""
        definitions.add(self.store, jobs, self.clock.wall(), "UTC")
        self.look()

    def look(self) -> None:
        """Notify the daemon of a change in the database."""
        self._keeper.inbox.put(Refresh(lambda trouble: None))
        self._handle_events()

    def pass_time(self, duration: int) -> None:
        """Let `duration` µs pass, one event after the other."""
        until = self.clock.passed + duration
        while True:
            self._handle_events()
            following = self._next_event()
            if following > until:
                self.clock.passed = until
                self._handle_events()
                return
            self.clock.passed = max(self.clock.passed, following)

    def shift_wall(self, by: int) -> None:
        """Move the wall clock forward, or back, by so many µs."""
        self.clock.ahead += by

    # Internal
    def _open(self) -> Store:
        store = Store(Target("sqlite", str(self._folder / "jobd.db")))
        store._database.connection().execute("PRAGMA synchronous = OFF")
        return store

    def _report(self, message: ToKeeper) -> None:
        self._keeper.inbox.put(message, urgent=False)

    def _next_event(self) -> int:
        now = self.clock.passed
        waits = [fake_worker.done_at - now for fake_worker in self.fake_workers if fake_worker.done_at is not None]
        processor = self._processor.wait_us()
        if processor is not None:
            waits.append(processor)
        waits.append(max(0, self._keeper._wait()))
        return now + max(1, min(waits))

    def _handle_events(self) -> None:
        """Handle every event of the present moment."""
        for _ in range(20):
            for fake_worker in self.fake_workers:
                if fake_worker.done_at is not None and fake_worker.done_at <= self.clock.passed:
                    fake_worker.finish()
            read_workers(self._processor)
            self._processor.step()
            self._keeper.step()
            messages = self._inbox.take()
            for message in messages:
                self._receive(message)
            self._processor.step()
            if not messages and not any(fake_worker.speaks for fake_worker in self.fake_workers):
                return

    def _receive(self, message: object) -> None:
        match message:
            case NewClaims(claims=claims):
                for claim in claims:
                    self._processor.queue.put(claim, claim.state.ready or 0)
            case Recall(job_id=job_id):
                self._processor.recall(job_id)
                self._keeper.inbox.put(Recalled(job_id))
            case Cancel(job_id=job_id):
                self._processor.cancel(job_id)
            case StartRecorded(job_id=job_id, token=token, held=held):
                self._processor.start_recorded(job_id, token, held)
            case ClaimVanished(job_id=job_id, token=token):
                self._processor.abandon(job_id, token, "its claim is gone")
                if job_id not in self._processor._in_flight:
                    self._keeper.inbox.put(Abandoned({job_id: (token, None)}))
            case Refreshed(reply=reply):
                reply()
            case NodeRegistered():
                pass


def ignore_start(job_id: int, token: int, started: int) -> None:
    """A start journal that records nothing for the next daemon."""


def read_workers(processor: Processor) -> None:
    """Let the processor handle the messages of its fake workers."""
    for worker in processor.workers:
        if worker.child.speaks:  # type: ignore[attr-defined]
            processor.handle(worker, "messages")


def settings(folder: Path, poll: int) -> Settings:
    return Settings(
        path=str(folder / "jobd.toml"),
        database="",
        password=None,
        plugins=str(folder),
        state_dir=str(folder),
        timezone="UTC",
        commands=False,
        poll=poll,
        lease=1_000 * DAY,
        stop_timeout=SECOND,
        on_db_loss="finish",
        log=LogSettings(),
        history=HistorySettings(100_000 * DAY, 1_000_000, 1024),
        pools={DEFAULT_POOL: 8},
        defaults=Options(),
        retry_times=0,
    )
