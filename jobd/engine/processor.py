"""The Processor of a pool: takes due items out of the WorkQueue and gives each to a free Worker.

It steps without threads: whoever owns the one wait calls `handle` for what is readable and `step` when something is
due. It decides with the pure functions of jobd.lifecycle what the end of an attempt means, reports that, and starts a
retry without back-off at once. It never waits for the database.
"""

import contextlib
import select
from collections.abc import Callable
from typing import NamedTuple

from jobd import lifecycle, logs
from jobd.clock import MILLISECOND, SECOND, Clock, iso
from jobd.engine.messages import Began, Printed
from jobd.engine.queue import Item, WorkQueue
from jobd.engine.spawner import Spawner
from jobd.engine.worker import Worker, describe
from jobd.job import CANCELLED, FAILED, LOST, SUCCEEDED, TIMED_OUT, Options
from jobd.lifecycle import Ended
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement
from jobd.wire import UNRESOLVED, Done, Order, WireError

SHOW_AFTER = 50 * MILLISECOND  # a run that takes longer is shown as running to everybody
PRINT_EVERY = SECOND  # how often what a run prints is put where `logs -f` sees it
MAX_RUNS = 10_000  # after which a worker is replaced: a leak in a task stays small
RESPAWN_FIRST, RESPAWN_LAST = 100 * MILLISECOND, 5 * SECOND
SILENCE = 200 * MILLISECOND  # from the end of a worker's connection to the end of the worker
PACE_GUESS = 20 * MILLISECOND  # how long a run takes, before one has been seen
PACE_WEIGHT = 16  # the newest run counts for one part in this many


class Rules(NamedTuple):
    """What of the settings concerns how runs go."""

    zone: str
    defaults: Options
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
        self._workers: dict[int, Worker] = {}  # by process id
        self._idle: list[Worker] = []
        self._shown: dict[int, int] = {}  # process id → when its run is shown, or printed, next
        self._spawn_at = 0
        self._failures = 0

    # What the outside asks

    def appetite(self, horizon: int) -> int:
        """How many claims this pool can use: what its workers can start within `horizon` µs, and a little more."""
        return max(2 * self.size, self.size * horizon // max(self.pace, 1))

    def running(self) -> list[Worker]:
        """The workers that are in a run."""
        return [worker for worker in self._workers.values() if worker.item is not None]

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
        waits.extend(at - monotonic for at in self._shown.values())
        return max(0, min(waits)) if waits else None

    # What happens

    def step(self) -> None:
        """Do what is due: start runs, end what has run too long, replace workers."""
        self._start_due()
        monotonic = self._clock.monotonic()
        for worker in list(self._workers.values()):
            if worker.expires_at is not None and monotonic >= worker.expires_at and worker.doom is None:
                limit = (worker.expires_at - worker.started_at) / SECOND
                worker.condemn(TIMED_OUT, f"it ran longer than its timeout of {limit:g} s", monotonic)
            worker.press(monotonic)
        for pid, at in list(self._shown.items()):
            if monotonic >= at:
                self._show(self._workers[pid], monotonic)
        if self._short() and monotonic >= self._spawn_at:
            self._spawn(monotonic)

    def handle(self, worker: Worker, source: str) -> None:
        """Something of `worker` is readable."""
        if worker.child.pid not in self._workers:
            return
        if source == "output":
            self._log_output(worker, worker.read_output())
        elif source == "ended":
            self._bury(worker)
        else:
            self._listen(worker)

    def recall(self, job_id: int) -> None:
        """Give a job back if it has not started."""
        item = self.queue.take_back(job_id)
        if item is not None:
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))

    def cancel(self, job_id: int) -> None:
        """End the run of a job, or its wait for the next attempt."""
        for worker in self.running():
            if worker.item and worker.item.job.id == job_id:
                worker.condemn(CANCELLED, "cancelled", self._clock.monotonic())
        item = self.queue.take_back(job_id)
        if item is not None:
            if not item.plan.attempt:
                self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))
                return
            rules = self._rules
            step = lifecycle.cancel(item.job, item.plan, self._clock.wall(), rules.zone, rules.defaults)
            self._hand_in(item, step)

    def give_back_all(self) -> None:
        """Give back what has not started; start nothing more."""
        self.draining = True
        for item in self.queue.take_all():
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End every run in progress; they are recorded as lost."""
        monotonic = self._clock.monotonic()
        for worker in self.running():
            if grace:
                worker.condemn(LOST, reason, monotonic)
            else:
                worker.condemn(LOST, reason, monotonic, 0)
                worker.press(monotonic)

    def forget(self, reason: str) -> None:
        """Nothing claimed is this node's any more: empty the queue and end every run without a record."""
        self.queue.take_all()
        for worker in self.running():
            if worker.item is not None:
                self._say("error", worker.item, reason)
            worker.free()
            self._shown.pop(worker.child.pid, None)
            worker.end(self._clock.monotonic())

    def close(self) -> None:
        """End every process and wait until it is gone."""
        self.draining = True
        for worker in self._workers.values():
            worker.child.end()
        for worker in self._workers.values():
            if not select.select([worker.child.ended], [], [], 2)[0]:
                worker.child.kill()
            worker.child.reap()
        self._workers.clear()

    def renew_workers(self, size: int, rules: Rules, spawner: Spawner) -> None:
        """New settings or plugin code: every worker is replaced, those in a run when it is over."""
        self.size, self._rules, self._spawner = size, rules, spawner
        self._spawn_at = self._failures = 0
        for worker in self._workers.values():
            worker.retire = True
            if worker.item is None:
                worker.end(self._clock.monotonic())
        self._idle.clear()

    def trust_until(self, deadline: int) -> None:
        """Pass the lease's deadline on to the workers."""
        for worker in self._workers.values():
            worker.child.trust_until(deadline)

    # How it is done

    def _short(self) -> bool:
        """Whether a worker is missing; one that is on its way out has its successor warming up."""
        return not self.draining and sum(not worker.retire for worker in self._workers.values()) < self.size

    def _start_due(self) -> None:
        while self._idle:
            wall = self._clock.wall()
            item = self.queue.pop(wall)
            if item is None:
                return
            worker = self._idle.pop()
            monotonic = self._clock.monotonic()
            timeout = lifecycle.effective(item.job.options, self._rules.defaults).timeout or 0
            try:
                worker.start(item, _order(item, monotonic, timeout), wall, monotonic, timeout)
            except OSError:
                self.queue.put(item, wall)
                worker.end(monotonic)
                continue
            self._shown[worker.child.pid] = monotonic + SHOW_AFTER

    def _listen(self, worker: Worker) -> None:
        was_ready = worker.ready
        try:
            done = worker.receive()
        except WireError as error:
            worker.end(self._clock.monotonic(), f"its process talked nonsense: {error}")
            return
        if done is not None:
            self._log_output(worker, worker.read_output())
            self._finish(worker, done)
            self._next(worker, done.retire)
        elif worker.deaf:
            # Either it is about to end, which will tell more, or it cannot report any more.
            worker.end(self._clock.monotonic(), "its process closed its connection to the daemon", SILENCE)
        elif worker.ready and not was_ready:
            self._failures = 0
            self._next(worker, worker.retire)

    def _next(self, worker: Worker, retire: bool) -> None:
        """The worker is free: have it take the next run, or replace it."""
        if retire or worker.retire or worker.runs >= MAX_RUNS:
            worker.end(self._clock.monotonic())
        else:
            self._idle.append(worker)

    def _finish(self, worker: Worker, done: Done) -> None:
        item = worker.item
        if item is None:
            return
        if worker.doom is not None:
            outcome, error = worker.doom
            done = Done(outcome, error, None, True)
            worker.retire = True
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        self._log_output(worker, worker.output.end())
        self.pace += (monotonic - worker.started_at - self.pace) // PACE_WEIGHT
        self._shown.pop(worker.child.pid, None)
        rules = self._rules
        if lifecycle.effective(item.job.options, rules.defaults).isolation == "fresh":
            worker.retire = True
        if done.outcome == UNRESOLVED:
            step = lifecycle.Step(lifecycle.unresolved(item.plan, done.error or "unknown task", wall))
        elif done.outcome == LOST:
            plan = item.plan._replace(started=worker.started)
            step = lifecycle.lose(item.job, plan, wall, rules.zone, rules.defaults, done.error or "lost")
        else:
            ended = Ended(done.outcome, worker.started, wall, done.error, done.result)
            step = lifecycle.settle(item.job, item.plan, ended, rules.zone, rules.defaults, self._random())
        text = worker.output.text()
        worker.free()
        self._hand_in(item, step, text)
        self._tell(item, step, done, wall)
        if step.run is None and step.plan.node and step.plan.ready is not None:
            retry = Item(item.job, step.plan)
            if self.draining:
                self._hand_in(retry, lifecycle.Step(lifecycle.give_back(step.plan)))
            else:
                self.queue.put(retry, step.plan.ready)

    def _hand_in(self, item: Item, step: lifecycle.Step, text: str = "") -> None:
        plan = item.plan
        output = (Part(plan.job_id, plan.number, plan.attempt + 1, 0, text),) if text else ()
        self._report(Settlement(plan.node, plan.token, step.plan, step.run, output))

    def _bury(self, worker: Worker) -> None:
        """The process of `worker` has ended."""
        with contextlib.suppress(WireError):
            done = worker.receive()
            if done is not None:
                self._log_output(worker, worker.read_output())
                self._finish(worker, done)
        self._log_output(worker, worker.read_output())
        status = worker.child.reap()
        if worker.item is not None:
            outcome, error = worker.doom or (FAILED, describe(status))
            self._finish(worker, Done(outcome, error, None, True))
        self._shown.pop(worker.child.pid, None)
        del self._workers[worker.child.pid]
        if worker in self._idle:
            self._idle.remove(worker)
        if not worker.ready and not worker.retire and not self.draining:
            self._respawn_later(f"a worker could not start: {describe(status)}{_last_words(worker)}")

    def _spawn(self, monotonic: int) -> None:
        try:
            child = self._spawner.start()
        except OSError as error:
            self._respawn_later(f"a worker could not be started: {error}")
            return
        self._workers[child.pid] = Worker(child, self._rules.output)

    def _respawn_later(self, reason: str) -> None:
        delay = min(RESPAWN_FIRST << min(self._failures, 10), RESPAWN_LAST)
        self._failures += 1
        self._spawn_at = self._clock.monotonic() + delay
        logs.log("error", f"{reason}; next try in {delay / SECOND:g} s")

    def _show(self, worker: Worker, monotonic: int) -> None:
        """Let others see that a run goes on, and what it has printed so far."""
        item = worker.item
        if item is None:
            return
        first = monotonic < worker.started_at + SHOW_AFTER + PRINT_EVERY
        if first:
            self._report(Began(item.job.id, item.plan.token, worker.started))
        if worker.output.fresh:
            self._report(Printed(item.job.id, item.plan.number, item.plan.attempt + 1, worker.output.text()))
        self._shown[worker.child.pid] = monotonic + PRINT_EVERY

    def _log_output(self, worker: Worker, lines: list[tuple[str, str]]) -> None:
        if worker.item is None:
            for level, line in lines:
                logs.log(level, line)
            return
        job, number = worker.item.job.name, worker.item.plan.number
        for level, line in lines:
            logs.log(level, line, job, number)

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
    words = worker.output.text().strip().splitlines()
    return f": {words[-1][:300]}" if words else ""
