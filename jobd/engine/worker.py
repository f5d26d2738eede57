"""The daemon's view of a worker: one child process that executes runs, one at a time.

    starting ──ready──▶ idle ──start──▶ busy ──done──▶ idle
                          │               ├── forced outcome (timeout, cancel, lost): SIGTERM, then the tree is killed
                          └── end ────────┴──▶ ended (reaped and replaced by the Processor)

The worker may prefetch further orders. They are in shared memory, where the worker takes the next one itself, and from
where the daemon can revoke them. A Worker knows its process and its protocol; the Processor interprets the outcomes.
"""

from collections import deque

from jobd import logs
from jobd.claim import Claim, OutputPart
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.budget import Budget
from jobd.engine.output import MIN_TAIL, Lines, Output
from jobd.engine.run_log import log_output, log_run
from jobd.engine.spawner import CHUNK, Child
from jobd.engine.split import Chunk, Split
from jobd.job import FAILED
from jobd.store.output import MAX_PART
from jobd.wire import Done, Order, WireError, decode, decode_done, decode_ready, encode_order, end_mark

MAX_CHUNKS = 8  # of CHUNK bytes, per read, so that a run that prints a lot does not delay the others
TERM_GRACE = 5 * SECOND  # from SIGTERM until the guardian kills the process tree
KILL_GRACE = SECOND  # from then until the daemon sends SIGKILL, in case the guardian hangs
MAX_LAST_LINE = 300  # characters of the last line of a worker that could not start
NO_END = "[jobd: the end of this run's output is missing: a task has read it from the pipe of its worker]"
DOUBTFUL = "[jobd: {:,} bytes of output were dropped here: another run may have printed them]"
STRAY = "[jobd: worker {} has printed {:,} bytes outside of a run: such output is dropped]"
MAX_PREFETCH_WAIT = 2 * MILLISECOND  # if a run takes longer, the runs prefetched behind it are revoked


class Execution:
    """One attempt, in progress or prefetched. Times named `…_at` are monotonic, the others wall clock, in µs."""

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
        self.forced_outcome: tuple[str, str] | None = None  # outcome and error of a run that the daemon ends
        self._output: Output | None = None
        self._limit = output_limit
        self._budget = budget
        self._parts = self._keep_from = 0  # the number of output parts reported, and the first part that is kept
        self._kept = 0  # characters in the kept parts
        self._sizes: deque[tuple[int, int]] | None = None  # (characters, parts) of each report that is kept

    def begin(self, wall: int, monotonic: int, show_after: int) -> None:
        """Make this the run in progress. It is reported as running after `show_after` µs."""
        self.started, self.started_at = wall, monotonic
        self.show_at = monotonic + show_after
        timeout = self.claim.job.options.timeout
        self.expires_at = monotonic + timeout if timeout else None

    @property
    def output(self) -> Output:
        """The output of this attempt, created at the first use."""
        if self._output is None:
            self._output = Output(self._limit, self._budget)
        return self._output

    def last_lines(self) -> Lines:
        """The rest of the last line, for the log, now that the output is complete."""
        return [] if self._output is None else self._output.end()

    def next_parts(self) -> tuple[OutputPart, ...]:
        """The output since the last call. Old parts are dropped so that the kept ones stay within the limit."""
        if self._output is None:
            return ()
        dropped, text = self._output.dropped, self._output.take()
        if not text and not dropped:
            return ()
        pieces = [text[start : start + MAX_PART] for start in range(0, len(text) or 1, MAX_PART)]
        first, self._parts = self._parts, self._parts + len(pieces)
        self._drop_first(len(text), len(pieces))
        state = self.claim.state
        one = OutputPart(
            state.job_id, state.number, state.attempt + 1, first, pieces[0], self._keep_from, state.token, dropped
        )
        if len(pieces) == 1:
            return (one,)
        more = (one._replace(part=first + after, text=piece, dropped=0) for after, piece in enumerate(pieces[1:], 1))
        return one, *more

    def _drop_first(self, size: int, count: int) -> None:
        """Add `size` characters in `count` parts to the kept ones; drop the oldest parts beyond the limit."""
        sizes = self._sizes = deque() if self._sizes is None else self._sizes
        sizes.append((size, count))
        self._kept += size
        while len(sizes) > 1 and self._kept > self._limit:
            size, count = sizes.popleft()
            self._kept -= size
            self._keep_from += count

    def last_parts(self) -> tuple[OutputPart, ...]:
        """The rest of the output, or only a notice of the dropped bytes if the memory budget has no room for it."""
        if self._output is None:
            return ()
        if self._budget.crowded:
            self._output.shrink(0)
        return self.next_parts()

    def retracted_parts(self) -> tuple[OutputPart, ...]:
        """A part that drops all reported parts, because the task was not called; empty if none were reported."""
        state, count = self.claim.state, self._parts
        return (
            (OutputPart(state.job_id, state.number, state.attempt + 1, count, "", keep_from=count, token=state.token),)
            if count
            else ()
        )

    def shrink(self) -> None:
        """Drop the output that is not reported yet, except its last lines."""
        if self._output is not None:
            self._output.shrink(MIN_TAIL)

    def close(self) -> None:
        """Discard the output and free its memory."""
        if self._output is not None:
            self._output.close()


class Worker:
    """One worker process, its run in progress, if any, and its prefetched runs. All times are in µs."""

    def __init__(self, child: Child, output_limit: int, show_after: int, budget: Budget) -> None:
        self.child = child
        self.ready = False
        self.runs = 0
        self.touched = False  # a task was called in this process, so no run may be forked from it
        self.execution: Execution | None = None
        self.prefetched: deque[Execution] = deque()  # in the order of their execution
        self.abandoned: Execution | None = None  # the run being killed whose claim this node no longer holds
        self.retiring = False  # replace the worker when it becomes free
        self.outdated = False  # the process has the plugins from before a reload
        self.output_closed = False  # the process has closed its output
        self.idle_output = Output(output_limit, budget)  # output from before the worker was ready
        self._budget = budget
        self._output_limit = output_limit
        self._show_after = show_after
        self._split = Split()
        self.has_unparsed = False  # output was read since the messages were last received
        self._stray_logged = False  # STRAY was logged
        self.garbled = False  # a message was invalid; it may have been the end of a run
        self._stages: list[int] = []  # monotonic µs: when to kill the process tree, then when to send SIGKILL
        self._why = ""

    # Runs

    def start(self, claim: Claim, order: Order, wall: int, monotonic: int) -> bool:
        """Send an order to an idle worker, or add it to the prefetched ones, which the child gets at its next `flush`.

        False: the worker does not take it.
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
        """The number of orders that the worker has, running or prefetched."""
        return len(self.prefetched) + (self.execution is not None)

    def claims(self) -> list[Claim]:
        """The claims of the run in progress and of the prefetched runs."""
        in_flight = [self.execution, *self.prefetched] if self.execution is not None else []
        return [execution.claim for execution in in_flight]

    def in_progress(self) -> Execution | None:
        """The run in progress, even if it was abandoned and will not be recorded."""
        return self.execution or self.abandoned

    def revoke_prefetched(self, wall: int, monotonic: int) -> list[Claim]:
        """Revoke the orders that the worker has not started. Returns their claims.

        Some of the remaining runs may have ended already, if their messages have not been received yet.
        """
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
        """Return the run in progress, which has ended. The next prefetched run becomes the run in progress."""
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

    # Messages and output

    def read(self) -> None:
        """Read some output, at most about MAX_CHUNKS * CHUNK bytes. The caller receives messages next (see Split)."""
        self._read(MAX_CHUNKS * CHUNK)

    def receive(self) -> list[bytes]:
        """The messages since the last call. Raises WireError if the worker has closed its socket."""
        self.has_unparsed = False
        return self.child.receive()

    def parse_message(self, packet: bytes) -> Done | None:
        """Parse a message. Returns the end of the run in progress, or None for "ready". Raises WireError."""
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
        """Add the output read so far to the run in progress. Returns its complete lines, for the log.

        All messages must have been received since the last read.
        """
        if not self._split:
            return []
        self._doubt_if_garbled()
        return self._deliver(self._split.so_far())

    def rest_of_output(self, done: Done) -> Lines:
        """Add the rest of its output to the run in progress, whose end was received. Returns the lines to log."""
        if done.secret is not None:
            return self._deliver(self._up_to(end_mark(done.secret)))
        self._read(self.child.unread())
        return self._deliver(self._split.rest())

    def last_output(self) -> Lines:
        """Add the last output of a process that has ended, after all its messages. Returns the lines to log."""
        self._read(self.child.unread())
        self._doubt_if_garbled()
        return self._deliver(self._split.rest())

    def log(self, lines: Lines) -> None:
        """Log lines that the worker has printed, with its run in progress if there is one."""
        if lines and (execution := self.in_progress()) is not None:
            log_output(execution.claim, lines)
        else:
            for level, line in lines:
                logs.log(level, line)

    def last_words(self) -> str:
        """The last line that was printed before the worker was ready, after ": "; empty if there is none."""
        words = self.idle_output.take().strip().splitlines()
        self.idle_output.close()
        return f": {words[-1][:MAX_LAST_LINE]}" if words else ""

    def _up_to(self, mark: bytes) -> Chunk | None:
        """The output before a marker that the worker has announced, and so has written. None: a task removed it."""
        chunk = self._split.end(mark)
        left = self.child.unread() if chunk is None else 0
        while chunk is None and left > 0 and (size := self._read(CHUNK)):
            left -= size
            chunk = self._split.end(mark)
        if chunk is None:
            self._split.doubt()
        return chunk

    def _doubt_if_garbled(self) -> None:
        if self.garbled and self.prefetched:
            self._split.doubt()

    def _deliver(self, chunk: Chunk | None) -> Lines:
        """Add output to the run in progress, or to `idle_output` before the worker is ready. Returns lines to log."""
        if chunk is None:
            return self._add_notice(NO_END)
        data, dropped = chunk
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
        """The owner of the output that arrives now, or None outside of runs."""
        if (execution := self.in_progress()) is not None:
            return execution.output
        return None if self.ready else self.idle_output

    def _drop_stray(self, size: int) -> Lines:
        """Drop `size` bytes that were printed outside of runs. A warning is logged once per worker."""
        logged, self._stray_logged = self._stray_logged, True
        return [] if logged else [("warning", STRAY.format(self.child.pid, size))]

    def _read(self, most: int) -> int:
        """Read at least `most` bytes of output, if so many are available. Returns the number of bytes read."""
        size, data = 0, None
        while size < most and (data := self.child.read_output()):
            self._split.add(data)
            size += len(data)
            if len(data) < CHUNK:
                break
        self.output_closed |= data == b""
        self.has_unparsed = True
        return size

    # Termination

    def terminate_run(self, outcome: str, error: str, now: int, grace: int = TERM_GRACE) -> None:
        """End the run in progress: SIGTERM, `grace` µs later kill the process tree. `now` is monotonic."""
        if self.execution is not None and self.execution.forced_outcome is None:
            self.execution.forced_outcome = (outcome, error)
            self.retiring = True
            if grace:
                self.child.terminate()
            self._stages = [now + grace, now + grace + KILL_GRACE]
            self.advance_shutdown(now)

    def end(self, now: int, why: str = "its process was ended", grace: int = 0) -> None:
        """End the process after `grace` µs, idle or not. A run still in progress then fails with the error `why`."""
        self.retiring = True
        self._why = why
        self._stages = [now + grace, now + grace + KILL_GRACE]
        self.advance_shutdown(now)

    def abandon(self, reason: str, now: int) -> None:
        """End the process at once. A run in progress ends without a record, because its claim is no longer valid."""
        execution = self.abandoned = self.execution
        if execution is not None:
            self.execution = None
            log_run("error", execution.claim, f"{execution.claim.job.name}: {reason}")
        self.end(now)

    def take_abandoned(self) -> list[Execution]:
        """Remove and return the abandoned run, and those behind it that were not revoked, after the process's end.

        Some are left if a message about them was invalid: they may have started.
        """
        if self.abandoned is None:
            return []
        runs = [self.abandoned, *self.prefetched]
        self.abandoned = None
        self.prefetched.clear()
        return runs

    def advance_shutdown(self, now: int) -> None:
        """Do the next stage of the termination, if it is due: kill the process tree, then SIGKILL."""
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
        """When this worker next needs `_check_run` or `advance_shutdown` (monotonic µs), or None."""
        if self._stages:
            return self._stages[0]
        execution = self.execution
        if execution is None or execution.forced_outcome is not None:
            return None
        at = execution.show_at if execution.expires_at is None else min(execution.expires_at, execution.show_at)
        return min(at, self.prefetch_ends_at()) if self.prefetched else at

    def prefetch_ends_at(self) -> int:
        """When the runs prefetched behind the run in progress are revoked (monotonic µs)."""
        assert self.execution is not None
        return self.execution.started_at + MAX_PREFETCH_WAIT
