"""The workers of a pool: its worker processes, started, lent out for runs, and replaced when they are no more fit.

What a worker does while it is lent out is the Processor's business.
"""

from collections.abc import Iterator

from jobd import logs
from jobd.clock import MILLISECOND, SECOND, Clock
from jobd.engine.buffers import Budget
from jobd.engine.spawner import Spawner
from jobd.engine.worker import Worker

SHOW_AFTER = 50 * MILLISECOND  # a run that takes longer is shown as running to everybody
RESPAWN_FIRST, RESPAWN_LAST = 100 * MILLISECOND, 5 * SECOND
END_TIMEOUT = 2 * SECOND  # for a worker process to end when the daemon does


class WorkerPool:
    """The workers, of which `size` should be fit for runs. Moments are monotonic, in µs."""

    def __init__(self, size: int, output_limit: int, spawner: Spawner, clock: Clock, budget: Budget) -> None:
        self.size = size
        self.readers_changed = True  # the descriptors to wait on are others than they were
        self._output_limit = output_limit
        self._spawner = spawner
        self._clock = clock
        self._budget = budget
        self._workers: dict[int, Worker] = {}  # by process id
        self._idle: list[Worker] = []
        self._deadline = 0  # until when workers may run without hearing from here
        self._spawn_at = 0
        self._failures = 0  # to start one, in a row

    def __iter__(self) -> Iterator[Worker]:
        return iter([*self._workers.values()])  # some may leave meanwhile

    def __contains__(self, worker: Worker) -> bool:
        return worker.child.pid in self._workers

    def running(self) -> list[Worker]:
        """Those that are in a run."""
        return [worker for worker in self._workers.values() if worker.execution is not None]

    def ready(self) -> int:
        """How many can take runs."""
        return sum(worker.ready for worker in self._workers.values())

    def load(self) -> int:
        """How many orders they have in hand. Any thread may ask."""
        return sum(worker.load() for worker in self)

    def pids(self) -> list[int]:
        """Their process ids."""
        return list(self._workers)

    def readers(self) -> dict[int, tuple[Worker, str]]:
        """The descriptors to wait on, and whose they are."""
        found = {}
        for worker in self._workers.values():
            child = worker.child
            found[child.messages] = (worker, "messages")
            if not worker.output_closed:
                found[child.output] = (worker, "output")
            found[child.ended] = (worker, "ended")
        return found

    def idle(self) -> Worker | None:
        """A free worker: one in which a task has been called, else one that has run others, else a new one."""
        return self._idle[-1] if self._idle else None

    def idle_count(self) -> int:
        """The number of free workers."""
        return len(self._idle)

    def unused(self) -> Worker | None:
        """An idle one that has been given no run yet."""
        return self._idle[0] if self._idle and not self._idle[0].runs else None

    def untouched(self) -> Worker | None:
        """An idle one in which no task has been called; an unused one only where there is no other."""
        return next((worker for worker in reversed(self._idle) if not worker.touched), None)

    def replace(self, worker: Worker) -> None:
        """End an idle one, for a new one in its place."""
        self._idle.remove(worker)
        worker.end(self._clock.monotonic())

    def mark_busy(self, worker: Worker) -> None:
        """An idle one is given a run."""
        self._idle.remove(worker)

    def add_ready(self, worker: Worker) -> None:
        """It has just become ready."""
        self._failures = 0
        if worker.retiring:
            self.free(worker)
        else:
            self._idle.insert(0, worker)

    def free(self, worker: Worker) -> None:
        """It has nothing in hand: have it take the next run, or replace it."""
        if worker.retiring:
            worker.end(self._clock.monotonic())
        elif worker not in self._idle:
            self._idle.insert(self._place(worker), worker)

    def _place(self, worker: Worker) -> int:
        """Where it stands among the idle ones: before those that have been touched, unless it has been."""
        if worker.touched:
            return len(self._idle)
        return next((number for number, one in enumerate(self._idle) if one.touched), len(self._idle))

    def reap(self, worker: Worker) -> int:
        """Its process has ended: the exit status."""
        status = worker.child.reap()
        del self._workers[worker.child.pid]
        self.readers_changed = True
        if worker in self._idle:
            self._idle.remove(worker)
        return status

    def coming(self) -> int:
        """How many new ones are on their way."""
        return self.size - sum(worker.ready and not worker.retiring for worker in self._workers.values())

    def spawn_at(self) -> int | None:
        """When the next one is to be started; None: none is missing.

        One that is on its way out has its successor warming up. When the lease is over a new one would be ended at
        once, so none is missing until there is a new lease.
        """
        if sum(not worker.retiring for worker in self._workers.values()) >= self.size:
            return None
        if self._deadline and self._clock.monotonic() >= self._deadline:
            return None
        return self._spawn_at

    def spawn(self) -> None:
        """Start one."""
        try:
            child = self._spawner.start()
        except OSError as error:
            self.respawn_later(f"a worker could not be started: {error}")
            return
        child.trust_until(self._deadline)
        self._workers[child.pid] = Worker(child, self._output_limit, SHOW_AFTER, self._budget)
        self.readers_changed = True

    def respawn_later(self, reason: str) -> None:
        """One could not be started, for this reason: the next try comes later each time."""
        delay = min(RESPAWN_FIRST << min(self._failures, 10), RESPAWN_LAST)
        self._failures += 1
        self._spawn_at = self._clock.monotonic() + delay
        logs.log("error", f"{reason}; next try in {delay / SECOND:g} s")

    def renew(self, size: int, output_limit: int, spawner: Spawner) -> None:
        """Replace every one, those in a run when it is over."""
        self.size, self._output_limit, self._spawner = size, output_limit, spawner
        self._spawn_at = self._failures = 0
        for worker in self._workers.values():
            worker.retiring = worker.outdated = True
            if worker.execution is None:
                worker.end(self._clock.monotonic())
        self._idle.clear()

    def trust_until(self, deadline: int) -> None:
        """Pass the lease's deadline on."""
        self._deadline = deadline
        for worker in self._workers.values():
            worker.child.trust_until(deadline)

    def close(self) -> None:
        """End every process and wait until it is gone."""
        for worker in self._workers.values():
            worker.child.end()
        for worker in self._workers.values():
            if not worker.child.wait(END_TIMEOUT):
                worker.child.kill()
            worker.child.reap()
        self._workers.clear()
