"""A simulation: a database, some nodes, some jobs, users who edit them, and faults, all derived from one seed.

Each seed has its own selection and rates of faults (a "swarm"), so that rare combinations occur. At the end the faults
stop, and the final state must be right.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jobd import logs
from jobd.clock import DAY, HOUR, MILLISECOND, SECOND
from jobd.engine import missing_schedules, orders, worker
from jobd.engine.messages import Refresh
from jobd.errors import JobdError
from jobd.job import DEFAULT_POOL, Job, Options
from jobd.settings import HistorySettings, LogSettings, Settings
from jobd.store import definitions, requests
from jobd.wire import Order
from tests.simulation.checks import Checks
from tests.simulation.events import Events
from tests.simulation.fake_workers import Act
from tests.simulation.network import Database, local_store
from tests.simulation.node import EPOCH, Node

LEASE = 3 * SECOND
POLL = SECOND // 2
TROUBLE = 20 * SECOND  # the time with faults
REST = LEASE + 2 * POLL + 15 * SECOND  # the time after the faults; at its end everything must be right
PRIORITIES = -100, -1, 0, 0, 5, 100
MANUAL_EDITS = {
    "claims of nobody": ["UPDATE schedule SET node_id = 99 WHERE node_id <> 0"],
    "nodes stopped": ["UPDATE node SET stopped_time = 1 WHERE stopped_time IS NULL"],
    "nodes deleted": ["DELETE FROM node"],
    "tokens at their end": [f"UPDATE schedule SET token = {2**63 - 1} WHERE job_id % 3 = 0"],
    "counters at their end": [f"UPDATE node SET heartbeat = {2**63 - 1}"],
    "rows of schedule deleted": ["DELETE FROM schedule WHERE job_id = (SELECT id FROM job WHERE name = 'long')"],
    "jobs replaced": [
        "CREATE TEMP TABLE kept AS SELECT * FROM job WHERE name LIKE 'edited%'",
        "DELETE FROM job WHERE name LIKE 'edited%'",
        "INSERT INTO job SELECT * FROM kept",
        "DROP TABLE kept",
    ],
}
ONCE = {"counters at their end", "rows of schedule deleted"}  # a node may see two of these edits as one


class Conditions(NamedTuple):
    """Conditions of a simulation that replace those drawn from its seed."""

    nodes: int = 0  # each on its own machine
    same_machine: bool = False  # all on one machine
    faults: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()  # manual edits, from MANUAL_EDITS
    equal: bool = False  # all jobs have one priority


DRAWN = Conditions()
EQUAL = Conditions(equal=True)


class SimCluster:
    """The simulation of one seed."""

    def __init__(self, seed: int, conditions: Conditions = DRAWN) -> None:
        # The texts of these seeds stay as they are: the recorded seeds depend on the draws.
        self.random = random.Random(seed)
        self.events = Events()
        self.trace_lines: list[str] = []
        self.database = Database()
        self.checks = Checks(self)
        self.output_random = random.Random(f"voice of {seed}")  # draws the output of runs
        self.order = random.Random(f"order of {seed}")  # draws the order of readable descriptors
        self.reads_at_once = self.output_random.random() < 0.5  # daemons read output immediately
        self.small_buffers = random.Random(f"tight of {seed}").random() < 0.25  # buffers are small
        self.settings = _settings(self.random)
        self.witnesses: dict[str, int] = {}
        self.once: list[str] = []
        self.edited: set[str] = set()
        self._store = local_store(self)
        self._acts: dict[str, Callable[[Order], Act]] = {}
        self._quiet = False
        self.clocks_moved = False
        self.nodes = [Node(self, number) for number in range(1, 1 + self.random.choice([1, 2, 2, 3, 3, 5]))]
        self._faults = self._choose_faults()
        builder = random.Random(f"builder of {seed}")
        for node in self.nodes:
            node.machine = builder.choice([0, 0, node.number])  # some share one
        self._edit_random = random.Random(f"meddler of {seed}")
        self._done_once: set[str] = set()
        self.edits_tables = self._edit_random.random() < 0.25  # a user edits jobd's own tables
        # Whether long runs are prefetched too, and the time after which that is corrected.
        self._line = self.random.choice([orders.PREFETCH_WORK, 100 * SECOND])
        self._line_moves = self.random.choice([worker.MAX_PREFETCH_WAIT, SECOND // 3])
        self._ranks = random.Random(f"priority of {seed}")
        self.with_priorities = not conditions.equal and self._ranks.random() < 0.5  # jobs have priorities
        if self.with_priorities and self._ranks.random() < 0.5:  # and there are few workers
            self.settings = self.settings._replace(pools={DEFAULT_POOL: 2})
        self._follow(conditions)

    def _follow(self, conditions: Conditions) -> None:
        if conditions.nodes:
            self.nodes = [Node(self, number) for number in range(1, 1 + conditions.nodes)]
        if conditions.same_machine:
            for node in self.nodes:
                node.machine = 0
        if conditions.faults:
            self._faults = [getattr(self, f"_{name}") for name in conditions.faults]
        if conditions.edits:
            self.edits_tables = True
            self._done_once |= MANUAL_EDITS.keys() - conditions.edits

    def run(self) -> None:
        """Run the simulation. Raises Violation."""
        before = logs.log
        logs.log = self._log  # jobd's log is part of the trace
        lines = orders.PREFETCH_WORK, worker.MAX_PREFETCH_WAIT
        every, missing_schedules.SCAN_INTERVAL = missing_schedules.SCAN_INTERVAL, 2 * SECOND
        orders.PREFETCH_WORK, worker.MAX_PREFETCH_WAIT = self._line, self._line_moves
        try:
            self._add_jobs()
            for node in self.nodes:
                self.events.after(self.delay(3 * SECOND), node.start)
            self.events.after(SECOND, self._fault)
            self.events.after(SECOND, self._edit)
            if self.edits_tables:
                self.events.after(SECOND, self._edit_tables)
            self.events.run(TROUBLE)
            self._heal()
            self.events.run(TROUBLE + REST)
            self.checks.overlaps()
            self.checks.at_rest()
        finally:
            logs.log = before
            orders.PREFETCH_WORK, worker.MAX_PREFETCH_WAIT = lines
            missing_schedules.SCAN_INTERVAL = every
            for node in self.nodes:
                if node.up:
                    node._end()

    # Random numbers
    def delay(self, most: int) -> int:
        """A random duration between 0 and `most`, short ones more often."""
        return round(most * self.random.random() ** 2)

    def chance(self, probability: float) -> bool:
        """Whether an event of this probability happens."""
        return probability > 0 and self.random.random() < probability

    def trace(self, what: str) -> None:
        """Add a line to the trace, which is printed if the seed fails."""
        self.trace_lines.append(f"{self.events.now / SECOND:10.6f}  {what}")

    def _log(self, level: str, message: str, job: str | None = None, run: int | None = None) -> None:
        self.trace(f"    {level}: {message}")

    # Jobs and their runs

    def act(self, order: Order) -> Act:
        """The behaviour of a run."""
        return self._acts[order.job](order)

    def _add_jobs(self) -> None:
        chance = self.random
        jobs = []
        for number in range(2):
            step = chance.choice([2, 3]) * SECOND
            name = f"witness{number}"
            self.witnesses[name] = step
            jobs.append(self._job(name, f"{step // SECOND}s", Options(catch_up="all"), self._brief))
        jobs.append(self._job("long", "5s", Options(), self._long))
        jobs.append(self._job("flaky", "3s", Options(backoff=chance.choice([0, SECOND])), self._flaky, retries=3))
        jobs.append(self._job("careful", "3s", Options(on_lost="fail"), self._long))
        jobs.append(self._job("timed", "4s", Options(timeout=SECOND), self._hangs))
        for number in range(2):
            jobs.append(self._job(f"edited{number}", "3s", Options(), self._flaky, retries=1))
            self.edited.add(f"edited{number}")
        if chance.random() < 0.3 and not self.edits_tables:  # manual edits may delete rows with their counts of losses
            jobs.append(self._job("poison", None, Options(), self._poison, runonce=True))
            self.once.append("poison")
        for number in range(2):
            name = f"once{number}"
            self.once.append(name)
            job = self._job(name, None, Options(), self._long, runonce=True)
            self.events.after(self.delay(TROUBLE), partial(self._add, job))
        self._add(*jobs)

    def _job(
        self, name: str, interval: str | None, options: Options, act: Callable[[Order], Act], runonce: bool = False,
        retries: int = 0,
    ) -> Job:  # fmt: skip
        self._acts[name] = act
        if self.with_priorities:
            options = options._replace(priority=self._ranks.choice(PRIORITIES))
        return Job(name, interval, runonce, retries, options)

    def _add(self, *jobs: Job) -> None:
        definitions.add(self._store, jobs, EPOCH + self.events.now, "UTC")
        self._notify_some()

    def _brief(self, order: Order) -> Act:
        return Act(self.delay(100 * MILLISECOND), "succeeded")

    def _long(self, order: Order) -> Act:
        return Act(self.delay(SECOND // 5 if self._quiet else 5 * SECOND), "succeeded")

    def _flaky(self, order: Order) -> Act:
        ends = ["succeeded", "succeeded", "failed", "failed", "dies"]
        if not self._quiet:
            ends.append("unresolved")
        return Act(self.delay(SECOND), self.random.choice(ends))

    def _hangs(self, order: Order) -> Act:
        return Act(self.delay(SECOND), self.random.choice(["succeeded", "never"]))

    def _poison(self, order: Order) -> Act:
        node = next(node for node in self.nodes if node.number == self.checks.began[-1].node)
        wait, life = self.delay(200 * MILLISECOND), node.life
        self.events.after(wait, lambda: self._take_down(node, order.job, life))
        return Act(10 * SECOND, "never")

    def _take_down(self, node: Node, job: str, life: int) -> None:
        if node.up and node.life == life and any(began[0].job == job for began in self.checks._live[job]):
            self.checks.crashed_by[job] += 1
            self.trace(f"{job} takes node {node.number} down")
            node.crash(self.delay(2 * LEASE))

    # Users
    def _notify_some(self) -> None:
        """Notify some daemons immediately; the others poll."""
        for node in self.nodes:
            if node.up and self.chance(0.5):
                node.engine.keeper.inbox.put(Refresh(lambda trouble: None))

    def _edit(self) -> None:
        if self._quiet:
            return
        self.events.after(self.delay(3 * SECOND), self._edit)
        name, now = self.random.choice(sorted(self.edited)), EPOCH + self.events.now
        if self.chance(0.2):
            name = "flaky"  # it sometimes waits for its next attempt
        what = self.random.choice(["set", "pause", "resume", "rm", "restore", "run", "cancel", "nonsense"])
        if name == "flaky":
            what = "cancel"
        self.trace(f"a person: {what} {name}")
        try:
            self._do(what, name, now)
        except JobdError as error:
            self.trace(f"    answer: {error}")
        self._notify_some()

    def _edit_tables(self) -> None:
        if self._quiet:
            return
        self.events.after(round(4 * SECOND * self._edit_random.random()), self._edit_tables)
        what = self._edit_random.choice(sorted(MANUAL_EDITS.keys() - self._done_once))
        if what in ONCE:
            self._done_once.add(what)
        self.trace(f"manual edit: {what}")
        self._store.transact(lambda session: [session.execute(sql) for sql in MANUAL_EDITS[what]] and None)

    def _do(self, what: str, name: str, now: int) -> None:
        store = self._store
        match what:
            case "set":
                interval = self.random.choice(["1s", "3s", "after 2s"])
                definitions.change(store, name, lambda job: job._replace(interval=interval), now, "UTC")
            case "pause" | "resume":
                definitions.set_paused(store, [name], what == "pause", now, "UTC")
            case "rm":
                definitions.delete(store, [name], now, "UTC")
            case "restore":
                definitions.restore(store, [name], now, "UTC")
            case "run":
                requests.request_run(store, name, now, "UTC")
            case "cancel":
                for _ in range(self.random.choice([1, 2])):
                    requests.request_cancel(store, name, now)
            case "nonsense":
                sql = 'UPDATE job SET "interval" = ? WHERE name = ?'
                store.transact(lambda session: session.execute(sql, ("30 2 31 2 *", name)) and None)

    # Faults

    def _choose_faults(self) -> list[Callable[[Node], None]]:
        every = [
            self._crash, self._freeze, self._freeze_daemon, self._cut, self._cut_all, self._slow, self._lose,
            self._conflict, self._fill, self._step_clock, self._stop,
        ]  # fmt: skip
        return [fault for fault in every if self.random.random() < 0.4] or [self._crash]

    def _fault(self) -> None:
        if self._quiet:
            return
        self.events.after(self.delay(4 * SECOND), self._fault)
        self.random.choice(self._faults)(self.random.choice(self.nodes))

    def _crash(self, node: Node) -> None:
        node.crash(300 * MILLISECOND + self.delay(3 * LEASE))

    def _freeze(self, node: Node) -> None:
        node.freeze(self.delay(3 * LEASE), whole=True)

    def _freeze_daemon(self, node: Node) -> None:
        node.freeze(self.delay(3 * LEASE), whole=False)

    def _cut(self, node: Node) -> None:
        self.trace(f"node {node.number} is cut off")
        node.line.cut = True
        self.events.after(self.delay(3 * LEASE), lambda: self._mend(node))

    def _cut_all(self, node: Node) -> None:
        self.trace("the database is away")
        for one in self.nodes:
            one.line.cut = True
        duration = self.delay(3 * LEASE)
        for one in self.nodes:
            self.events.after(duration, partial(self._mend, one))

    def _slow(self, node: Node) -> None:
        node.line.slow = self.delay(2 * LEASE)
        self.trace(f"the way of node {node.number} takes up to {node.line.slow / SECOND:.1f} s")
        self.events.after(self.delay(3 * LEASE), lambda: self._mend(node))

    def _lose(self, node: Node) -> None:
        node.line.lose = 0.3
        self.trace(f"node {node.number} loses answers")
        self.events.after(self.delay(3 * LEASE), lambda: self._mend(node))

    def _conflict(self, node: Node) -> None:
        node.line.conflict = 0.5
        self.trace(f"node {node.number} meets conflicts")
        self.events.after(self.delay(3 * LEASE), lambda: self._mend(node))

    def _fill(self, node: Node) -> None:
        self.trace("the database is full")
        for one in self.nodes:
            one.line.full = True
            self.events.after(self.delay(2 * LEASE), partial(self._mend, one))

    def _step_clock(self, node: Node) -> None:
        self.clocks_moved = True
        node.clock.set(node.clock.skew + self.random.choice([-1, 1]) * self.delay(60 * SECOND))
        self.trace(f"the clock of node {node.number} is wrong by {node.clock.skew / SECOND:.1f} s")

    def _stop(self, node: Node) -> None:
        node.stop(now=self.chance(0.3))

    def _mend(self, node: Node) -> None:
        self.trace(f"the way of node {node.number} is free")
        line = node.line
        line.cut = line.full = False
        line.slow, line.lose, line.conflict = 0, 0.0, 0.0
        line.mended_at = max(line.mended_at, self.events.now)

    def _heal(self) -> None:
        self.trace("the faults are over")
        self._quiet = True
        for node in self.nodes:
            self._mend(node)
            node.clock.set(0)
            node.start()
        self._put_right()

    def _put_right(self) -> None:
        for name in sorted(self.edited):
            definitions.change(
                self._store, name, lambda job: job._replace(interval="3s"), EPOCH + self.events.now, "UTC"
            ) if self._is_live(name) else None

    def _is_live(self, name: str) -> bool:
        return self.database.rows("SELECT is_delete FROM job WHERE name = ?", (name,)) == [(0,)]


def _settings(chance: random.Random) -> Settings:
    return Settings(
        path="/jobd.toml",
        database="",
        password=None,
        plugins="/plugins",
        state_dir=str(Path("/nowhere")),
        timezone="UTC",
        commands=False,
        poll=POLL,
        lease=LEASE,
        stop_timeout=chance.choice([SECOND, 5 * SECOND]),
        on_db_loss=chance.choice(["kill", "finish"]),
        log=LogSettings(),
        history=HistorySettings(DAY, 1_000_000, 1024),
        pools={DEFAULT_POOL: 3 + chance.randrange(3)},
        defaults=Options(backoff_max=HOUR),
        retry_times=0,
    )
