"""The Processor of a pool: takes due items out of the WorkQueue and gives each to a free Worker.

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
from jobd.clock import MILLISECOND, SECOND, Clock
from jobd.engine.buffers import Budget, weight, weight_of
from jobd.engine.crew import Crew
from jobd.engine.messages import Abandoned, Began, Printed, Unresolved
from jobd.engine.output import Lines
from jobd.engine.queue import Item, WorkQueue
from jobd.engine.share import PATIENCE, may_wait
from jobd.engine.spawner import Spawner
from jobd.engine.telling import pass_on, say, tell
from jobd.engine.worker import TERM_GRACE, Execution, Worker
from jobd.exits import describe
from jobd.job import CANCELLED, FAILED, LOST, TIMED_OUT
from jobd.lifecycle import Ended
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement
from jobd.wire import UNRESOLVED, Done, Order, WireError

PRINT_EVERY = SECOND  # how often what a run prints is put where `logs -f` sees it
MAX_RUNS = 100_000  # after which a worker is replaced: a leak in a task stays small
PACE_GUESS = 20 * MILLISECOND  # how long a run takes, before one has been seen
PACE_WEIGHT = 16  # the newest run counts for one part in this many
LINE = 2 * MILLISECOND  # so much work a worker may have in hand, by the pace of late
LONGEST_LINE = 32  # orders
CROWDED_PAUSE = 20 * MILLISECOND  # until it is seen whether there is room again for what runs return


class Rules(NamedTuple):
    """What of the settings concerns how runs go."""

    zone: str
    output: int  # bytes kept of what a run prints


class Appetite(NamedTuple):
    """How many claims a pool can use: at most `most` in all, and at most `now` more of jobs that are ready already.

    Beyond these it can use `over` of ready jobs whose priority is above `above`: they begin before others that wait.
    """

    most: int
    now: int
    over: int = 0
    above: int = 0


class Over(NamedTuple):
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
        rules: Rules,
        spawner: Spawner,
        clock: Clock,
        random: Callable[[], float],
        report: Callable[[object], None],
        note: Callable[[int, int, int], None],
        budget: Budget,
        hands: set[int] | None = None,
    ) -> None:
        self._budget = budget  # all pools of a node share it
        self.crew = Crew(size, rules.output, spawner, clock, self._budget)
        self.queue = WorkQueue()
        self.pace = PACE_GUESS  # microseconds a run takes, lately
        self.draining = False
        self.shared = False  # other nodes serve this pool too
        self.misses_task = False  # a worker did not know a task
        self._began_at = 0  # monotonic, when the newest run was given to a worker
        self._share_at = 0  # monotonic, when to see next whether anything waits too long
        self._rules = rules
        self._clock = clock
        self._random = random
        self._report = report
        self._note = note  # job id, fencing token and moment of each run that begins
        self._guarded: dict[int, Item] = {}  # by job id; they begin when their beginning is on record
        # The ids of the jobs that a worker has in hand, until nothing of them can run any more. All pools of a node
        # share them: what is claimed anew meanwhile (somebody has freed it by hand) begins after that.
        self._hands = set() if hands is None else hands
        self._held_back: dict[int, Item] = {}  # by job id
        self._awaiting_new: dict[int, Item] = {}  # by job id; each begins in a new worker, which is on its way
        self._over: list[Over] = []  # of these the books are still to be done
        self._recalled: set[int] = set()  # jobs in hand that have been changed: no further attempt follows here
        self._serial = 0

    # What the outside asks

    def appetite(self, horizon: int) -> Appetite:
        """How many claims this pool can use: what its workers can start within `horizon` µs, and a little more.

        None while all workers are in long runs and others can take what there is.
        """
        most = max(2 * self.crew.size, self.crew.size * horizon // max(self.pace, 1))
        above, ahead = self.queue.overtaken(self.crew.size) or (0, self.crew.size)
        over = self.crew.size - ahead
        if not self.shared:
            return Appetite(most, most, over, above)
        idle, waiting = self.crew.idle_count(), self._may_wait()
        if not idle and not waiting:
            return Appetite(0, 0)
        # Where nothing may wait, what is claimed beyond that would be given back.
        return Appetite(most, max(idle, self.crew.size + waiting - self.holding()), over if waiting else 0, above)

    def holding(self) -> int:
        """How many claims are in hand: what waits, and what runs.

        (To count only what waits would have the daemon ask for more, in vain, while long runs keep all workers busy.)
        """
        waiting = len(self.queue) + len(self._guarded) + len(self._held_back) + len(self._awaiting_new)
        return waiting + self.crew.load() + len(self._over)

    def timeout(self) -> int | None:
        """Microseconds until `step` has something to do; None: not by itself."""
        waits = []
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        pause = CROWDED_PAUSE if self._budget.full else 0
        following = self.queue.peek(wall)
        if following is not None and self._taker(following[1], monotonic) is not None:
            waits.append(max(following[0] - wall, pause))
        elif self.shared and (oldest := self.queue.oldest()) is not None:
            waits.append(max(oldest + PATIENCE - wall, self._share_at - monotonic))
        if not self._hands.issuperset(self._held_back):
            waits.append(0)
        if any(map(self._fitting, self._awaiting_new.values())):
            waits.append(pause)
        if (spawn_at := self._spawn_at()) is not None:
            waits.append(spawn_at - monotonic)
        for worker in self.crew:
            at = worker.next_at()
            if at is not None:
                waits.append(at - monotonic)
        return max(0, min(waits)) if waits else None

    # What happens

    def step(self) -> None:
        """Do what is due: start runs, do the books of those that are over, end what takes too long, replace workers."""
        if self._held_back:
            self._let_begin()
        if self._budget.full:
            self._make_room()
        if self._awaiting_new:
            self._begin_in_new()
        self._start_due()
        if self._over:
            self._do_books()
            self._start_due()
        monotonic = self._clock.monotonic()
        if self.shared and monotonic >= self._share_at:
            self._give_back_waiting(monotonic)
        for worker in self.crew:
            if not worker.child.flush():
                worker.retire = True
                self._take_line(worker)
            at = worker.next_at()
            if at is not None and monotonic >= at:
                self._mind(worker, monotonic)
                worker.press(monotonic)
        if (spawn_at := self._spawn_at()) is not None and monotonic >= spawn_at:
            self.crew.spawn()

    def handle(self, worker: Worker, source: str) -> None:
        """Something of `worker` is readable."""
        if worker not in self.crew:
            return
        if source == "ended":
            self._bury(worker)
            return
        was_mute = worker.mute
        self._listen(worker)
        self.crew.renewed |= worker.mute and not was_mute

    def recall(self, job_id: int) -> None:
        """Give a job back if it has not started; else when its attempt is over."""
        self._clear_lines_of(job_id)
        item = self._take_back(job_id)
        if item is not None:
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))
        elif self._runs(job_id):
            self._recalled.add(job_id)

    def cancel(self, job_id: int) -> None:
        """End the run of a job, its wait for a worker, or for its next attempt. What is not due yet is given back."""
        self._clear_lines_of(job_id)
        self._do_books()  # an attempt that has just ended is followed by no other
        for worker in self.crew.running():
            if worker.execution and worker.execution.item.job.id == job_id:
                worker.condemn(CANCELLED, "cancelled", self._clock.monotonic())
        item = self._take_back(job_id)
        if item is not None:
            wall, plan = self._clock.wall(), item.plan
            if plan.attempt or plan.losses or (plan.due or 0) <= wall:
                self._hand_in(item, lifecycle.cancel(item.job, plan, wall, self._rules.zone))
            else:
                self._hand_in(item, lifecycle.Step(lifecycle.give_back(plan)))

    def give_back_all(self) -> None:
        """Give back what has not started; start nothing more."""
        self.draining = True
        self._clear_lines()
        for item in self._take_all():
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))

    def stop_runs(self, reason: str, grace: bool) -> None:
        """End every run in progress; they are recorded as lost."""
        self._clear_lines()
        monotonic = self._clock.monotonic()
        for worker in self.crew.running():
            worker.condemn(LOST, reason, monotonic, TERM_GRACE if grace else 0)

    def forget(self, reason: str) -> None:
        """Nothing claimed is this node's any more: empty the queue and end every run without a record.

        Each claim is reported as abandoned when nothing of it can run any more.
        """
        self._clear_lines()
        self._do_books()
        waiting = {item.job.id: (item.plan.token, item.plan.started) for item in self._take_all()}
        if waiting:
            self._report(Abandoned(waiting))
        for worker in self.crew.running():
            self._end_without_record(worker, reason)

    def drop(self, job_id: int, token: int, reason: str) -> None:
        """This claim is gone: take the job out of the queue, or end its run, without a record."""
        self._clear_lines_of(job_id)
        item = self._take_back(job_id)
        if item is not None and item.plan.token != token:
            self.queue.put(item, item.plan.ready or 0)  # a newer claim
        for worker in self.crew.running():
            plan = worker.execution and worker.execution.item.plan
            if plan and plan.job_id == job_id and plan.token == token:
                self._end_without_record(worker, reason)

    def close(self) -> None:
        """End every process and wait until it is gone."""
        self.draining = True
        self.crew.close()

    def renew_workers(self, size: int, rules: Rules, spawner: Spawner) -> None:
        """New settings or plugin code: every worker is replaced, those in a run when it is over."""
        self._rules = rules
        self._clear_lines()
        self._do_books()  # by the plugins of before
        self.crew.renew(size, rules.output, spawner)

    def marked(self, job_id: int, token: int, held: bool) -> None:
        """The beginning of a guarded run is on record: let it begin. With `held` false its claim has passed on."""
        item = self._guarded.get(job_id)
        if item is not None and item.plan.token == token:
            del self._guarded[job_id]
            if held:
                wall = self._clock.wall()
                self.queue.put(Item(item.job, item.plan._replace(started=wall)), item.plan.ready or 0)

    # How it is done

    def _end_without_record(self, worker: Worker, reason: str) -> None:
        execution = worker.forgotten = worker.execution
        if execution is not None:
            worker.execution = None
            say("error", execution.item, f"{execution.item.job.name}: {reason}")
        worker.end(self._clock.monotonic())

    def _take_back(self, job_id: int) -> Item | None:
        if (item := self.queue.take_back(job_id)) is not None:
            return item
        return next((waiting.pop(job_id) for waiting in self._waiting() if job_id in waiting), None)

    def _take_all(self) -> list[Item]:
        items = [*self.queue.take_all()]
        for waiting in self._waiting():
            items += waiting.values()
            waiting.clear()
        return items

    def _waiting(self) -> tuple[dict[int, Item], ...]:
        """What is due and waits for something else than a free worker."""
        return self._guarded, self._held_back, self._awaiting_new

    def _let_begin(self) -> None:
        """What was held back, and whose forerunner is over, waits for a worker again."""
        for job_id in self._held_back.keys() - self._hands:
            item = self._held_back.pop(job_id)
            self.queue.put(item, item.plan.ready or 0)

    def _begin_in_new(self) -> None:
        """What waits for a new worker is given to those that have come, in turn."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        for item in [*self._awaiting_new.values()]:
            if self._budget.full:
                return
            worker = self._fitting(item)
            if worker is None:
                if (idle := self.crew.idle()) is not None:
                    self._replace_for_new(idle)
                continue
            del self._awaiting_new[item.job.id]
            if item.job.id in self._hands:
                self._held_back[item.job.id] = item
            else:
                self._give(worker, item, wall, monotonic)

    def _replace_for_new(self, idle: Worker) -> None:
        """Have a new worker for each item that waits for one, and no more: the others go on."""
        if self.crew.coming() < len(self._awaiting_new):
            self.crew.replace(idle)

    def _spawn_at(self) -> int | None:
        return None if self.draining else self.crew.spawn_at()

    def _start_due(self) -> None:
        if self._budget.full:
            return
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        while (following := self.queue.peek(wall)) is not None and following[0] <= wall:
            item = following[1]
            worker = self._taker(item, monotonic)
            if worker is None:
                return
            self.queue.pop(wall)
            if self._awaiting_new:
                self._awaiting_new.pop(item.job.id, None)  # an older claim
            if item.job.id in self._hands:
                self._held_back[item.job.id] = item
            elif item.plan.guarded and item.plan.started is None:
                self._guarded[item.job.id] = item
                self._report(Began(item.job.id, item.plan.token, wall, first=True))
            elif not _fits(worker, item):
                self._awaiting_new[item.job.id] = item
                self._replace_for_new(worker)
            elif not self._give(worker, item, wall, monotonic):
                return

    def _may_wait(self) -> int:
        return may_wait(self.crew.size, self.pace, self._clock.monotonic() - self._began_at)

    def _give_back_waiting(self, monotonic: int) -> None:
        """Give back what has waited for too long, beyond what may wait: others may have a worker free."""
        oldest, patient = self.queue.oldest(), self._clock.wall() - PATIENCE
        if oldest is None or oldest > patient or self.crew.idle() is not None:
            return
        self._share_at = monotonic + PATIENCE
        allowed = self._may_wait()
        if len(self.queue) <= allowed:
            return
        late = list(iter(lambda: self.queue.pop(patient), None))
        for item in late[:allowed]:
            self.queue.put(item, item.plan.ready or 0)
        for item in late[allowed:]:
            self._hand_in(item, lifecycle.Step(lifecycle.give_back(item.plan)))
        if not allowed:
            self.pace = max(self.pace, PATIENCE)  # so long, at least, the runs in progress take

    def _taker(self, item: Item, monotonic: int) -> Worker | None:
        """Who takes this item now: a free worker, or one with the shortest line that it may stand in."""
        isolation = item.job.options.isolation
        if (idle := self.crew.idle()) is not None:
            return idle if isolation == "warm" else self._fitting(item) or idle
        least = min(LINE // max(self.pace, 1), LONGEST_LINE) - 1
        best = None
        for worker in self.crew:
            run, length = worker.execution, len(worker.line)
            if length >= least or run is None or worker.retire or monotonic >= worker.line_moves_at():
                continue
            if _in_company(run.item) and run.item.job.options.isolation == isolation:
                best, least = worker, length
        return best if best is not None and _in_company(item) else None

    def _fitting(self, item: Item) -> Worker | None:
        """A free worker whose process is as new as this item needs it; None: there is none now."""
        if _wants_new(item):
            return self.crew.unused()
        return self.crew.untouched() if _forks(item) else self.crew.idle()

    def _give(self, worker: Worker, item: Item, wall: int, monotonic: int) -> bool:
        """Have a worker take an item; False: it goes back into the queue."""
        self._serial += 1
        self._note(item.job.id, item.plan.token, wall)
        if worker.execution is None:
            self.crew.lend(worker)
        if worker.start(item, _order(item, self._serial, monotonic), wall, monotonic):
            self._began_at = monotonic
            self._hands.add(item.job.id)
            return True
        if worker.execution is None:
            worker.end(monotonic)
        self.queue.put(item, item.plan.ready or 0)
        return False

    def _listen(self, worker: Worker) -> None:
        """Hear what a worker says, and read what it prints."""
        was_ready = worker.ready
        worker.read()
        try:
            while worker.unheard:
                packets = worker.receive()
                wall, monotonic = self._clock.wall(), self._clock.monotonic()
                for packet in packets:
                    if (done := worker.hear(packet)) is not None:
                        self._take_off(worker, done, wall, monotonic)
        except WireError as error:
            worker.garbled = True
            self._take_line(worker)
            worker.end(self._clock.monotonic(), f"the worker sent an invalid message: {error}")
        self._log(worker, worker.output_so_far())
        if worker.ready and not was_ready:
            self.crew.welcome(worker)

    def _take_off(self, worker: Worker, done: Done, wall: int, monotonic: int) -> None:
        """The run in progress of `worker` is over; the worker is free, or in its next run."""
        self._log(worker, worker.rest_of_output(done))
        execution = worker.finish(wall, monotonic)
        self._over.append(Over(execution, done, wall, monotonic, worker.outdated))
        if done.retire or execution.doom is not None or worker.runs >= MAX_RUNS or _wants_new(execution.item):
            worker.retire = True
        if worker.retire:
            self._take_line(worker)
        if worker.execution is None:
            self.crew.free(worker)

    def _take_line(self, worker: Worker) -> None:
        """Put what the worker has not begun back into the queue."""
        for item in worker.take_back(self._clock.wall(), self._clock.monotonic()):
            self._hands.discard(item.job.id)
            if not self._has_newer(item.job.id):
                self.queue.put(item, item.plan.ready or 0)

    def _clear_line(self, worker: Worker) -> None:
        """What the worker has in hand after this, it is running."""
        if worker.execution is not None:
            self._take_line(worker)
            self._listen(worker)
            if worker.execution is None and worker.ready:
                self.crew.free(worker)

    def _clear_lines(self) -> None:
        for worker in self.crew:
            if worker.line:
                self._clear_line(worker)

    def _clear_lines_of(self, job_id: int) -> None:
        """What this job has in a worker's hand is running, if there is any."""
        for worker in self.crew:
            if any(item.job.id == job_id for item in worker.items()):
                self._clear_line(worker)

    def _do_books(self) -> None:
        over, self._over = self._over, []
        for one in over:
            self._finish(*one)

    def _finish(self, execution: Execution, done: Done, wall: int, monotonic: int, outdated: bool) -> None:
        """An attempt is over: decide what follows, hand it in, and retry at once if that is what follows."""
        item = execution.item
        self._hands.discard(item.job.id)
        if execution.doom is not None:
            done = Done(*execution.doom, None, True)
        pass_on(item, execution.last_lines())
        self.pace += (monotonic - execution.started_at - self.pace) // PACE_WEIGHT
        step = self._decide(execution, done, wall, outdated)
        if done.outcome == UNRESOLVED:
            # The number of an execution that has not taken place is the next one's: its output is in the log only.
            settlement = _settlement(item, step, execution.nothing_happened())
            self.misses_task |= not outdated and item.job.options.command is None
            self._budget.add_waiting(weight(settlement))
            self._report(settlement if outdated else Unresolved(settlement))
        else:
            self._hand_in(item, step, execution.last_parts())
        execution.close()
        tell(item, step, done, wall)
        if step.run is None and step.plan.node and step.plan.ready is not None:
            retry = Item(item.job, step.plan)
            if self.draining or item.job.id in self._recalled:
                self._hand_in(retry, lifecycle.Step(lifecycle.give_back(step.plan)))
            elif not self._has_newer(item.job.id):
                self.queue.put(retry, step.plan.ready)
        self._recalled.discard(item.job.id)

    def _runs(self, job_id: int) -> bool:
        """Whether an attempt of this job is in progress here, or its books are still to be done."""
        attempts = [*(worker.execution for worker in self.crew.running()), *(one.execution for one in self._over)]
        return any(one is not None and one.item.job.id == job_id for one in attempts)

    def _has_newer(self, job_id: int) -> bool:
        """Whether a newer claim of a job that was in hand is here: then the older one is of no more use."""
        return job_id in self._held_back or job_id in self._awaiting_new or job_id in self.queue

    def _decide(self, execution: Execution, done: Done, wall: int, outdated: bool) -> lifecycle.Step:
        job, plan = execution.item
        if done.outcome == UNRESOLVED and outdated:
            return lifecycle.Step(lifecycle.give_back(plan))
        if done.outcome == UNRESOLVED:
            return lifecycle.Step(lifecycle.unresolved(plan, done.error or "unknown task", wall))
        if done.outcome == LOST:
            plan = plan._replace(started=execution.started)
            return lifecycle.lose(job, plan, wall, self._rules.zone, done.error or "lost")
        ended = Ended(done.outcome, execution.started, wall, done.error, done.result)
        return lifecycle.settle(job, plan, ended, self._rules.zone, self._random())

    def _hand_in(self, item: Item, step: lifecycle.Step, parts: tuple[Part, ...] = ()) -> None:
        settlement = _settlement(item, step, parts)
        self._budget.add_waiting(weight(settlement))
        self._report(settlement)

    def _bury(self, worker: Worker) -> None:
        """The process of `worker` has ended."""
        wanted, worker.retire = not worker.retire, True
        self._clear_line(worker)
        self._log(worker, worker.last_output())
        status = self.crew.bury(worker)
        words = _last_words(worker)
        worker.chatter.close()
        if worker.forgotten is not None:
            # Others stand in line still when what it told of them was not understood: they may have begun.
            for execution in (worker.forgotten, *worker.line):
                plan, started = execution.item.plan, execution.started or self._clock.wall()
                self._report(Abandoned({plan.job_id: (plan.token, started)}))
                self._hands.discard(plan.job_id)
                execution.close()
            worker.line.clear()
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if worker.execution is None and wanted and not (worker.ready or worker.child.lapsed or self.draining):
            self.crew.respawn_later(f"a worker could not start: {describe(status)}{words}")
        while worker.execution is not None:  # more than one when what it told was not understood
            execution = worker.finish(wall, monotonic)
            if worker.child.lapsed and (execution.doom is None or execution.doom[0] == FAILED):
                execution.doom = (LOST, "the lease of its node was over")
            self._over.append(Over(execution, Done(FAILED, describe(status), None, True), wall, monotonic))

    def _mind(self, worker: Worker, monotonic: int) -> None:
        """Look after a run in progress: its line, its timeout, and what others are to see of it."""
        run = worker.execution
        if run is None:
            return
        expired = run.expires_at is not None and monotonic >= run.expires_at
        if expired or (worker.line and monotonic >= worker.line_moves_at()):
            self._clear_line(worker)
        if worker.execution is not run:
            return
        if expired and run.expires_at is not None:
            limit = (run.expires_at - run.started_at) / SECOND
            worker.condemn(TIMED_OUT, f"it ran longer than its timeout of {limit:g} s", monotonic)
        if monotonic >= run.show_at:
            self._show(run)
            run.show_at = monotonic + PRINT_EVERY

    def _make_room(self) -> None:
        """Keep of what runs in progress have printed the last lines alone."""
        for worker in self.crew.running():
            if worker.execution is not None:
                worker.execution.shrink()

    def _show(self, execution: Execution) -> None:
        plan = execution.item.plan
        if not execution.shown:
            execution.shown = True
            self._report(Began(plan.job_id, plan.token, execution.started))
        if not self._budget.calm:
            return  # what it prints stays with it
        for part in execution.next_parts():
            self._budget.add_waiting(weight_of([part]))
            self._report(Printed(part))

    def _log(self, worker: Worker, lines: Lines) -> None:
        if not lines:
            return
        if (execution := worker.in_progress()) is not None:
            pass_on(execution.item, lines)
        else:
            for level, line in lines:
                logs.log(level, line)


def _settlement(item: Item, step: lifecycle.Step, parts: tuple[Part, ...]) -> Settlement:
    return Settlement(item.plan.node, item.plan.token, step.plan, step.run, parts)


def _in_company(item: Item) -> bool:
    """Whether it may stand in line with others: not what takes long, nor what must not be begun for nothing."""
    return item.job.options.command is None and not _wants_new(item) and not item.plan.guarded


def _wants_new(item: Item) -> bool:
    """Whether its process must be one that has run nothing before and runs nothing after it."""
    return item.job.options.isolation == "fresh"


def _forks(item: Item) -> bool:
    """Whether it runs in a child of its worker, in whose process no task may have been called."""
    return item.job.options.isolation == "fork" and item.job.options.command is None


def _fits(worker: Worker, item: Item) -> bool:
    """Whether the process of a worker is as new as this item needs it."""
    return not ((worker.touched and _forks(item)) or (worker.runs and _wants_new(item)))


def _order(item: Item, serial: int, monotonic: int) -> Order:
    job, plan = item
    options = job.options
    return Order(
        serial,
        job.name,
        plan.number,
        None if options.command else job.task,
        options.command,
        options.args,
        plan.due or 0,
        plan.attempt + 1,
        (monotonic + options.timeout) / SECOND if options.timeout else None,
        plan.token,
        _forks(item),
    )


def _last_words(worker: Worker) -> str:
    words = worker.chatter.take().strip().splitlines()
    return f": {words[-1][:300]}" if words else ""
