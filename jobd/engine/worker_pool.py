"""The workers of a pool: starts worker processes, finds idle ones, and replaces those that have ended or are retiring.

The Processor gives them runs.
"""

from collections.abc import Iterator

from jobd import logs
from jobd.claim import Claim
from jobd.clock import MILLISECOND, SECOND, Clock, doubled
from jobd.engine.budget import Budget
from jobd.engine.orders import forks, may_prefetch, needs_fresh, prefetch_limit
from jobd.engine.spawner import Spawner
from jobd.engine.worker import Worker

SHOW_AFTER = 50 * MILLISECOND  # a run that takes longer is shown as running in the database
RESPAWN_FIRST, RESPAWN_LAST = 100 * MILLISECOND, 5 * SECOND  # shortest and longest pause after a failed start
END_TIMEOUT = 2 * SECOND  # for each worker process to end at a stop; then SIGKILL


class WorkerPool:
    """The workers of a pool; `size` is the wanted number. Times are monotonic µs."""

    def __init__(self, size: int, output_limit: int, spawner: Spawner, clock: Clock, budget: Budget) -> None:
        self.size = size
        self.readers_changed = True  # the set of descriptors to poll has changed
        self._output_limit = output_limit
        self._spawner = spawner
        self._clock = clock
        self._budget = budget
        self._workers: dict[int, Worker] = {}  # by process id
        self._idle: list[Worker] = []
        self._deadline = 0  # the guardians kill the workers at this time; 0: never
        self._spawn_at = 0
        self._failures = 0  # failed starts in a row

    def __iter__(self) -> Iterator[Worker]:
        return iter([*self._workers.values()])  # a copy: workers may be reaped during the iteration

    def __contains__(self, worker: Worker) -> bool:
        return worker.child.pid in self._workers

    def running(self) -> list[Worker]:
        """The workers with a run in progress."""
        return [worker for worker in self._workers.values() if worker.execution is not None]

    def ready(self) -> int:
        """The number of workers that have finished starting."""
        return sum(worker.ready for worker in self._workers.values())

    def load(self) -> int:
        """The number of orders that the workers have, running or prefetched. Any thread may call this."""
        return sum(worker.load() for worker in self)

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return list(self._workers)

    def readers(self) -> dict[int, tuple[Worker, str]]:
        """The descriptors to poll, with their worker and "messages", "output" or "ended"."""
        found = {}
        for worker in self._workers.values():
            child = worker.child
            found[child.messages] = (worker, "messages")
            if not worker.output_closed:
                found[child.output] = (worker, "output")
            found[child.ended] = (worker, "ended")
        return found

    def idle(self) -> Worker | None:
        """An idle worker: one that has called a task, else one that has had runs, else a new one, else None."""
        return self._idle[-1] if self._idle else None

    def worker_for(self, claim: Claim, pace: int, now: int) -> Worker | None:
        """The worker for a claim: an idle one, else the one with the fewest prefetched runs that may prefetch it.

        If no idle worker is new enough for the claim's isolation (see `fitting`), the caller must replace the
        returned worker by a new one. Runs take about `pace` µs.
        """
        if (idle := self.idle()) is not None:
            return idle if claim.job.options.isolation == "warm" else self.fitting(claim) or idle
        least = prefetch_limit(pace)
        if least <= 0 or not may_prefetch(claim):
            return None
        isolation, best = claim.job.options.isolation, None
        for worker in self._workers.values():
            run, length = worker.execution, len(worker.prefetched)
            if length >= least or run is None or worker.retiring or now >= worker.prefetch_ends_at():
                continue
            if may_prefetch(run.claim) and run.claim.job.options.isolation == isolation:
                best, least = worker, length
        return best

    def fitting(self, claim: Claim) -> Worker | None:
        """An idle worker whose process is new enough for this claim's isolation, or None."""
        if needs_fresh(claim):
            return self.unused()
        return self.untouched() if forks(claim) else self.idle()

    def idle_count(self) -> int:
        """The number of idle workers."""
        return len(self._idle)

    def unused(self) -> Worker | None:
        """An idle worker that has had no run yet, or None."""
        return self._idle[0] if self._idle and not self._idle[0].runs else None

    def untouched(self) -> Worker | None:
        """An idle worker in which no task was called, preferably one that has had a run, or None."""
        return next((worker for worker in reversed(self._idle) if not worker.touched), None)

    def replace(self, worker: Worker) -> None:
        """End an idle worker; a new one will be started in its place."""
        self._idle.remove(worker)
        worker.end(self._clock.monotonic())

    def mark_busy(self, worker: Worker) -> None:
        """Remove a worker from the idle ones before it is given a run."""
        self._idle.remove(worker)

    def add_ready(self, worker: Worker) -> None:
        """Add a worker that has finished starting to the idle ones, or end it if it is retiring."""
        self._failures = 0
        if worker.retiring:
            self.free(worker)
        else:
            self._idle.insert(0, worker)

    def free(self, worker: Worker) -> None:
        """Add a worker that has no more orders to the idle ones, or end it if it is retiring."""
        if worker.retiring:
            worker.end(self._clock.monotonic())
        elif worker not in self._idle:
            self._idle.insert(self._place(worker), worker)

    def _place(self, worker: Worker) -> int:
        """The index for a worker among the idle ones: touched workers are last."""
        if worker.touched:
            return len(self._idle)
        return next((number for number, one in enumerate(self._idle) if one.touched), len(self._idle))

    def reap(self, worker: Worker) -> int:
        """Remove a worker whose process has ended. Returns the exit status."""
        status = worker.child.reap()
        del self._workers[worker.child.pid]
        self.readers_changed = True
        if worker in self._idle:
            self._idle.remove(worker)
        return status

    def coming(self) -> int:
        """The number of workers that are starting or still to be started."""
        return self.size - sum(worker.ready and not worker.retiring for worker in self._workers.values())

    def spawn_at(self) -> int | None:
        """When the next worker is to be started; None: none is needed.

        The successor of a retiring worker is started before that one has ended. After the end of the lease none is
        started until it is renewed, because a new worker would be killed at once.
        """
        if sum(not worker.retiring for worker in self._workers.values()) >= self.size:
            return None
        if self._deadline and self._clock.monotonic() >= self._deadline:
            return None
        return self._spawn_at

    def spawn(self) -> None:
        """Start a worker. If that fails, log the reason and try again later."""
        try:
            child = self._spawner.start()
        except OSError as error:
            self.respawn_later(f"a worker could not be started: {error}")
            return
        child.trust_until(self._deadline)
        self._workers[child.pid] = Worker(child, self._output_limit, SHOW_AFTER, self._budget)
        self.readers_changed = True

    def respawn_later(self, reason: str) -> None:
        """Log why a worker could not start, and delay the next start, longer after each failure."""
        delay = doubled(RESPAWN_FIRST, self._failures, RESPAWN_LAST)
        self._failures += 1
        self._spawn_at = self._clock.monotonic() + delay
        logs.log("error", f"{reason}; next try in {delay / SECOND:g} s")

    def renew(self, size: int, output_limit: int, spawner: Spawner) -> None:
        """Replace every worker. Busy workers finish their current run first."""
        self.size, self._output_limit, self._spawner = size, output_limit, spawner
        self._spawn_at = self._failures = 0
        for worker in self._workers.values():
            worker.retiring = worker.outdated = True
            if worker.execution is None:
                worker.end(self._clock.monotonic())
        self._idle.clear()

    def trust_until(self, deadline: int) -> None:
        """Send the lease's deadline to the guardian of each worker, and remember it for new ones."""
        self._deadline = deadline
        for worker in self._workers.values():
            worker.child.trust_until(deadline)

    def close(self) -> None:
        """End every process and wait for it."""
        for worker in self._workers.values():
            worker.child.end()
        for worker in self._workers.values():
            if not worker.child.wait(END_TIMEOUT):
                worker.child.kill()
            worker.child.reap()
        self._workers.clear()
