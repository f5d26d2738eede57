"""A simulated node: the real engine (dispatch loop, WorkQueue, Processor, keeper, lease) on the simulation's seams.

It may be frozen, killed, stopped and started again.
"""

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.engine import Engine
from jobd.engine.mailbox import Mailbox
from jobd.engine.spool import Place
from jobd.errors import JobdError
from jobd.settings import Settings
from tests.simulation.events import Fiber, Violation
from tests.simulation.fake_workers import FakeSpawner, FakeWorker
from tests.simulation.network import Line, NodeStore

EPOCH = 1_798_761_600 * SECOND  # 2027-01-01 00:00 UTC
TIGHT = 4_000  # bytes of results and output that a daemon may buffer: a few outcomes
LAG = 200  # µs, at most, from a wake-up to the step


class NodeClock:
    """A node's clocks: its wall clock may be wrong, and its monotonic clock starts at any value."""

    def __init__(self, cluster: Any, offset: int) -> None:
        self._cluster = cluster
        self._offset = offset
        self.skew = 0
        self.set_at = -(10**12)

    def set(self, skew: int) -> None:
        """Set the wall clock `skew` µs ahead of the true time."""
        self.skew, self.set_at = skew, self._cluster.events.now

    def wall(self) -> int:
        return int(EPOCH + self._cluster.events.now + self.skew)

    def monotonic(self) -> int:
        return int(self._cluster.events.now + self._offset)


class SimMailbox(Mailbox[object]):
    """A mailbox whose reader is woken by the simulation."""

    _numbers = -1

    def __init__(self) -> None:
        super().__init__()
        os.close(self.descriptor)
        SimMailbox._numbers -= 1
        self.descriptor = SimMailbox._numbers
        self.wake: Callable[[], None] = lambda: None
        self.sleep: Callable[[int | None], None]

    def put(self, message: object, urgent: bool = True) -> None:
        self._messages.append(message)
        if urgent or not self.patient:
            self.wake()

    def wait(self, timeout: int | None) -> None:
        self.sleep(timeout)

    def take(self) -> list[object]:
        taken = list(self._messages)
        self._messages.clear()
        return taken


class Died(BaseException):
    """The process dies here, at a crash point."""


class MemoryStartJournal:
    """A machine's start journal."""

    def __init__(self, effect: Callable[[str], None]) -> None:
        self._effect = effect
        self._begun: dict[tuple[int, int], int] = {}

    def record(self, job_id: int, token: int, started: int) -> None:
        self._begun[job_id, token] = started
        self._effect("marked")

    def read(self) -> dict[tuple[int, int], int]:
        return dict(self._begun)


class MemorySpool:
    """A machine's spool; a place in it is a number."""

    def __init__(self, effect: Callable[[str], None]) -> None:
        self._effect = effect
        self._kept: list[ClaimUpdate] = []

    def load(self) -> list[Place]:
        last = {one.state.job_id: number for number, one in enumerate(self._kept)}
        return [Place(number, 1) for number in sorted(last.values())]

    def read(self, place: Place) -> ClaimUpdate:
        return self._kept[place.start]

    def add(self, updates: Iterable[ClaimUpdate]) -> list[Place]:
        self._effect("spool")
        start = len(self._kept)
        self._kept += updates
        self._effect("spooled")
        return [Place(number, 1) for number in range(start, len(self._kept))]

    def rewrite(self, places: Iterable[Place]) -> list[Place]:
        self._kept = [self.read(place) for place in places]
        return [Place(number, 1) for number in range(len(self._kept))]

    def clear(self) -> None:
        self._effect("clear the spool")
        self._kept.clear()


class SimLocks:
    """A daemon's lock, and its view of the locks of other daemons on its machine."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.name: str | None = f"{node.number} {node.life}"

    def is_held(self, name: str) -> bool:
        number, life = map(int, name.split())
        holder = self._node.cluster.nodes[number - 1]
        return bool(holder.machine == self._node.machine and holder.holds(life))


class Node:
    """A daemon and its workers. Several nodes may be on one machine."""

    def __init__(self, cluster: Any, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.instance = f"instance {number}"
        self.machine = number
        self.settings: Settings | None = None  # its own; None: those of the simulation
        self.clock = NodeClock(cluster, cluster.random.randrange(10**9))
        self.line = Line()
        self.start_journal, self.spool = MemoryStartJournal(self.effect), MemorySpool(self.effect)
        self.on_effect: Callable[[str], None] = lambda name: None
        self.fake_workers: list[FakeWorker] = []
        self.pids = number * 100_000
        self.up = False
        self.up_since = 0
        self.frozen_until = 0
        self.froze_whole = False
        self.thawed_at = -(10**12)
        self.alone_until = -(10**12)  # when its keeper last continued without a sign of another node
        self.life = 0  # counts the daemons, so that an event for one does not reach the next
        self.locked_by = 0  # the newest of them
        self._sleep_number = 0  # counts the keeper's sleeps
        self._sleeping = False  # the keeper waits for its inbox
        self._step_at: int | None = None

    # The daemon's life

    def start(self) -> None:
        """Start a daemon, as soon as the previous daemon's processes have ended."""
        if self.up:
            return
        if any(fake_worker.alive for fake_worker in self.fake_workers):
            self.cluster.events.after(10 * MILLISECOND, self.start)
            return
        self.up = True
        self.up_since = self.cluster.events.now
        self.life += 1
        self.locked_by = self.life
        self._step_at = None
        self.fake_workers = []
        self.cluster.trace(f"node {self.number} starts")
        self.engine = Engine(
            self.settings or self.cluster.settings,
            self.instance,
            lambda settings: FakeSpawner(self),
            SimLocks(self),
            self.clock,
            self.cluster.random.random,
            lambda settings: NodeStore(self),
            SimMailbox,
            lambda settings: self.start_journal,
            lambda settings: self.spool,
        )
        if self.cluster.small_buffers:
            self.engine.budget.limit = TIGHT
        keeper: Any = self.engine.keeper
        keeper._run_cycle = partial(self.cluster.checks.priorities.cycle, self, keeper._run_cycle)
        inbox: Any = keeper.inbox
        outbox: Any = self.engine._inbox
        inbox.wake, inbox.sleep, outbox.wake = self._wake_keeper, self._sleep_until_message, self.wake
        self._fiber = Fiber(self.engine.keeper.run)
        self._resume(self.life)
        self.wake()

    def crash(self, restart_after: int) -> None:
        """Kill the daemon; its runs end as fast as their guardians can kill them."""
        if not self.up:
            return
        self.cluster.trace(f"node {self.number} (id {self.engine.node}) crashes")
        self.cluster.checks.crashed(self)
        self._end()
        for fake_worker in self.fake_workers:
            fake_worker.end()
        self.cluster.events.after(restart_after, self.start)

    def stop(self, now: bool) -> None:
        """Send SIGTERM, twice with `now`."""
        if self.up and self.engine.node:
            self.cluster.trace(f"node {self.number} (id {self.engine.node}) is stopped{' now' if now else ''}")
            if now:
                self.engine.abort()
            else:
                self.engine.drain()
            self.wake()

    def freeze(self, duration: int, whole: bool) -> None:
        """Freeze the daemon, or with `whole` the machine."""
        if self.up and self.cluster.events.now >= self.frozen_until:
            what = "machine" if whole else "daemon"
            self.cluster.trace(f"{what} {self.number} is frozen for {duration / SECOND:.1f} s")
            self.frozen_until = self.cluster.events.now + duration
            self.froze_whole = whole
            self.cluster.events.at(self.frozen_until, self._thaw)

    def suspended(self) -> bool:
        """Whether its runs are frozen."""
        return self.froze_whole and self.cluster.events.now < self.frozen_until

    def undisturbed_since(self) -> int | None:
        """The moment since which it has been up, not frozen and connected without faults; None: it is not."""
        if not self.up or self.cluster.events.now < self.frozen_until or not self.line.is_free():
            return None
        return max(self.up_since, self.thawed_at, self.line.mended_at)

    def holds(self, life: int) -> bool:
        """Whether this daemon's lock is held: by itself, or by a guardian of its runs."""
        return (self.up and life == self.life) or (
            life == self.locked_by and any(fake_worker.alive for fake_worker in self.fake_workers)
        )

    def effect(self, name: str) -> None:
        """A crash point, just before or after an effect outside of the process."""
        if self.up:
            self.on_effect(name)

    # Time

    def own(self, delay: int, what: Callable[[], None]) -> None:
        """Call `what` on this machine after `delay`, or when the machine thaws."""

        def happen() -> None:
            if self.suspended():
                self.cluster.events.at(self.frozen_until, happen)
            else:
                what()

        self.cluster.events.after(max(0, delay), happen)

    def sleep(self, duration: int) -> None:
        """Let the keeper wait for the network."""
        self._sleep_number += 1
        number, life = self._sleep_number, self.life
        self.cluster.events.after(duration, lambda: self._end_sleep(life, number))
        self._fiber.park()

    def wake(self) -> None:
        """Wake the dispatch loop."""
        self._step_by(self.cluster.events.now + self.cluster.random.randrange(LAG))

    def note_output(self) -> None:
        """A run has printed."""
        if self.cluster.reads_at_once:
            self._step_by(self.cluster.events.now + self.cluster.output_random.randrange(LAG))

    # Internal
    def _end(self) -> None:
        self.up = False
        self.life += 1
        self._fiber.kill()

    def _thaw(self) -> None:
        self.thawed_at = self.cluster.events.now
        self.cluster.checks.thawed(self)
        self.wake()

    def _step_by(self, moment: int) -> None:
        if self.up and (self._step_at is None or moment < self._step_at):
            self._step_at = moment
            life = self.life
            self.cluster.events.at(moment, lambda: self._step(life, moment))

    def _step(self, life: int, moment: int) -> None:
        if life != self.life or moment != self._step_at:
            return
        if self.cluster.events.now < self.frozen_until:
            self._step_at = None
            self._step_by(self.frozen_until)
            return
        self._step_at = None
        engine = self.engine
        engine.readers()
        ready = {fake_worker.pid for fake_worker in self.fake_workers if fake_worker.said}
        ready |= {fake_worker.output for fake_worker in self.fake_workers if fake_worker.printed}
        ready |= {fake_worker.ended for fake_worker in self.fake_workers if fake_worker.gone}
        ready.add(engine._inbox.descriptor)
        try:
            engine.step(self._in_any_order(ready & set(engine.readers())))
        except (JobdError, Died) as error:
            if engine.node and isinstance(error, JobdError):
                raise Violation(f"node {self.number} ended by itself: {error}") from error
            self.cluster.trace(f"node {self.number} gives up: {error}")
            self.crash(5 * SECOND)
            return
        self.fake_workers = [
            fake_worker
            for fake_worker in self.fake_workers
            if not fake_worker.gone or fake_worker.ended in engine.readers()
        ]
        if engine.finished:
            self.cluster.trace(f"node {self.number} (id {engine.node}) has left")
            self._end()
            engine.close()
            for fake_worker in self.fake_workers:
                fake_worker.end()
            self.cluster.events.after(self.cluster.delay(5 * SECOND), self.start)
            return
        timeout = engine.wait_seconds()
        if timeout is not None:
            self._step_by(self.cluster.events.now + round(timeout * SECOND) + self.cluster.random.randrange(LAG))

    def _in_any_order(self, ready: set[int]) -> list[int]:
        """Order descriptors at random, as the operating system may. A set's order would depend on earlier seeds."""
        named: list[int] = self.cluster.order.sample(sorted(ready), len(ready))
        return named

    def _sleep_until_message(self, timeout: int | None) -> None:
        assert timeout is not None
        self._sleeping = True
        if self.engine.keeper.inbox.pending() and not self.engine.keeper.inbox.patient:
            timeout = 0
        self.sleep(timeout + self.cluster.random.randrange(LAG))

    def _wake_keeper(self) -> None:
        if self._sleeping:
            number, life = self._sleep_number, self.life
            self.cluster.events.after(self.cluster.random.randrange(LAG), lambda: self._end_sleep(life, number))

    def _end_sleep(self, life: int, number: int) -> None:
        if life != self.life or number != self._sleep_number:
            return
        if self.cluster.events.now < self.frozen_until:
            self.cluster.events.at(self.frozen_until, lambda: self._end_sleep(life, number))
            return
        self._sleeping = False
        self._sleep_number += 1
        self._resume(life)

    def _resume(self, life: int) -> None:
        if self.engine.keeper.membership.alone():
            self.alone_until = self.cluster.events.now
        try:
            self._fiber.resume()
        except Died:
            self.crash(5 * SECOND)
