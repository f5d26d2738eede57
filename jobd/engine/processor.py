"""The Processor of a pool: takes due claims from the WorkQueue and gives each to a free Worker.

It has no thread and no wait: the daemon's loop calls `handle` for readable descriptors and `step` when work is due.
At the end of an attempt it calls the pure functions of jobd.lifecycle, reports the decision to the keeper, and starts
a retry without back-off at once. It never waits for the database.

While runs are shorter than the round trip to a worker, each worker prefetches further runs. If the current run takes
long, the prefetched runs are revoked, so a slow task delays no other. Likewise, claims that wait long for a worker are
given back if other nodes serve the pool.
"""

from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle
from jobd.claim import Claim
from jobd.clock import MILLISECOND, SECOND, Clock
from jobd.engine.budget import Budget
from jobd.engine.demand import Demand
from jobd.engine.ended import EndedAttempt
from jobd.engine.messages import Abandoned, RunStarted, ToKeeper
from jobd.engine.orders import fits, needs_fresh, order_of
from jobd.engine.pace import Pace
from jobd.engine.queue import WorkQueue
from jobd.engine.reports import Reports
from jobd.engine.run_log import log_attempt, log_output
from jobd.engine.share import MAX_READY_WAIT
from jobd.engine.spawner import Spawner
from jobd.engine.waiting import WaitingClaims
from jobd.engine.worker import TERM_GRACE, Worker
from jobd.engine.worker_pool import WorkerPool
from jobd.exits import describe
from jobd.job import CANCELLED, FAILED, LOST, TIMED_OUT
from jobd.wire import UNRESOLVED, Done, WireError

OUTPUT_INTERVAL = SECOND  # between reports of a run's output, which `jobd logs -f` shows
MAX_RUNS = 100_000  # runs after which a worker is replaced, so that a leak in a task stays small
LOW_WATER_HORIZON = SECOND // 4  # a pool runs low when its claims cover less than half of this horizon
FULL_PAUSE = 20 * MILLISECOND  # between checks for free memory while the budget is full


class RunSettings(NamedTuple):
    """The settings that runs need."""

    zone: str
    output: int  # bytes of a run's output that are kept


class Processor:
    """Queue and workers of one pool.

    `random` returns a number from 0 to 1, for the jitter of back-offs; `report` sends a message to the keeper;
    `record_start` writes a job id, fencing token and wall time (µs) to the start journal before each run.
    """

    def __init__(
        self,
        size: int,
        run_settings: RunSettings,
        spawner: Spawner,
        clock: Clock,
        random: Callable[[], float],
        report: Callable[[ToKeeper], None],
        record_start: Callable[[int, int, int], None],
        budget: Budget,
        in_flight: set[int] | None = None,
    ) -> None:
        self._budget = budget  # shared by all pools of the node
        self.workers = WorkerPool(size, run_settings.output, spawner, clock, self._budget)
        self.queue = WorkQueue()
        self.pace = Pace()
        self.draining = False
        self.shared = False  # other nodes serve this pool too
        self.has_unknown_task = False  # a worker has reported an unknown task
        self._give_back_check_at = 0  # monotonic µs: the next check for claims that have waited too long
        self._run_settings = run_settings
        self._clock = clock
        self._random = random
        self._reports = Reports(report, budget)
        self._record_start = record_start
        # The ids of the jobs that a worker has, until their process can no longer be running. Shared by all pools of
        # the node. A new claim on the same job (for example after a manual UPDATE) waits for that.
        self._in_flight = set() if in_flight is None else in_flight
        self._waiting = WaitingClaims()
        self._ended: list[EndedAttempt] = []  # not reported yet, so that workers are given new runs first
        self._recalled: set[int] = set()  # running jobs that were changed: the claim is given back before a retry
        self._serial = 0

    # Queries

    def demand(self, horizon: int) -> Demand:
        """How many claims this pool can use: as many as its workers can start within `horizon` µs, at least 2 each.

        Zero while all workers are in long runs and other nodes serve the pool. The keeper's thread calls this too.
        """
        size = self.workers.size
        most = self.pace.runs_within(horizon, size)
        priority, ahead = self.queue.overtaken(size) or (0, size)
        if not self.shared:
            return Demand(most, most, size - ahead, priority)
        idle, waiting = self.workers.idle_count(), self._max_waiting()
        if not idle and not waiting:
            return Demand(0, 0)
        # Further claims would only be given back if none may wait.
        return Demand(most, max(idle, size + waiting - self.holding()), size - ahead if waiting else 0, priority)

    def runs_low(self, alone: bool) -> bool:
        """Whether more claims are needed soon; `alone`: no other node exists."""
        demand = self.demand(LOW_WATER_HORIZON).bounded(alone)
        return demand.now > 0 and demand.room(self.holding()) > 0

    def holding(self) -> int:
        """The number of claims held by this pool, waiting or running.

        Running claims count too. Otherwise the daemon would keep asking for more while long runs occupy all workers.
        """
        return len(self.queue) + len(self._waiting) + self.workers.load() + len(self._ended)

    def wait_us(self) -> int | None:
        """Microseconds until `step` has timed work to do; None: it has none."""
        waits = []
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        pause = FULL_PAUSE if self._budget.full else 0
        following = self.queue.peek(wall)
        if following is not None and self.workers.worker_for(following[1], self.pace.duration, monotonic) is not None:
            waits.append(max(following[0] - wall, pause))
        elif self.shared and (oldest := self.queue.oldest()) is not None:
            waits.append(max(oldest + MAX_READY_WAIT - wall, self._give_back_check_at - monotonic))
        if self._waiting.previous_ended(self._in_flight):
            waits.append(0)
        if any(map(self.workers.fitting, self._waiting.for_worker())):
            waits.append(pause)
        if (spawn_at := self._spawn_at()) is not None:
            waits.append(spawn_at - monotonic)
        for worker in self.workers:
            at = worker.next_at()
            if at is not None:
                waits.append(at - monotonic)
        return max(0, min(waits)) if waits else None

    # Events

    def step(self) -> None:
        """Do the work that is due: start runs, finish ended attempts, enforce timeouts, replace workers."""
        for claim in self._waiting.remove_startable(self._in_flight):
            self._queue(claim)
        if self._budget.full:
            self._make_room()
        if self._waiting.for_worker():
            self._start_in_new_processes()
        self._start_due()
        if self._ended:
            self._finish_ended()
            self._start_due()
        monotonic = self._clock.monotonic()
        if self.shared and monotonic >= self._give_back_check_at:
            self._give_back_waiting(monotonic)
        for worker in self.workers:
            if not worker.child.flush():
                worker.retiring = True
                self._revoke_prefetched(worker)
            at = worker.next_at()
            if at is not None and monotonic >= at:
                self._check_run(worker, monotonic)
                worker.advance_shutdown(monotonic)
        if (spawn_at := self._spawn_at()) is not None and monotonic >= spawn_at:
            self.workers.spawn()

    def handle(self, worker: Worker, source: str) -> None:
        """Handle a readable descriptor of `worker`; `source` is "messages", "output" or "ended"."""
        if worker not in self.workers:
            return
        if source == "ended":
            self._reap_worker(worker)
            return
        was_closed = worker.output_closed
        self._read_worker(worker)
        self.workers.readers_changed |= worker.output_closed and not was_closed

    def recall(self, job_id: int) -> None:
        """Give a job back now if it has not started; else after its attempt, if a retry would follow."""
        self._clear_prefetched_of(job_id)
        claim = self._remove_waiting(job_id)
        if claim is not None:
            self._reports.give_back(claim)
        elif self._is_running(job_id):
            self._recalled.add(job_id)

    def cancel(self, job_id: int) -> None:
        """Cancel a job's run, also while it waits for a worker or a retry. A job that is not due yet is given back."""
        self._clear_prefetched_of(job_id)
        self._finish_ended()  # an attempt that has just ended is followed by no other
        for worker in self.workers.running():
            if worker.execution and worker.execution.claim.job.id == job_id:
                worker.terminate_run(CANCELLED, "cancelled", self._clock.monotonic())
        claim = self._remove_waiting(job_id)
        if claim is not None:
            wall, state = self._clock.wall(), claim.state
            if state.attempt or state.losses or (state.due or 0) <= wall:
                self._reports.update(claim, lifecycle.after_cancel(claim.job, state, wall, self._run_settings.zone))
            else:
                self._reports.give_back(claim)

    def give_back_all(self) -> None:
        """Give back all claims that have not started, and start no more runs."""
        self.draining = True
        self._clear_all_prefetched()
        for claim in self._remove_all_waiting():
            self._reports.give_back(claim)

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End every run in progress, with outcome lost. With `grace`, SIGTERM comes TERM_GRACE µs before SIGKILL."""
        self._clear_all_prefetched()
        monotonic = self._clock.monotonic()
        for worker in self.workers.running():
            worker.terminate_run(LOST, reason, monotonic, TERM_GRACE if grace else 0)

    def abandon_all(self, reason: str) -> None:
        """Abandon all claims, because they are no longer valid: empty the queue and kill every run without a record.

        Each claim is reported as abandoned when its process can no longer be running.
        """
        self._clear_all_prefetched()
        self._finish_ended()
        waiting = {claim.job.id: (claim.state.token, claim.state.started) for claim in self._remove_all_waiting()}
        if waiting:
            self._reports.send(Abandoned(waiting))
        for worker in self.workers.running():
            worker.abandon(reason, self._clock.monotonic())

    def abandon(self, job_id: int, token: int, reason: str) -> None:
        """Abandon one claim that is no longer valid: remove it from the queue or kill its run, without a record."""
        self._clear_prefetched_of(job_id)
        claim = self._remove_waiting(job_id)
        if claim is not None and claim.state.token != token:
            self._queue(claim)  # keep a newer claim
        for worker in self.workers.running():
            state = worker.execution and worker.execution.claim.state
            if state and state.job_id == job_id and state.token == token:
                worker.abandon(reason, self._clock.monotonic())

    def close(self) -> None:
        """End every worker process and wait for it."""
        self.draining = True
        self.workers.close()

    def renew_workers(self, size: int, run_settings: RunSettings, spawner: Spawner) -> None:
        """Replace every worker because of new settings or plugin code. Busy workers finish their current run first."""
        self._run_settings = run_settings
        self._clear_all_prefetched()
        self._finish_ended()  # they used the old plugins, so report them before SettingsChanged
        self.workers.renew(size, run_settings.output, spawner)

    def start_recorded(self, job_id: int, token: int, held: bool) -> None:
        """Let a guarded run start after the commit of its start, or drop it if its claim is no longer valid."""
        claim = self._waiting.start_recorded(job_id, token)
        if claim is not None and held:
            self._queue(Claim(claim.job, claim.state._replace(started=self._clock.wall())))

    # Internals

    def _queue(self, claim: Claim) -> None:
        self.queue.put(claim, claim.state.ready or 0)

    def _remove_waiting(self, job_id: int) -> Claim | None:
        return self.queue.remove(job_id) or self._waiting.remove(job_id)

    def _remove_all_waiting(self) -> list[Claim]:
        return [*self.queue.take_all(), *self._waiting.remove_all()]

    def _start_in_new_processes(self) -> None:
        """Give the claims that need a new worker to the new workers that are ready, in order of arrival."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        for claim in [*self._waiting.for_worker()]:
            if self._budget.full:
                return
            worker = self.workers.fitting(claim)
            if worker is None:
                if (idle := self.workers.idle()) is not None:
                    self._replace_for_new(idle)
                continue
            self._waiting.remove_for_worker(claim.job.id)
            if claim.job.id in self._in_flight:
                self._waiting.wait_for_previous(claim)
            else:
                self._start(worker, claim, wall, monotonic)

    def _replace_for_new(self, idle: Worker) -> None:
        """Replace an idle worker, unless a new worker is already coming for each claim that needs one."""
        if self.workers.coming() < len(self._waiting.for_worker()):
            self.workers.replace(idle)

    def _spawn_at(self) -> int | None:
        return None if self.draining else self.workers.spawn_at()

    def _start_due(self) -> None:
        if self._budget.full:
            return
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        while (following := self.queue.peek(wall)) is not None and following[0] <= wall:
            claim = following[1]
            worker = self.workers.worker_for(claim, self.pace.duration, monotonic)
            if worker is None:
                return
            self.queue.pop(wall)
            self._waiting.remove_for_worker(claim.job.id)  # an older claim
            if claim.job.id in self._in_flight:
                self._waiting.wait_for_previous(claim)
            elif claim.state.guarded and claim.state.started is None:
                self._waiting.wait_for_start(claim)
                self._reports.send(RunStarted(claim.job.id, claim.state.token, wall, before_start=True))
            elif not fits(claim, worker.runs, worker.touched):
                self._waiting.wait_for_worker(claim)
                self._replace_for_new(worker)
            elif not self._start(worker, claim, wall, monotonic):
                return

    def _max_waiting(self) -> int:
        return self.pace.max_waiting(self.workers.size, self._clock.monotonic())

    def _give_back_waiting(self, monotonic: int) -> None:
        """Give back claims that have waited too long: other nodes may have free workers. As many as may wait stay."""
        oldest, patient = self.queue.oldest(), self._clock.wall() - MAX_READY_WAIT
        if oldest is None or oldest > patient or self.workers.idle() is not None:
            return
        self._give_back_check_at = monotonic + MAX_READY_WAIT
        allowed = self._max_waiting()
        if len(self.queue) <= allowed:
            return
        late = list(iter(lambda: self.queue.pop(patient), None))
        for claim in late[:allowed]:
            self._queue(claim)
        for claim in late[allowed:]:
            self._reports.give_back(claim)
        if not allowed:
            self.pace.stands_still()

    def _start(self, worker: Worker, claim: Claim, wall: int, monotonic: int) -> bool:
        """Give a claim to a worker. False: the worker takes no orders; the claim is back in the queue."""
        self._serial += 1
        self._record_start(claim.job.id, claim.state.token, wall)
        if worker.execution is None:
            self.workers.mark_busy(worker)
        if worker.start(claim, order_of(claim, self._serial, monotonic), wall, monotonic):
            self.pace.started(monotonic)
            self._in_flight.add(claim.job.id)
            return True
        if worker.execution is None:
            worker.end(monotonic)
        self._queue(claim)
        return False

    def _read_worker(self, worker: Worker) -> None:
        """Read a worker's output, then its messages."""
        was_ready = worker.ready
        worker.read()
        try:
            while worker.has_unparsed:
                packets = worker.receive()
                wall, monotonic = self._clock.wall(), self._clock.monotonic()
                for packet in packets:
                    if (done := worker.parse_message(packet)) is not None:
                        self._end_attempt(worker, done, wall, monotonic)
        except WireError as error:
            worker.garbled = True
            self._revoke_prefetched(worker)
            worker.end(self._clock.monotonic(), f"the worker sent an invalid message: {error}")
        worker.log(worker.output_so_far())
        if worker.ready and not was_ready:
            self.workers.add_ready(worker)

    def _end_attempt(self, worker: Worker, done: Done, wall: int, monotonic: int) -> None:
        """Note the end of the run in progress of `worker`, which becomes free or starts its next prefetched run."""
        worker.log(worker.rest_of_output(done))
        execution = worker.finish(wall, monotonic)
        self._ended.append(EndedAttempt(execution, done, wall, monotonic, worker.outdated))
        if (
            done.retire
            or execution.forced_outcome is not None
            or worker.runs >= MAX_RUNS
            or needs_fresh(execution.claim)
        ):
            worker.retiring = True
        if worker.retiring:
            self._revoke_prefetched(worker)
        if worker.execution is None:
            self.workers.free(worker)

    def _revoke_prefetched(self, worker: Worker) -> None:
        """Put the orders that the worker has not started back into the queue."""
        for claim in worker.revoke_prefetched(self._clock.wall(), self._clock.monotonic()):
            self._in_flight.discard(claim.job.id)
            if not self._has_newer(claim.job.id):
                self._queue(claim)

    def _clear_prefetched(self, worker: Worker) -> None:
        """Revoke the worker's prefetched runs and read its messages. After this, any order it still has is running."""
        if worker.execution is not None:
            self._revoke_prefetched(worker)
            self._read_worker(worker)
            if worker.execution is None and worker.ready:
                self.workers.free(worker)

    def _clear_all_prefetched(self) -> None:
        for worker in self.workers:
            if worker.prefetched:
                self._clear_prefetched(worker)

    def _clear_prefetched_of(self, job_id: int) -> None:
        """Clear the prefetched runs of each worker that has a run of this job. After this, such a run is running."""
        for worker in self.workers:
            if any(claim.job.id == job_id for claim in worker.claims()):
                self._clear_prefetched(worker)

    def _finish_ended(self) -> None:
        ended, self._ended = self._ended, []
        for one in ended:
            self._finish(one)

    def _finish(self, ended: EndedAttempt) -> None:
        """Decide what follows an attempt and report it to the keeper. Queue a retry that has no back-off."""
        execution, done = ended.execution, ended.outcome()
        claim = execution.claim
        self._in_flight.discard(claim.job.id)
        log_output(claim, execution.last_lines())
        self.pace.ended(ended.monotonic - execution.started_at)
        decision = ended.decision(self._run_settings.zone, self._random)
        if done.outcome == UNRESOLVED:
            # The task was not called. The next claim of the job reuses this run number, so drop the stored output.
            report = self._reports.update if ended.outdated else self._reports.unresolved
            report(claim, decision, execution.retracted_parts())
            self.has_unknown_task |= not ended.outdated and claim.job.options.command is None
        else:
            self._reports.update(claim, decision, execution.last_parts())
        execution.close()
        log_attempt(claim, decision, done, ended.wall)
        if (retry_at := decision.retry_at) is not None:
            retry = Claim(claim.job, decision.state)
            if self.draining or claim.job.id in self._recalled:
                self._reports.give_back(retry)
            elif not self._has_newer(claim.job.id):
                self.queue.put(retry, retry_at)
        self._recalled.discard(claim.job.id)

    def _is_running(self, job_id: int) -> bool:
        """Whether an attempt of this job is in progress here, or has ended and is not reported yet."""
        attempts = [*(worker.execution for worker in self.workers.running()), *(one.execution for one in self._ended)]
        return any(one is not None and one.claim.job.id == job_id for one in attempts)

    def _has_newer(self, job_id: int) -> bool:
        """Whether this pool has a newer claim of the job, so that the older one is not needed."""
        return self._waiting.has_newer(job_id) or job_id in self.queue

    def _reap_worker(self, worker: Worker) -> None:
        """Handle the end of a worker's process: revoke its prefetched orders, end its run, plan its replacement."""
        wanted, worker.retiring = not worker.retiring, True
        self._clear_prefetched(worker)
        worker.log(worker.last_output())
        status = self.workers.reap(worker)
        words = worker.last_words()
        for execution in worker.take_abandoned():
            state, started = execution.claim.state, execution.started or self._clock.wall()
            self._reports.send(Abandoned({state.job_id: (state.token, started)}))
            self._in_flight.discard(state.job_id)
            execution.close()
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if worker.execution is None and wanted and not (worker.ready or worker.child.lease_expired or self.draining):
            self.workers.respawn_later(f"a worker could not start: {describe(status)}{words}")
        while worker.execution is not None:  # more than one if a message was invalid
            execution = worker.finish(wall, monotonic)
            if worker.child.lease_expired and (
                execution.forced_outcome is None or execution.forced_outcome[0] == FAILED
            ):
                execution.forced_outcome = (LOST, "the lease of its node has expired")
            self._ended.append(EndedAttempt(execution, Done(FAILED, describe(status), None, True), wall, monotonic))

    def _check_run(self, worker: Worker, monotonic: int) -> None:
        """Check a run in progress: revoke the runs behind it, enforce its timeout, report it and its output."""
        run = worker.execution
        if run is None:
            return
        expired = run.expires_at is not None and monotonic >= run.expires_at
        if expired or (worker.prefetched and monotonic >= worker.prefetch_ends_at()):
            self._clear_prefetched(worker)
        if worker.execution is not run:
            return
        if expired and run.expires_at is not None:
            limit = (run.expires_at - run.started_at) / SECOND
            worker.terminate_run(TIMED_OUT, f"it ran longer than its timeout of {limit:g} s", monotonic)
        if monotonic >= run.show_at:
            self._reports.running(run)
            run.show_at = monotonic + OUTPUT_INTERVAL

    def _make_room(self) -> None:
        """Drop the output of runs in progress except its last lines."""
        for worker in self.workers.running():
            if worker.execution is not None:
                worker.execution.shrink()
