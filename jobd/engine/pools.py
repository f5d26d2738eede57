"""All pools of a node: the processor of each, and what concerns them together.

A job is in one pool. But it may be moved to another while a run of it goes on here, so the pools share the ids of the
jobs in flight, and a message about a job goes to all of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from jobd.claim import Claim
from jobd.engine.demand import Demand
from jobd.engine.processor import Processor, RunSettings
from jobd.engine.spawner import Spawner
from jobd.engine.worker import Execution, Worker


class Pools:
    """The processors of a node by the names of their pools."""

    def __init__(self, sizes: Mapping[str, int], processor: Callable[[int, set[int]], Processor]) -> None:
        """`processor` makes one from the number of its workers and the set of job ids in flight, which all share."""
        self._in_flight: set[int] = set()
        self._processors = {pool: processor(size, self._in_flight) for pool, size in sizes.items()}
        self._readers: dict[int, tuple[Processor, Worker, str]] = {}  # by descriptor

    def __iter__(self) -> Iterator[Processor]:
        return iter(self._processors.values())

    def __getitem__(self, pool: str) -> Processor:
        return self._processors[pool]

    def names(self) -> Collection[str]:
        """The names of the pools."""
        return self._processors.keys()

    def demands(self) -> dict[str, Callable[[int], Demand]]:
        """For each pool, how to ask how many claims it can use."""
        return {pool: processor.demand for pool, processor in self._processors.items()}

    def is_in_flight(self, job_id: int) -> bool:
        """Whether a process that runs this job may still exist here."""
        return job_id in self._in_flight

    def any_in_flight(self) -> bool:
        """Whether a process that runs any job may still exist here."""
        return bool(self._in_flight)

    # The loop

    def readers(self) -> Collection[int]:
        """The descriptors of the workers to wait on."""
        if any(processor.workers.readers_changed for processor in self):
            self._readers = {
                descriptor: (processor, worker, source)
                for processor in self
                for descriptor, (worker, source) in processor.workers.readers().items()
            }
            for processor in self:
                processor.workers.readers_changed = False
        return self._readers.keys()

    def wait_us(self) -> int | None:
        """Microseconds until `step` has something to do; None: not by itself."""
        return min((wait for one in self if (wait := one.wait_us()) is not None), default=None)

    def handle(self, ready: Collection[int]) -> bool:
        """Receive what workers have sent, by their readable descriptors; whether a worker process has ended."""
        handled, any_ended = None, False
        for descriptor in ready:
            if descriptor in self._readers:
                processor, worker, source = self._readers[descriptor]
                ended = source == "ended"
                if ended or worker is not handled:
                    processor.handle(worker, source)
                    handled = worker
                any_ended |= ended
        return any_ended

    def step(self) -> None:
        """Do the work that is due."""
        for processor in self:
            processor.step()

    # Claims

    def queue(self, claims: Collection[Claim]) -> None:
        """Take new claims into the queues of their pools."""
        for claim in claims:
            self._processors[claim.state.pool].queue.put(claim, claim.state.ready or 0)

    def queued(self) -> int:
        """The number of claims in the queues."""
        return sum(len(processor.queue) for processor in self)

    def give_back_all(self) -> None:
        """Give back every claim that has not started."""
        for processor in self:
            processor.give_back_all()

    def recall(self, job_id: int) -> None:
        """Give back a job that has changed, if it has not started."""
        for processor in self:
            processor.recall(job_id)

    def start_recorded(self, job_id: int, token: int, held: bool) -> None:
        """Start a guarded run whose start is on record; or, if its claim is no longer `held`, drop it."""
        for processor in self:
            processor.start_recorded(job_id, token, held)

    def set_shared(self, pools: Collection[str]) -> None:
        """Note that other nodes serve these pools too, and only these."""
        for pool, processor in self._processors.items():
            processor.shared = pool in pools

    # Runs

    def cancel(self, job_id: int) -> None:
        """Cancel the run of a job."""
        for processor in self:
            processor.cancel(job_id)

    def abandon(self, job_id: int, token: int, reason: str) -> None:
        """End the run of a claim that this node no longer holds."""
        for processor in self:
            processor.abandon(job_id, token, reason)

    def abandon_all(self, reason: str) -> None:
        """End all runs and abandon all claims."""
        for processor in self:
            processor.abandon_all(reason)

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End all runs; with `grace` they may clean up first."""
        for processor in self:
            processor.stop_runs(reason, grace)

    def running(self) -> list[Execution]:
        """The runs in progress."""
        return [run for one in self for worker in one.workers.running() if (run := worker.execution) is not None]

    # Workers

    def trust_until(self, deadline: int) -> None:
        """Let the workers run until `deadline` (monotonic µs), even if the daemon freezes."""
        for processor in self:
            processor.workers.trust_until(deadline)

    def ready_workers(self) -> int:
        """The number of workers that have finished starting."""
        return sum(processor.workers.ready() for processor in self)

    def pids(self) -> list[int]:
        """The process ids of all workers."""
        return [pid for processor in self for pid in processor.workers.pids()]

    def renew_workers(self, sizes: Mapping[str, int], run_settings: RunSettings, spawner: Spawner) -> None:
        """Replace all workers, each as soon as it is idle."""
        for pool, processor in self._processors.items():
            processor.renew_workers(sizes[pool], run_settings, spawner)

    def take_unknown_task(self) -> bool:
        """Whether a worker has been given a task that it does not know. Asking resets it."""
        missing = [processor for processor in self if processor.has_unknown_task]
        for processor in missing:
            processor.has_unknown_task = False
        return bool(missing)

    def close(self) -> None:
        """End every worker process and wait for it."""
        for processor in self:
            processor.close()
