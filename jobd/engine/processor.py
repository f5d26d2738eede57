"""The Processor of a pool: takes due claims out of the WorkQueue and gives each to a free Worker.

It steps without threads: whoever owns the one wait calls `handle` for what is readable and `step` when something is
due. It decides with the pure functions of jobd.lifecycle what the end of an attempt means, reports that, and starts a
retry without back-off at once. It never waits for the database.

While runs are so short that the way to a worker and back takes longer than they do, further ones stand in line behind
the one in progress. When that takes longer than expected, they are taken back: a slow task delays no other. In the
same way, what waits here for a worker is given back when that takes long and other nodes serve the pool.
"""

from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle, logs
from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.clock import MILLISECOND, SECOND, Clock
from jobd.engine.buffers import Budget, weight, weight_of
from jobd.engine.messages import Abandoned, OutputPrinted, RunStarted, ToKeeper, Unresolved
from jobd.engine.output import Lines
from jobd.engine.queue import WorkQueue
from jobd.engine.run_log import log_attempt, log_output, log_run
from jobd.engine.share import MAX_READY_WAIT, may_wait
from jobd.engine.spawner import Spawner
from jobd.engine.worker import TERM_GRACE, Execution, Worker
from jobd.engine.worker_pool import WorkerPool
from jobd.exits import describe
from jobd.job import CANCELLED, FAILED, LOST, TIMED_OUT
from jobd.lifecycle import Ended
from jobd.wire import UNRESOLVED, Done, Order, WireError

OUTPUT_INTERVAL = SECOND  # how often what a run prints is put where `logs -f` sees it
MAX_RUNS = 100_000  # after which a worker is replaced: a leak in a task stays small
PACE_GUESS = 20 * MILLISECOND  # how long a run takes, before one has been seen
PACE_WEIGHT = 16  # the newest run counts for one part in this many
PREFETCH_WORK = 2 * MILLISECOND  # so much work a worker may have in hand, by the pace of late
MAX_PREFETCH = 32  # orders
FULL_PAUSE = 20 * MILLISECOND  # until it is seen whether there is room again for what runs return


class RunSettings(NamedTuple):
    """What of the settings concerns how runs go."""

    zone: str
    output: int  # bytes kept of what a run prints


class Demand(NamedTuple):
    """How many claims a pool can use: at most `most` in all, and at most `now` more of jobs that are ready already.

    Beyond these it can use `over` of ready jobs whose priority is above `above`: they begin before others that wait.
    """

    most: int
    now: int
    over: int = 0
    above: int = 0


class EndedAttempt(NamedTuple):
    """An attempt that is over, and when."""

    execution: Execution
    done: Done
    wall: int
    monotonic: int
    outdated: bool = False  # its worker has the plugins of before a reload


class Processor:
    """Queue and workers of one pool."""

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
        self._budget = budget  # all pools of a node share it
        self.workers = WorkerPool(size, run_settings.output, spawner, clock, self._budget)
        self.queue = WorkQueue()
        self.pace = PACE_GUESS  # microseconds a run takes, lately
        self.draining = False
        self.shared = False  # other nodes serve this pool too
        self.has_unknown_task = False  # a worker did not know a task
        self._last_start_at = 0  # monotonic, when the newest run was given to a worker
        self._share_at = 0  # monotonic, when to see next whether anything waits too long
        self._run_settings = run_settings
        self._clock = clock
        self._random = random
        self._report = report
        self._record_start = record_start  # job id, fencing token and moment of each run that begins
        self._guarded: dict[int, Claim] = {}  # by job id; they begin when their beginning is on record
        # The ids of the jobs that a worker has in hand, until nothing of them can run any more. All pools of a node
        # share them: what is claimed anew meanwhile (somebody has freed it by hand) begins after that.
        self._in_flight = set() if in_flight is None else in_flight
        self._waiting_for_previous: dict[int, Claim] = {}  # by job id
        self._waiting_for_new: dict[int, Claim] = {}  # by job id; each begins in a new worker, which is on its way
        self._ended: list[EndedAttempt] = []  # of these the books are still to be done
        self._recalled: set[int] = set()  # jobs in hand that have been changed: no further attempt follows here
        self._serial = 0

    # What the outside asks

    def demand(self, horizon: int) -> Demand:
        """How many claims this pool can use: what its workers can start within `horizon` µs, and a little more.

        None while all workers are in long runs and others can take what there is.
        """
        most = max(2 * self.workers.size, self.workers.size * horizon // max(self.pace, 1))
        above, ahead = self.queue.overtaken(self.workers.size) or (0, self.workers.size)
        over = self.workers.size - ahead
        if not self.shared:
            return Demand(most, most, over, above)
        idle, waiting = self.workers.idle_count(), self._may_wait()
        if not idle and not waiting:
            return Demand(0, 0)
        # Where nothing may wait, what is claimed beyond that would be given back.
        return Demand(most, max(idle, self.workers.size + waiting - self.holding()), over if waiting else 0, above)

    def holding(self) -> int:
        """How many claims are in hand: what waits, and what runs.

        (To count only what waits would have the daemon ask for more, in vain, while long runs keep all workers busy.)
        """
        waiting = len(self.queue) + len(self._guarded) + len(self._waiting_for_previous) + len(self._waiting_for_new)
        return waiting + self.workers.load() + len(self._ended)

    def timeout(self) -> int | None:
        """Microseconds until `step` has something to do; None: not by itself."""
        waits = []
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        pause = FULL_PAUSE if self._budget.full else 0
        following = self.queue.peek(wall)
        if following is not None and self._worker_for(following[1], monotonic) is not None:
            waits.append(max(following[0] - wall, pause))
        elif self.shared and (oldest := self.queue.oldest()) is not None:
            waits.append(max(oldest + MAX_READY_WAIT - wall, self._share_at - monotonic))
        if not self._in_flight.issuperset(self._waiting_for_previous):
            waits.append(0)
        if any(map(self._fitting, self._waiting_for_new.values())):
            waits.append(pause)
        if (spawn_at := self._spawn_at()) is not None:
            waits.append(spawn_at - monotonic)
        for worker in self.workers:
            at = worker.next_at()
            if at is not None:
                waits.append(at - monotonic)
        return max(0, min(waits)) if waits else None

    # What happens

    def step(self) -> None:
        """Do what is due: start runs, do the books of those that are over, end what takes too long, replace workers."""
        if self._waiting_for_previous:
            self._requeue_waiting()
        if self._budget.full:
            self._make_room()
        if self._waiting_for_new:
            self._start_in_new_processes()
        self._start_due()
        if self._ended:
            self._finish_ended()
            self._start_due()
        monotonic = self._clock.monotonic()
        if self.shared and monotonic >= self._share_at:
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
        """Something of `worker` is readable."""
        if worker not in self.workers:
            return
        if source == "ended":
            self._reap_worker(worker)
            return
        was_closed = worker.output_closed
        self._read_worker(worker)
        self.workers.readers_changed |= worker.output_closed and not was_closed

    def recall(self, job_id: int) -> None:
        """Give a job back if it has not started; else when its attempt is over."""
        self._clear_prefetched_of(job_id)
        claim = self._remove_waiting(job_id)
        if claim is not None:
            self._report_update(claim, lifecycle.Decision(lifecycle.give_back(claim.state)))
        elif self._runs(job_id):
            self._recalled.add(job_id)

    def cancel(self, job_id: int) -> None:
        """End the run of a job, its wait for a worker, or for its next attempt. What is not due yet is given back."""
        self._clear_prefetched_of(job_id)
        self._finish_ended()  # an attempt that has just ended is followed by no other
        for worker in self.workers.running():
            if worker.execution and worker.execution.claim.job.id == job_id:
                worker.terminate_run(CANCELLED, "cancelled", self._clock.monotonic())
        claim = self._remove_waiting(job_id)
        if claim is not None:
            wall, state = self._clock.wall(), claim.state
            if state.attempt or state.losses or (state.due or 0) <= wall:
                self._report_update(claim, lifecycle.after_cancel(claim.job, state, wall, self._run_settings.zone))
            else:
                self._report_update(claim, lifecycle.Decision(lifecycle.give_back(state)))

    def give_back_all(self) -> None:
        """Give back what has not started; start nothing more."""
        self.draining = True
        self._clear_all_prefetched()
        for claim in self._remove_all_waiting():
            self._report_update(claim, lifecycle.Decision(lifecycle.give_back(claim.state)))

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End every run in progress; they are recorded as lost."""
        self._clear_all_prefetched()
        monotonic = self._clock.monotonic()
        for worker in self.workers.running():
            worker.terminate_run(LOST, reason, monotonic, TERM_GRACE if grace else 0)

    def abandon_all(self, reason: str) -> None:
        """Nothing claimed is this node's any more: empty the queue and end every run without a record.

        Each claim is reported as abandoned when nothing of it can run any more.
        """
        self._clear_all_prefetched()
        self._finish_ended()
        waiting = {claim.job.id: (claim.state.token, claim.state.started) for claim in self._remove_all_waiting()}
        if waiting:
            self._report(Abandoned(waiting))
        for worker in self.workers.running():
            self._end_without_record(worker, reason)

    def drop(self, job_id: int, token: int, reason: str) -> None:
        """This claim is gone: take the job out of the queue, or end its run, without a record."""
        self._clear_prefetched_of(job_id)
        claim = self._remove_waiting(job_id)
        if claim is not None and claim.state.token != token:
            self.queue.put(claim, claim.state.ready or 0)  # a newer claim
        for worker in self.workers.running():
            state = worker.execution and worker.execution.claim.state
            if state and state.job_id == job_id and state.token == token:
                self._end_without_record(worker, reason)

    def close(self) -> None:
        """End every process and wait until it is gone."""
        self.draining = True
        self.workers.close()

    def renew_workers(self, size: int, run_settings: RunSettings, spawner: Spawner) -> None:
        """New settings or plugin code: every worker is replaced, those in a run when it is over."""
        self._run_settings = run_settings
        self._clear_all_prefetched()
        self._finish_ended()  # by the plugins of before
        self.workers.renew(size, run_settings.output, spawner)

    def start_recorded(self, job_id: int, token: int, held: bool) -> None:
        """The beginning of a guarded run is on record: let it begin. With `held` false its claim has passed on."""
        claim = self._guarded.get(job_id)
        if claim is not None and claim.state.token == token:
            del self._guarded[job_id]
            if held:
                wall = self._clock.wall()
                self.queue.put(Claim(claim.job, claim.state._replace(started=wall)), claim.state.ready or 0)

    # How it is done

    def _end_without_record(self, worker: Worker, reason: str) -> None:
        execution = worker.abandoned = worker.execution
        if execution is not None:
            worker.execution = None
            log_run("error", execution.claim, f"{execution.claim.job.name}: {reason}")
        worker.end(self._clock.monotonic())

    def _remove_waiting(self, job_id: int) -> Claim | None:
        if (claim := self.queue.remove(job_id)) is not None:
            return claim
        return next((waiting.pop(job_id) for waiting in self._waiting() if job_id in waiting), None)

    def _remove_all_waiting(self) -> list[Claim]:
        claims = [*self.queue.take_all()]
        for waiting in self._waiting():
            claims += waiting.values()
            waiting.clear()
        return claims

    def _waiting(self) -> tuple[dict[int, Claim], ...]:
        """What is due and waits for something else than a free worker."""
        return self._guarded, self._waiting_for_previous, self._waiting_for_new

    def _requeue_waiting(self) -> None:
        """What was held back, and whose forerunner is over, waits for a worker again."""
        for job_id in self._waiting_for_previous.keys() - self._in_flight:
            claim = self._waiting_for_previous.pop(job_id)
            self.queue.put(claim, claim.state.ready or 0)

    def _start_in_new_processes(self) -> None:
        """What waits for a new worker is given to those that have come, in turn."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        for claim in [*self._waiting_for_new.values()]:
            if self._budget.full:
                return
            worker = self._fitting(claim)
            if worker is None:
                if (idle := self.workers.idle()) is not None:
                    self._replace_for_new(idle)
                continue
            del self._waiting_for_new[claim.job.id]
            if claim.job.id in self._in_flight:
                self._waiting_for_previous[claim.job.id] = claim
            else:
                self._start(worker, claim, wall, monotonic)

    def _replace_for_new(self, idle: Worker) -> None:
        """Have a new worker for each claim that waits for one, and no more: the others go on."""
        if self.workers.coming() < len(self._waiting_for_new):
            self.workers.replace(idle)

    def _spawn_at(self) -> int | None:
        return None if self.draining else self.workers.spawn_at()

    def _start_due(self) -> None:
        if self._budget.full:
            return
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        while (following := self.queue.peek(wall)) is not None and following[0] <= wall:
            claim = following[1]
            worker = self._worker_for(claim, monotonic)
            if worker is None:
                return
            self.queue.pop(wall)
            if self._waiting_for_new:
                self._waiting_for_new.pop(claim.job.id, None)  # an older claim
            if claim.job.id in self._in_flight:
                self._waiting_for_previous[claim.job.id] = claim
            elif claim.state.guarded and claim.state.started is None:
                self._guarded[claim.job.id] = claim
                self._report(RunStarted(claim.job.id, claim.state.token, wall, before_start=True))
            elif not _fits(worker, claim):
                self._waiting_for_new[claim.job.id] = claim
                self._replace_for_new(worker)
            elif not self._start(worker, claim, wall, monotonic):
                return

    def _may_wait(self) -> int:
        return may_wait(self.workers.size, self.pace, self._clock.monotonic() - self._last_start_at)

    def _give_back_waiting(self, monotonic: int) -> None:
        """Give back what has waited for too long, beyond what may wait: others may have a worker free."""
        oldest, patient = self.queue.oldest(), self._clock.wall() - MAX_READY_WAIT
        if oldest is None or oldest > patient or self.workers.idle() is not None:
            return
        self._share_at = monotonic + MAX_READY_WAIT
        allowed = self._may_wait()
        if len(self.queue) <= allowed:
            return
        late = list(iter(lambda: self.queue.pop(patient), None))
        for claim in late[:allowed]:
            self.queue.put(claim, claim.state.ready or 0)
        for claim in late[allowed:]:
            self._report_update(claim, lifecycle.Decision(lifecycle.give_back(claim.state)))
        if not allowed:
            self.pace = max(self.pace, MAX_READY_WAIT)  # so long, at least, the runs in progress take

    def _worker_for(self, claim: Claim, monotonic: int) -> Worker | None:
        """Who takes this claim now: a free worker, or one with the shortest line that it may stand in."""
        isolation = claim.job.options.isolation
        if (idle := self.workers.idle()) is not None:
            return idle if isolation == "warm" else self._fitting(claim) or idle
        least = min(PREFETCH_WORK // max(self.pace, 1), MAX_PREFETCH) - 1
        best = None
        for worker in self.workers:
            run, length = worker.execution, len(worker.prefetched)
            if length >= least or run is None or worker.retiring or monotonic >= worker.prefetch_ends_at():
                continue
            if _may_prefetch(run.claim) and run.claim.job.options.isolation == isolation:
                best, least = worker, length
        return best if best is not None and _may_prefetch(claim) else None

    def _fitting(self, claim: Claim) -> Worker | None:
        """A free worker whose process is as new as this claim needs it; None: there is none now."""
        if _needs_fresh(claim):
            return self.workers.unused()
        return self.workers.untouched() if _forks(claim) else self.workers.idle()

    def _start(self, worker: Worker, claim: Claim, wall: int, monotonic: int) -> bool:
        """Have a worker take a claim; False: it goes back into the queue."""
        self._serial += 1
        self._record_start(claim.job.id, claim.state.token, wall)
        if worker.execution is None:
            self.workers.mark_busy(worker)
        if worker.start(claim, _order(claim, self._serial, monotonic), wall, monotonic):
            self._last_start_at = monotonic
            self._in_flight.add(claim.job.id)
            return True
        if worker.execution is None:
            worker.end(monotonic)
        self.queue.put(claim, claim.state.ready or 0)
        return False

    def _read_worker(self, worker: Worker) -> None:
        """Hear what a worker says, and read what it prints."""
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
        self._log(worker, worker.output_so_far())
        if worker.ready and not was_ready:
            self.workers.add_ready(worker)

    def _end_attempt(self, worker: Worker, done: Done, wall: int, monotonic: int) -> None:
        """The run in progress of `worker` is over; the worker is free, or in its next run."""
        self._log(worker, worker.rest_of_output(done))
        execution = worker.finish(wall, monotonic)
        self._ended.append(EndedAttempt(execution, done, wall, monotonic, worker.outdated))
        if (
            done.retire
            or execution.forced_outcome is not None
            or worker.runs >= MAX_RUNS
            or _needs_fresh(execution.claim)
        ):
            worker.retiring = True
        if worker.retiring:
            self._revoke_prefetched(worker)
        if worker.execution is None:
            self.workers.free(worker)

    def _revoke_prefetched(self, worker: Worker) -> None:
        """Put what the worker has not begun back into the queue."""
        for claim in worker.revoke_prefetched(self._clock.wall(), self._clock.monotonic()):
            self._in_flight.discard(claim.job.id)
            if not self._has_newer(claim.job.id):
                self.queue.put(claim, claim.state.ready or 0)

    def _clear_prefetched(self, worker: Worker) -> None:
        """What the worker has in hand after this, it is running."""
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
        """What this job has in a worker's hand is running, if there is any."""
        for worker in self.workers:
            if any(claim.job.id == job_id for claim in worker.claims()):
                self._clear_prefetched(worker)

    def _finish_ended(self) -> None:
        over, self._ended = self._ended, []
        for one in over:
            self._finish(*one)

    def _finish(self, execution: Execution, done: Done, wall: int, monotonic: int, outdated: bool) -> None:
        """An attempt is over: decide what follows, hand it in, and retry at once if that is what follows."""
        claim = execution.claim
        self._in_flight.discard(claim.job.id)
        if execution.forced_outcome is not None:
            done = Done(*execution.forced_outcome, None, True)
        log_output(claim, execution.last_lines())
        self.pace += (monotonic - execution.started_at - self.pace) // PACE_WEIGHT
        decision = self._decide(execution, done, wall, outdated)
        if done.outcome == UNRESOLVED:
            # The number of an execution that has not taken place is the next one's: its output is in the log only.
            update = _claim_update(claim, decision, execution.retracted_parts())
            self.has_unknown_task |= not outdated and claim.job.options.command is None
            self._budget.add_waiting(weight(update))
            self._report(update if outdated else Unresolved(update))
        else:
            self._report_update(claim, decision, execution.last_parts())
        execution.close()
        log_attempt(claim, decision, done, wall)
        if (retry_at := decision.retry_at) is not None:
            retry = Claim(claim.job, decision.state)
            if self.draining or claim.job.id in self._recalled:
                self._report_update(retry, lifecycle.Decision(lifecycle.give_back(decision.state)))
            elif not self._has_newer(claim.job.id):
                self.queue.put(retry, retry_at)
        self._recalled.discard(claim.job.id)

    def _runs(self, job_id: int) -> bool:
        """Whether an attempt of this job is in progress here, or its books are still to be done."""
        attempts = [*(worker.execution for worker in self.workers.running()), *(one.execution for one in self._ended)]
        return any(one is not None and one.claim.job.id == job_id for one in attempts)

    def _has_newer(self, job_id: int) -> bool:
        """Whether a newer claim of a job that was in hand is here: then the older one is of no more use."""
        return job_id in self._waiting_for_previous or job_id in self._waiting_for_new or job_id in self.queue

    def _decide(self, execution: Execution, done: Done, wall: int, outdated: bool) -> lifecycle.Decision:
        job, state = execution.claim
        if done.outcome == UNRESOLVED and outdated:
            return lifecycle.Decision(lifecycle.give_back(state))
        if done.outcome == UNRESOLVED:
            return lifecycle.Decision(lifecycle.unresolved(state, done.error or "unknown task", wall))
        if done.outcome == LOST:
            state = state._replace(started=execution.started)
            return lifecycle.after_loss(job, state, wall, self._run_settings.zone, done.error or "lost")
        ended = Ended(done.outcome, execution.started, wall, done.error, done.result)
        return lifecycle.after_attempt(job, state, ended, self._run_settings.zone, self._random())

    def _report_update(self, claim: Claim, decision: lifecycle.Decision, parts: tuple[OutputPart, ...] = ()) -> None:
        update = _claim_update(claim, decision, parts)
        self._budget.add_waiting(weight(update))
        self._report(update)

    def _reap_worker(self, worker: Worker) -> None:
        """The process of `worker` has ended."""
        wanted, worker.retiring = not worker.retiring, True
        self._clear_prefetched(worker)
        self._log(worker, worker.last_output())
        status = self.workers.reap(worker)
        words = _last_words(worker)
        worker.idle_output.close()
        if worker.abandoned is not None:
            # Others stand in line still when what it told of them was not understood: they may have begun.
            for execution in (worker.abandoned, *worker.prefetched):
                state, started = execution.claim.state, execution.started or self._clock.wall()
                self._report(Abandoned({state.job_id: (state.token, started)}))
                self._in_flight.discard(state.job_id)
                execution.close()
            worker.prefetched.clear()
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if worker.execution is None and wanted and not (worker.ready or worker.child.lease_expired or self.draining):
            self.workers.respawn_later(f"a worker could not start: {describe(status)}{words}")
        while worker.execution is not None:  # more than one when what it told was not understood
            execution = worker.finish(wall, monotonic)
            if worker.child.lease_expired and (
                execution.forced_outcome is None or execution.forced_outcome[0] == FAILED
            ):
                execution.forced_outcome = (LOST, "the lease of its node was over")
            self._ended.append(EndedAttempt(execution, Done(FAILED, describe(status), None, True), wall, monotonic))

    def _check_run(self, worker: Worker, monotonic: int) -> None:
        """Look after a run in progress: its line, its timeout, and what others are to see of it."""
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
            self._show_running(run)
            run.show_at = monotonic + OUTPUT_INTERVAL

    def _make_room(self) -> None:
        """Keep of what runs in progress have printed the last lines alone."""
        for worker in self.workers.running():
            if worker.execution is not None:
                worker.execution.shrink()

    def _show_running(self, execution: Execution) -> None:
        state = execution.claim.state
        if not execution.shown:
            execution.shown = True
            self._report(RunStarted(state.job_id, state.token, execution.started))
        if not self._budget.calm:
            return  # what it prints stays with it
        for part in execution.next_parts():
            self._budget.add_waiting(weight_of([part]))
            self._report(OutputPrinted(part))

    def _log(self, worker: Worker, lines: Lines) -> None:
        if not lines:
            return
        if (execution := worker.in_progress()) is not None:
            log_output(execution.claim, lines)
        else:
            for level, line in lines:
                logs.log(level, line)


def _claim_update(claim: Claim, decision: lifecycle.Decision, parts: tuple[OutputPart, ...]) -> ClaimUpdate:
    return ClaimUpdate(claim.state.node, claim.state.token, decision.state, decision.run, parts)


def _may_prefetch(claim: Claim) -> bool:
    """Whether it may stand in line with others: not what takes long, nor what must not be begun for nothing."""
    return claim.job.options.command is None and not _needs_fresh(claim) and not claim.state.guarded


def _needs_fresh(claim: Claim) -> bool:
    """Whether its process must be one that has run nothing before and runs nothing after it."""
    return claim.job.options.isolation == "fresh"


def _forks(claim: Claim) -> bool:
    """Whether it runs in a child of its worker, in whose process no task may have been called."""
    return claim.job.options.isolation == "fork" and claim.job.options.command is None


def _fits(worker: Worker, claim: Claim) -> bool:
    """Whether the process of a worker is as new as this claim needs it."""
    return not ((worker.touched and _forks(claim)) or (worker.runs and _needs_fresh(claim)))


def _order(claim: Claim, serial: int, monotonic: int) -> Order:
    job, state = claim
    options = job.options
    return Order(
        serial,
        job.name,
        state.number,
        None if options.command else job.task,
        options.command,
        options.args,
        state.due or 0,
        state.attempt + 1,
        (monotonic + options.timeout) / SECOND if options.timeout else None,
        state.token,
        _forks(claim),
    )


def _last_words(worker: Worker) -> str:
    words = worker.idle_output.take().strip().splitlines()
    return f": {words[-1][:300]}" if words else ""
