"""A Worker, seen from the daemon: one child process that runs task functions, one at a time.

    starting ──ready──▶ idle ──start──▶ busy ──done──▶ idle
                          │               ├── doomed (timeout, cancel, lost): SIGTERM, then the whole tree is ended
                          └── end ────────┴──▶ ended (reaped and replaced by the Processor)

Further orders may stand in line behind the run in progress: they lie where the worker takes the next one itself, at
once, and where they can be taken back. A Worker knows its process and its protocol; what an outcome
means is the Processor's business.
"""

from collections import deque

from jobd.claim import Claim, OutputPart
from jobd.engine.buffers import Budget
from jobd.engine.output import MIN_TAIL, Lines, Output
from jobd.engine.spawner import CHUNK, Child
from jobd.engine.split import Chunk, Split
from jobd.job import FAILED
from jobd.store.output import MAX_PART
from jobd.wire import Done, Order, WireError, decode, decode_done, decode_ready, encode_order, end_mark

MAX_CHUNKS = 8  # read at one go while a run is in progress, so that one that floods delays nobody
TERM_GRACE = 5_000_000  # µs from SIGTERM to the end of the tree
NO_END = "[jobd: a task has taken the end of this run's output out of its pipe]"
DOUBTFUL = "[jobd: {:,} bytes were dropped here: they may be the output of another run]"
STRAY = "[jobd: what worker {} prints outside of a run is dropped, {:,} bytes so far]"
KILL_GRACE = 1_000_000  # µs from there to SIGKILL for the guardian itself
MAX_PREFETCH_WAIT = 2_000  # µs; when a run takes longer, what stands in line behind it is to be taken back


class Execution:
    """One attempt, in progress or in line. Moments named `…_at` are monotonic, the others wall clock, in µs."""

    __slots__ = (
        "_budget", "_keep_from", "_kept", "_limit", "_output", "_parts", "_sizes", "claim", "expires_at",
        "forced_outcome", "serial", "show_at", "shown", "started", "started_at",
    )  # fmt: skip

    def __init__(self, claim: Claim, serial: int, output_limit: int, budget: Budget) -> None:
        self.claim = claim
        self.serial = serial
        self.started = self.started_at = self.show_at = 0
        self.expires_at: int | None = None
        self.shown = False
        self.forced_outcome: tuple[str, str] | None = None  # the outcome and error of a run that is being ended
        self._output: Output | None = None
        self._limit = output_limit
        self._budget = budget
        self._parts = self._keep_from = 0  # of the output: how many have been handed in, and the first that is kept
        self._kept = 0  # characters of those that are kept
        self._sizes: deque[tuple[int, int]] | None = None  # characters and parts, each time, of these

    def begin(self, wall: int, monotonic: int, show_after: int) -> None:
        """It is the run in progress from now on."""
        self.started, self.started_at = wall, monotonic
        self.show_at = monotonic + show_after
        timeout = self.claim.job.options.timeout
        self.expires_at = monotonic + timeout if timeout else None

    @property
    def output(self) -> Output:
        """What it has printed."""
        if self._output is None:
            self._output = Output(self._limit, self._budget)
        return self._output

    def last_lines(self) -> Lines:
        """The output is complete: what is left of its last line, for the log."""
        return [] if self._output is None else self._output.end()

    def next_parts(self) -> tuple[OutputPart, ...]:
        """What was printed since the last ones. All parts together stay within the limit."""
        if self._output is None:
            return ()
        lost, text = self._output.lost, self._output.take()
        if not text and not lost:
            return ()
        pieces = [text[start : start + MAX_PART] for start in range(0, len(text) or 1, MAX_PART)]
        first, self._parts = self._parts, self._parts + len(pieces)
        self._forget_first(len(text), len(pieces))
        state = self.claim.state
        one = OutputPart(
            state.job_id, state.number, state.attempt + 1, first, pieces[0], self._keep_from, state.token, lost
        )
        if len(pieces) == 1:
            return (one,)
        more = (one._replace(part=first + after, text=piece, lost=0) for after, piece in enumerate(pieces[1:], 1))
        return one, *more

    def _forget_first(self, size: int, count: int) -> None:
        """So many characters in so many parts come to those that are kept: the first ones may have to go."""
        sizes = self._sizes = deque() if self._sizes is None else self._sizes
        sizes.append((size, count))
        self._kept += size
        while len(sizes) > 1 and self._kept > self._limit:
            size, count = sizes.popleft()
            self._kept -= size
            self._keep_from += count

    def last_parts(self) -> tuple[OutputPart, ...]:
        """The rest of what it has printed; where there is no room for that, what says so."""
        if self._output is None:
            return ()
        if self._budget.crowded:
            self._output.shrink(0)
        return self.next_parts()

    def retracted_parts(self) -> tuple[OutputPart, ...]:
        """It has not taken place: what drops the parts of its output that have been handed in."""
        state, count = self.claim.state, self._parts
        return (
            (OutputPart(state.job_id, state.number, state.attempt + 1, count, "", keep_from=count, token=state.token),)
            if count
            else ()
        )

    def shrink(self) -> None:
        """Keep of what it has printed, and not handed in, the last lines alone."""
        if self._output is not None:
            self._output.shrink(MIN_TAIL)

    def close(self) -> None:
        """Nothing of its output is wanted any more."""
        if self._output is not None:
            self._output.close()


class Worker:
    """One worker process, the run it is in, if any, and what stands in line behind that."""

    def __init__(self, child: Child, output_limit: int, show_after: int, budget: Budget) -> None:
        self.child = child
        self.ready = False
        self.runs = 0
        self.touched = False  # a task has been called in it: it is nothing to fork a run from
        self.execution: Execution | None = None
        self.prefetched: deque[Execution] = deque()  # what comes after it
        self.abandoned: Execution | None = None  # what it is still being ended in, on a claim that is given up
        self.retiring = False  # replace it when its run is over
        self.outdated = False  # it has the plugins of before a reload
        self.output_closed = False  # it has closed its output
        self.idle_output = Output(output_limit, budget)  # what it prints outside of runs
        self._budget = budget
        self._output_limit = output_limit
        self._show_after = show_after
        self._split = Split()
        self.has_unparsed = False  # something was read since its words were last heard
        self._stray_logged = False  # something was printed outside of its runs
        self.garbled = False  # it may have told the end of a run in words that were not understood
        self._stages: list[int] = []
        self._why = ""

    # Runs

    def start(self, claim: Claim, order: Order, wall: int, monotonic: int) -> bool:
        """Send an order: to run now, or, from the child's next `flush` on, after what it has in hand.

        False: it does not take it.
        """
        self.child.send(encode_order(order))
        execution = Execution(claim, order.serial, self._output_limit, self._budget)
        if self.execution is not None:
            self.prefetched.append(execution)
        elif self.child.flush():
            execution.begin(wall, monotonic, self._show_after)
            self.execution = execution
        else:
            return False
        self.runs += 1
        self.touched = self.touched or (order.command is None and not order.fork)
        return True

    def load(self) -> int:
        """How many orders it has in hand."""
        return len(self.prefetched) + (self.execution is not None)

    def claims(self) -> list[Claim]:
        """What it has in hand."""
        in_flight = [self.execution, *self.prefetched] if self.execution is not None else []
        return [execution.claim for execution in in_flight]

    def in_progress(self) -> Execution | None:
        """The run that it is in, also if nothing of that will be recorded."""
        return self.execution or self.abandoned

    def revoke_prefetched(self, wall: int, monotonic: int) -> list[Claim]:
        """What it has not begun, taken out of its hands. (Of what is left it may have ended some, not yet heard of.)"""
        back: list[Claim] = []
        for _ in range(min(self.child.revoke(), self.load())):
            if self.prefetched:
                back.append(self.prefetched.pop().claim)
            elif self.execution is not None:
                back.append(self.execution.claim)
                self.execution.close()  # the worker may have printed something before it took this order
                self._advance(wall, monotonic)
        return back[::-1]

    def finish(self, wall: int, monotonic: int) -> Execution:
        """The run in progress is over: what it was. The next in line is the run in progress now."""
        execution = self.execution
        assert execution is not None
        self._advance(wall, monotonic)
        if not self.retiring:
            self._stages = []
        return execution

    def _advance(self, wall: int, monotonic: int) -> None:
        self.execution = self.prefetched.popleft() if self.prefetched else None
        if self.execution is not None:
            self.execution.begin(wall, monotonic, self._show_after)

    # Words and output

    def read(self) -> None:
        """Read some of what it printed. What it said until then is to be heard next."""
        self._read(MAX_CHUNKS * CHUNK)

    def receive(self) -> list[bytes]:
        """What it said since this was last asked. Raises WireError when it can say no more."""
        self.has_unparsed = False
        return self.child.receive()

    def parse_message(self, packet: bytes) -> Done | None:
        """What the process says: how its run ended, if it is that. Raises WireError for nonsense."""
        message = decode(packet)
        if message[0] == "done":
            done = decode_done(message)
            if self.execution is not None and done.serial == self.execution.serial:
                return done
        elif message[0] == "ready" and not self.ready:
            self._deliver(self._up_to(end_mark(decode_ready(message))))
            self.idle_output.close()
            self.ready = True
            return None
        raise WireError("it does not fit what the worker was doing")

    def output_so_far(self) -> Lines:
        """What has come of the output of the run in progress; the complete lines, for the log. All has been heard."""
        if not self._split:
            return []
        self._doubt_if_garbled()
        return self._deliver(self._split.so_far())

    def rest_of_output(self, done: Done) -> Lines:
        """The rest of the output of the run in progress, which has told its end."""
        if done.secret is not None:
            return self._deliver(self._up_to(end_mark(done.secret)))
        self._read(self.child.unread())
        return self._deliver(self._split.rest())

    def last_output(self) -> Lines:
        """What is left of the output of a process that has ended, and whose words have all been heard."""
        self._read(self.child.unread())
        self._doubt_if_garbled()
        return self._deliver(self._split.rest())

    def _up_to(self, mark: bytes) -> Chunk | None:
        """The output up to a mark that was told, and so has been written; None: a task has taken it out."""
        share = self._split.end(mark)
        left = self.child.unread() if share is None else 0
        while share is None and left > 0 and (size := self._read(CHUNK)):
            left -= size
            share = self._split.end(mark)
        if share is None:
            self._split.doubt()
        return share

    def _doubt_if_garbled(self) -> None:
        if self.garbled and self.prefetched:
            self._split.doubt()

    def _deliver(self, share: Chunk | None) -> Lines:
        """Give what has come to whom it belongs."""
        if share is None:
            return self._add_notice(NO_END)
        data, dropped = share
        lines = self._add_notice(DOUBTFUL.format(dropped)) if dropped else []
        if not data:
            return lines
        if (output := self._output()) is not None:
            return lines + output.feed(data)
        return lines + self._drop_stray(len(data))

    def _add_notice(self, text: str) -> Lines:
        output = self._output()
        return output.add_notice(text) if output is not None else [("warning", text)]

    def _output(self) -> Output | None:
        """That to which belongs what comes now; None: it is nobody's."""
        if (execution := self.in_progress()) is not None:
            return execution.output
        return None if self.ready else self.idle_output

    def _drop_stray(self, size: int) -> Lines:
        """Something that outlived its run has printed `size` bytes. This is said once."""
        logged, self._stray_logged = self._stray_logged, True
        return [] if logged else [("warning", STRAY.format(self.child.pid, size))]

    def _read(self, most: int) -> int:
        """Read output until it is `most` bytes, or a little more; how many they were."""
        size, data = 0, None
        while size < most and (data := self.child.read_output()):
            self._split.add(data)
            size += len(data)
            if len(data) < CHUNK:
                break
        self.output_closed |= data == b""
        self.has_unparsed = True
        return size

    # Endings

    def terminate_run(self, outcome: str, error: str, now: int, grace: int = TERM_GRACE) -> None:
        """End the run in progress: SIGTERM, `grace` µs later the whole process tree. `now` is monotonic."""
        if self.execution is not None and self.execution.forced_outcome is None:
            self.execution.forced_outcome = (outcome, error)
            self.retiring = True
            if grace:
                self.child.terminate()
            self._stages = [now + grace, now + grace + KILL_GRACE]
            self.advance_shutdown(now)

    def end(self, now: int, why: str = "its process was ended", grace: int = 0) -> None:
        """End the process after `grace` µs, idle or not; `why` becomes the error of a run that it is still in then."""
        self.retiring = True
        self._why = why
        self._stages = [now + grace, now + grace + KILL_GRACE]
        self.advance_shutdown(now)

    def advance_shutdown(self, now: int) -> None:
        """Take the next step of an ending that is due."""
        if not self._stages or now < self._stages[0]:
            return
        self._stages.pop(0)
        if not self._stages:
            self.child.kill()
            return
        if self.execution is not None and self.execution.forced_outcome is None:
            self.execution.forced_outcome = (FAILED, self._why)
        self.child.end()

    def next_at(self) -> int | None:
        """When this worker needs attention without being asked; None: never."""
        if self._stages:
            return self._stages[0]
        execution = self.execution
        if execution is None or execution.forced_outcome is not None:
            return None
        at = execution.show_at if execution.expires_at is None else min(execution.expires_at, execution.show_at)
        return min(at, self.prefetch_ends_at()) if self.prefetched else at

    def prefetch_ends_at(self) -> int:
        """From when on nothing stands in line behind the run in progress."""
        assert self.execution is not None
        return self.execution.started_at + MAX_PREFETCH_WAIT
