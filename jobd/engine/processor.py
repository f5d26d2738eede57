"""The Processor of a pool: takes due items out of the WorkQueue and gives each to a free Worker.

It steps without threads: whoever owns the one wait calls `handle` for what is readable and `step` when something is
due. It decides with the pure functions of jobd.lifecycle what the end of an attempt means, reports that, and starts a
retry without back-off at once. It never waits for the database.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle, logs
from jobd.clock import MILLISECOND, SECOND, Clock, iso
from jobd.engine.messages import Abandoned, Began, Printed
from jobd.engine.queue import Item, WorkQueue
from jobd.engine.spawner import Spawner
from jobd.engine.worker import TERM_GRACE, Execution, Worker, describe
from jobd.job import CANCELLED, FAILED, LOST, SUCCEEDED, TIMED_OUT
from jobd.lifecycle import Ended
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement
from jobd.wire import UNRESOLVED, Done, Order, WireError

SHOW_AFTER = 50 * MILLISECOND  # a run that takes longer is shown as running to everybody
PRINT_EVERY = SECOND  # how often what a run prints is put where `logs -f` sees it
MAX_RUNS = 100_000  # after which a worker is replaced: a leak in a task stays small
RESPAWN_FIRST, RESPAWN_LAST = 100 * MILLISECOND, 5 * SECOND
SILENCE = 200 * MILLISECOND  # from the end of a worker's connection to the end of the worker
PACE_GUESS = 20 * MILLISECOND  # how long a run takes, before one has been seen
END_PATIENCE = 2 * SECOND  # for a worker process to end when the daemon does
PACE_WEIGHT = 16  # the newest run counts for one part in this many


class Rules(NamedTuple):
    """What of the settings concerns how runs go."""

    zone: str
    output: int  # bytes kept of what a run prints


class Processor:
    """Queue and workers of one pool."""

    def __init__(
        self,
        size: int,
        rules: Rules,
        spawner: Spawner,
        clock: Clock,
        random: Callable[[], float],
        report: Callable[[object], None],
        note: Callable[[int, int, int], None],
    ) -> None:
        self.size = size
        self.queue = WorkQueue()
        self.pace = PACE_GUESS  # microseconds a run takes, lately
        self.draining = False
        self._rules = rules
        self._spawner = spawner
        self._clock = clock
        self._random = random
        self._report = report
        self._note = note  # job id, fencing token and moment of each run that begins
        self._guarded: dict[int, Item] = {}  # by job id; they begin when their beginning is on record
        self._dying: dict[int, Item | None] = {}  # by job id of runs ended without a record: what begins after them
        self._workers: dict[int, Worker] = {}  # by process id
        self._idle: list[Worker] = []
        self._deadline = 0  # until when workers may run without hearing from here
        self._spawn_at = 0
        self._failures = 0
        self.renewed = True  # the descriptors to wait on are others than they were

    # What the outside asks

    def appetite(self, horizon: int) -> int:
        """How many claims this pool can use: what its workers can start within `horizon` µs, and a little more."""
        return max(2 * self.size, self.size * horizon // max(self.pace, 1))

    def holding(self) -> int:
        """How many claims are in hand: what waits, and what runs.

        (To count only what waits would have the daemon ask for more, in vain, while long runs keep all workers busy.)
        """
        return len(self.queue) + len(self._guarded) + len(self._dying) + len(self.running())

    def running(self) -> list[Worker]:
        """The workers that are in a run."""
        return [worker for worker in self._workers.values() if worker.execution is not None]

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return list(self._workers)

    def workers(self) -> int:
        """How many workers can take runs."""
        return sum(worker.ready for worker in self._workers.values())

    def readers(self) -> dict[int, tuple[Worker, str]]:
        """The descriptors to wait on, and whose they are."""
        found = {}
        for worker in self._workers.values():
            child = worker.child
            if not worker.deaf:
                found[child.socket.fileno()] = (worker, "socket")
            if not worker.mute:
                found[child.output] = (worker, "output")
            found[child.ended] = (worker, "ended")
        return found

    def timeout(self) -> int | None:
        """Microseconds until `step` has something to do; None: not by itself."""
        waits = []
        monotonic = self._clock.monotonic()
        if self._idle:
            moment = self.queue.next_moment()
            if moment is not None:
                waits.append(moment - self._clock.wall())
        if self._short():
            waits.append(self._spawn_at - monotonic)
        for worker in self._workers.values():
            at = worker.next_at()
            if at is not None:
                waits.append(at - monotonic)
        return max(0, min(waits)) if waits else None

    # What happens

    def step(self) -> None:
        """Do what is due: start runs, end what has run too long, replace workers."""
        self._start_due()
        monotonic = self._clock.monotonic()
        for worker in list(self._workers.values()):
            self._mind(worker, monotonic)
            worker.press(monotonic)
        if self._short() and monotonic >= self._spawn_at:
            self._spawn(monotonic)

    def handle(self, worker: Worker, source: str) -> None:
        """Something of `worker` is readable."""
        if worker.child.pid not in self._workers:
            return
        if source == "output":
            self._log_output(worker, worker.read_output())
            self.renewed |= worker.mute
        elif source == "ended":
            self._bury(worker)
        else:
            self._listen(worker)

    def recall(self, job_id: int) -> None:
        """Give a job back if it has not started."""
        item = self._take_back(job_id)
        if item is not None:
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))

    def cancel(self, job_id: int) -> None:
        """End the run of a job, or its wait for the next attempt."""
        for worker in self.running():
            if worker.execution and worker.execution.item.job.id == job_id:
                worker.condemn(CANCELLED, "cancelled", self._clock.monotonic())
        item = self._take_back(job_id)
        if item is not None:
            if not item.plan.attempt:
                self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))
                return
            step = lifecycle.cancel(item.job, item.plan, self._clock.wall(), self._rules.zone)
            self._hand_in(item, step)

    def give_back_all(self) -> None:
        """Give back what has not started; start nothing more."""
        self.draining = True
        for item in self._take_all():
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End every run in progress; they are recorded as lost."""
        monotonic = self._clock.monotonic()
        for worker in self.running():
            worker.condemn(LOST, reason, monotonic, TERM_GRACE if grace else 0)

    def forget(self, reason: str) -> None:
        """Nothing claimed is this node's any more: empty the queue and end every run without a record.

        Each claim is reported as abandoned when nothing of it can run any more.
        """
        waiting = {item.job.id: (item.plan.token, item.plan.started) for item in self._take_all()}
        if waiting:
            self._report(Abandoned(waiting))
        for worker in self.running():
            self._end_without_record(worker, reason)

    def drop(self, job_id: int, token: int, reason: str) -> None:
        """This claim is gone: take the job out of the queue, or end its run, without a record."""
        item = self._take_back(job_id)
        if item is not None and item.plan.token != token:
            self.queue.put(item, item.plan.ready or 0)  # a newer claim
        for worker in self.running():
            plan = worker.execution and worker.execution.item.plan
            if plan and plan.job_id == job_id and plan.token == token:
                self._end_without_record(worker, reason)

    def close(self) -> None:
        """End every process and wait until it is gone."""
        self.draining = True
        for worker in self._workers.values():
            worker.child.end()
        for worker in self._workers.values():
            if not worker.child.wait(END_PATIENCE):
                worker.child.kill()
            worker.child.reap()
        self._workers.clear()

    def renew_workers(self, size: int, rules: Rules, spawner: Spawner) -> None:
        """New settings or plugin code: every worker is replaced, those in a run when it is over."""
        self.size, self._rules, self._spawner = size, rules, spawner
        self._spawn_at = self._failures = 0
        for worker in self._workers.values():
            worker.retire = True
            if worker.execution is None:
                worker.end(self._clock.monotonic())
        self._idle.clear()

    def trust_until(self, deadline: int) -> None:
        """Pass the lease's deadline on to the workers."""
        self._deadline = deadline
        for worker in self._workers.values():
            worker.child.trust_until(deadline)

    def marked(self, job_id: int, token: int, held: bool) -> None:
        """The beginning of a guarded run is on record: let it begin. With `held` false its claim has passed on."""
        item = self._guarded.get(job_id)
        if item is not None and item.plan.token == token:
            del self._guarded[job_id]
            if held:
                wall = self._clock.wall()
                self.queue.put(Item(item.job, item.plan._replace(started=wall)), wall)

    # How it is done

    def _end_without_record(self, worker: Worker, reason: str) -> None:
        execution = worker.forgotten = worker.release()
        if execution is not None:
            self._say("error", execution.item, f"{execution.item.job.name}: {reason}")
            self._dying[execution.item.job.id] = None
        worker.end(self._clock.monotonic())

    def _take_back(self, job_id: int) -> Item | None:
        item = self.queue.take_back(job_id) or self._guarded.pop(job_id, None) or self._dying.get(job_id)
        if job_id in self._dying:
            self._dying[job_id] = None
        return item

    def _take_all(self) -> list[Item]:
        items = self.queue.take_all() + list(self._guarded.values()) + [item for item in self._dying.values() if item]
        self._guarded.clear()
        self._dying = dict.fromkeys(self._dying)
        return items

    def _short(self) -> bool:
        """Whether a worker is missing; one that is on its way out has its successor warming up."""
        return not self.draining and sum(not worker.retire for worker in self._workers.values()) < self.size

    def _start_due(self) -> None:
        while self._idle:
            wall = self._clock.wall()
            item = self.queue.pop(wall)
            if item is None:
                return
            if item.job.id in self._dying:
                self._dying[item.job.id] = item
                continue
            if item.plan.guarded and item.plan.started is None:
                self._guarded[item.job.id] = item
                self._report(Began(item.job.id, item.plan.token, wall, first=True))
                continue
            worker = self._idle.pop()
            monotonic = self._clock.monotonic()
            timeout = item.job.options.timeout or 0
            execution = Execution(item, wall, monotonic, timeout, self._rules.output)
            execution.show_at += SHOW_AFTER
            self._note(item.job.id, item.plan.token, wall)
            try:
                worker.start(execution, _order(item, monotonic, timeout))
            except OSError:
                self.queue.put(item, wall)
                worker.end(monotonic)

    def _listen(self, worker: Worker) -> None:
        was_ready = worker.ready
        try:
            done = worker.receive()
        except WireError as error:
            worker.end(self._clock.monotonic(), f"its process talked nonsense: {error}")
            return
        if done is not None:
            execution = self._take_off(worker)
            self._next(worker, done.retire)
            # The worker has its next order before the books of this one are done.
            self._start_due()
            self._finish(execution, done)
        elif worker.deaf:
            # Either it is about to end, which will tell more, or it cannot report any more.
            self.renewed = True
            worker.end(self._clock.monotonic(), "its process closed its connection to the daemon", SILENCE)
        elif worker.ready and not was_ready:
            self._failures = 0
            self._next(worker, worker.retire)

    def _take_off(self, worker: Worker) -> Execution:
        """The run of `worker` is over: all that it printed has been read, and the worker is free."""
        self._log_output(worker, worker.read_output())
        execution = worker.release()
        assert execution is not None
        if execution.doom is not None or execution.item.job.options.isolation == "fresh":
            worker.retire = True
        return execution

    def _next(self, worker: Worker, retire: bool) -> None:
        """The worker is free: have it take the next run, or replace it."""
        if retire or worker.retire or worker.runs >= MAX_RUNS:
            worker.end(self._clock.monotonic())
        else:
            self._idle.append(worker)

    def _finish(self, execution: Execution, done: Done) -> None:
        """An attempt is over: decide what follows, hand it in, and retry at once if that is what follows."""
        item = execution.item
        if execution.doom is not None:
            done = Done(*execution.doom, None, True)
        wall = self._clock.wall()
        self._log_lines(item, execution.output.end())
        self.pace += (self._clock.monotonic() - execution.started_at - self.pace) // PACE_WEIGHT
        step = self._decide(execution, done, wall)
        self._hand_in(item, step, execution.next_part())
        self._tell(item, step, done, wall)
        if step.run is None and step.plan.node and step.plan.ready is not None:
            retry = Item(item.job, step.plan)
            if self.draining:
                self._hand_in(retry, lifecycle.Step(lifecycle.give_back(step.plan)))
            else:
                self.queue.put(retry, step.plan.ready)

    def _decide(self, execution: Execution, done: Done, wall: int) -> lifecycle.Step:
        job, plan = execution.item
        if done.outcome == UNRESOLVED:
            return lifecycle.Step(lifecycle.unresolved(plan, done.error or "unknown task", wall))
        if done.outcome == LOST:
            plan = plan._replace(started=execution.started)
            return lifecycle.lose(job, plan, wall, self._rules.zone, done.error or "lost")
        ended = Ended(done.outcome, execution.started, wall, done.error, done.result)
        return lifecycle.settle(job, plan, ended, self._rules.zone, self._random())

    def _hand_in(self, item: Item, step: lifecycle.Step, part: Part | None = None) -> None:
        output = (part,) if part is not None else ()
        self._report(Settlement(item.plan.node, item.plan.token, step.plan, step.run, output))

    def _bury(self, worker: Worker) -> None:
        """The process of `worker` has ended."""
        done = None
        with contextlib.suppress(WireError):
            done = worker.receive()
        self._log_output(worker, worker.read_output())
        status = worker.child.reap()
        del self._workers[worker.child.pid]
        self.renewed = True
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.forgotten is not None:
            plan = worker.forgotten.item.plan
            self._report(Abandoned({plan.job_id: (plan.token, worker.forgotten.started)}))
            following = self._dying.pop(plan.job_id, None)
            if following is not None:
                self.queue.put(following, following.plan.ready or 0)
        execution = worker.release()
        if execution is not None:
            if done is None and worker.child.lapsed and (execution.doom is None or execution.doom[0] == FAILED):
                execution.doom = (LOST, "the lease of its node was over")
            self._finish(execution, done or Done(FAILED, describe(status), None, True))
        elif not worker.ready and not worker.retire and not self.draining:
            self._respawn_later(f"a worker could not start: {describe(status)}{_last_words(worker)}")

    def _spawn(self, monotonic: int) -> None:
        try:
            child = self._spawner.start()
        except OSError as error:
            self._respawn_later(f"a worker could not be started: {error}")
            return
        child.trust_until(self._deadline)
        self._workers[child.pid] = Worker(child, self._rules.output)
        self.renewed = True

    def _respawn_later(self, reason: str) -> None:
        delay = min(RESPAWN_FIRST << min(self._failures, 10), RESPAWN_LAST)
        self._failures += 1
        self._spawn_at = self._clock.monotonic() + delay
        logs.log("error", f"{reason}; next try in {delay / SECOND:g} s")

    def _mind(self, worker: Worker, monotonic: int) -> None:
        """Look after a run in progress: its timeout, and what others are to see of it."""
        execution = worker.execution
        if execution is None:
            return
        if execution.expires_at is not None and monotonic >= execution.expires_at:
            limit = (execution.expires_at - execution.started_at) / SECOND
            worker.condemn(TIMED_OUT, f"it ran longer than its timeout of {limit:g} s", monotonic)
        if monotonic >= execution.show_at:
            self._show(execution)
            execution.show_at = monotonic + PRINT_EVERY

    def _show(self, execution: Execution) -> None:
        plan = execution.item.plan
        if not execution.shown:
            execution.shown = True
            self._report(Began(plan.job_id, plan.token, execution.started))
        part = execution.next_part()
        if part is not None:
            self._report(Printed(part))

    def _log_output(self, worker: Worker, lines: list[tuple[str, str]]) -> None:
        if worker.execution is not None:
            self._log_lines(worker.execution.item, lines)
        else:
            for level, line in lines:
                logs.log(level, line)

    def _log_lines(self, item: Item, lines: list[tuple[str, str]]) -> None:
        for level, line in lines:
            logs.log(level, line, item.job.name, item.plan.number)

    def _tell(self, item: Item, step: lifecycle.Step, done: Done, wall: int) -> None:
        """Say in one line what happened, unless all went well."""
        name, attempt, attempts = item.job.name, item.plan.attempt + 1, item.job.retry_times + 1
        if done.outcome == SUCCEEDED:
            return
        what = done.outcome.replace("_", " ")
        error = f": {done.error}" if done.error else ""
        if done.outcome == UNRESOLVED:
            self._say("error", item, f"{name} cannot run{error}")
        elif step.run is None and step.plan.ready is not None and done.outcome != LOST:
            wait = step.plan.ready - wall
            when = f"in {wait / SECOND:.3g} s" if wait > 0 else "now"
            self._say("warning", item, f"{name} {what}, attempt {attempt} of {attempts}, next {when}{error}")
        else:
            self._say("error", item, f"{name} {what} after {attempt} attempt{'s'[: attempt > 1]}{error}")

    def _say(self, level: str, item: Item, message: str) -> None:
        logs.log(level, message, item.job.name, item.plan.number)


def _order(item: Item, monotonic: int, timeout: int) -> Order:
    job, plan = item
    return Order(
        job=job.name,
        number=plan.number,
        task=None if job.options.command else job.task,
        command=job.options.command,
        args=job.options.args,
        due_time=iso(plan.due or 0),
        attempt=plan.attempt + 1,
        deadline=(monotonic + timeout) / SECOND if timeout else None,
        token=plan.token,
    )


def _last_words(worker: Worker) -> str:
    words = worker.chatter.take().strip().splitlines()
    return f": {words[-1][:300]}" if words else ""
