"""A Worker, seen from the daemon: one child process that runs task functions, one at a time.

    starting ──ready──▶ idle ──start──▶ busy ──done──▶ idle
                          │               ├── doomed (timeout, cancel, lost): SIGTERM, then the whole tree is ended
                          └── end ────────┴──▶ ended (reaped and replaced by the Processor)

Further orders may stand in line behind the run in progress: they lie where the worker takes the next one itself, at
once, and where they can be taken back. A Worker knows its process and its protocol; what an outcome
means is the Processor's business.
"""

import os
from collections import deque

from jobd.engine.output import Output
from jobd.engine.queue import Item
from jobd.engine.spawner import Child
from jobd.job import FAILED
from jobd.store.output import Part
from jobd.wire import (
    VERSION,
    Done,
    Order,
    WireError,
    decode,
    decode_done,
    encode_order,
    end_mark,
)

CHUNK = 64 * 1024
MAX_CHUNKS = 8  # read at one go while a run is in progress, so that one that floods delays nobody
TERM_GRACE = 5_000_000  # µs from SIGTERM to the end of the tree
KILL_GRACE = 1_000_000  # µs from there to SIGKILL for the guardian itself
LINE_MOVES = 2_000  # µs; when a run takes longer, what stands in line behind it is to be taken back


class Execution:
    """One attempt, in progress or in line. Moments named `…_at` are monotonic, the others wall clock, in µs."""

    __slots__ = (
        "_dropped", "_limit", "_output", "_sizes", "doom", "expires_at", "item", "serial", "show_at", "shown",
        "started", "started_at",
    )  # fmt: skip

    def __init__(self, item: Item, serial: int, output_limit: int) -> None:
        self.item = item
        self.serial = serial
        self.started = self.started_at = self.show_at = 0
        self.expires_at: int | None = None
        self.shown = False
        self.doom: tuple[str, str] | None = None  # the outcome and error of a run that is being ended
        self._output: Output | None = None
        self._limit = output_limit
        self._sizes: list[int] | None = None  # of the parts of the output that have been handed in
        self._dropped = 0

    def begin(self, wall: int, monotonic: int, show_after: int) -> None:
        """It is the run in progress from now on."""
        self.started, self.started_at = wall, monotonic
        self.show_at = monotonic + show_after
        timeout = self.item.job.options.timeout
        self.expires_at = monotonic + timeout if timeout else None

    @property
    def output(self) -> Output:
        """What it has printed."""
        if self._output is None:
            self._output = Output(self._limit)
        return self._output

    def last_lines(self) -> list[tuple[str, str]]:
        """The output is complete: what is left of its last line, for the log."""
        return [] if self._output is None else self._output.end()

    def next_part(self) -> Part | None:
        """What was printed since the last part; None: nothing. All parts together stay within the limit."""
        text = "" if self._output is None else self._output.take()
        if not text:
            return None
        plan = self.item.plan
        sizes = self._sizes = self._sizes or []
        part = Part(plan.job_id, plan.number, plan.attempt + 1, len(sizes), text)
        sizes.append(len(text))
        while self._dropped < part.part and sum(sizes[self._dropped :]) > self._limit:
            self._dropped += 1
        return part._replace(keep_from=self._dropped)


class Worker:
    """One worker process, the run it is in, if any, and what stands in line behind that."""

    def __init__(self, child: Child, output_limit: int, show_after: int) -> None:
        self.child = child
        self.ready = False
        self.runs = 0
        self.execution: Execution | None = None
        self.line: deque[Execution] = deque()  # what comes after it
        self.forgotten: Execution | None = None  # what it is still being ended in, on a claim that is given up
        self.retire = False  # replace it when its run is over
        self.mute = False  # it has closed its output
        self.chatter = Output(output_limit)  # what it prints outside of runs
        self._output_limit = output_limit
        self._show_after = show_after
        self._ahead = b""  # of the output, what has been read and belongs to a later run, or is not complete
        self._stages: list[int] = []
        self._why = ""

    # Runs

    def start(self, item: Item, order: Order, wall: int, monotonic: int) -> bool:
        """Send an order: to run now, or, from the child's next `flush` on, after what it has in hand.

        False: it does not take it.
        """
        self.child.send(encode_order(order))
        execution = Execution(item, order.serial, self._output_limit)
        if self.execution is not None:
            self.line.append(execution)
        elif self.child.flush():
            execution.begin(wall, monotonic, self._show_after)
            self.execution = execution
        else:
            return False
        self.runs += 1
        return True

    def load(self) -> int:
        """How many orders it has in hand."""
        return len(self.line) + (self.execution is not None)

    def items(self) -> list[Item]:
        """What it has in hand."""
        inhand = [self.execution, *self.line] if self.execution is not None else []
        return [execution.item for execution in inhand]

    def take_back(self, wall: int, monotonic: int) -> list[Item]:
        """What it has not begun, taken out of its hands. (Of what is left it may have ended some, not yet heard of.)"""
        back: list[Item] = []
        for _ in range(min(self.child.take_back(), self.load())):
            if self.line:
                back.append(self.line.pop().item)
            elif self.execution is not None:
                back.append(self.execution.item)
                self._advance(wall, monotonic)
        return back[::-1]

    def finish(self, wall: int, monotonic: int) -> Execution:
        """The run in progress is over: what it was. The next in line is the run in progress now."""
        execution = self.execution
        assert execution is not None
        self._advance(wall, monotonic)
        if not self.retire:
            self._stages = []
        return execution

    def _advance(self, wall: int, monotonic: int) -> None:
        self.execution = self.line.popleft() if self.line else None
        if self.execution is not None:
            self.execution.begin(wall, monotonic, self._show_after)

    def hear(self, packet: bytes) -> Done | None:
        """What the process says: how its run ended, if it is that. Raises WireError for nonsense."""
        message = decode(packet)
        if message[0] == "done":
            done = decode_done(message)
            if self.execution is not None and done.serial == self.execution.serial:
                return done
        elif message[0] == "ready":
            if message[1:2] != [VERSION]:
                raise WireError(f"it speaks version {message[1:2]}, not {VERSION}")
            self.ready = True
            return None
        raise WireError("it said something unexpected")

    # Output

    def read_output(self) -> list[tuple[str, str]]:
        """Read some of what the run in progress printed; the complete lines, for the log.

        Its end must have been heard before, if it has told it: what comes then is the next run's.
        """
        mark = end_mark(self.execution.serial) if self.execution is not None else None
        lines: list[tuple[str, str]] = []
        for _ in range(MAX_CHUNKS):
            data = self._read()
            lines += self._feed(self._ahead + data, mark)
            if len(data) < CHUNK:
                break
        return lines

    def rest_of_output(self, printed: bool) -> list[tuple[str, str]]:
        """Read the output of a run that has just ended to its end; the complete lines, for the log."""
        execution = self.execution
        assert execution is not None
        data, self._ahead = self._ahead, b""
        if printed:
            mark = end_mark(execution.serial)
            for _ in range(MAX_CHUNKS):
                if mark in data or not (more := self._read()):
                    break
                data += more
            data, _, self._ahead = data.partition(mark)
        return execution.output.feed(data) if data else []

    def _feed(self, data: bytes, mark: bytes | None) -> list[tuple[str, str]]:
        if mark is None:
            self._ahead = b""
            return self.chatter.feed(data)
        assert self.execution is not None
        at = data.find(mark)
        if at < 0:
            # The last that has come may be the beginning of a mark.
            start = data.rfind(mark[:1], max(0, len(data) - len(mark) + 1))
            at = start if start >= 0 and mark.startswith(data[start:]) else len(data)
        self._ahead = data[at:]
        return self.execution.output.feed(data[:at]) if at else []

    def _read(self) -> bytes:
        try:
            data = os.read(self.child.output, CHUNK)
        except BlockingIOError:
            return b""
        self.mute |= not data
        return data

    # Endings

    def condemn(self, outcome: str, error: str, now: int, grace: int = TERM_GRACE) -> None:
        """End the run in progress: SIGTERM, `grace` µs later the whole process tree. `now` is monotonic."""
        if self.execution is not None and self.execution.doom is None:
            self.execution.doom = (outcome, error)
            self.retire = True
            if grace:
                self.child.terminate()
            self._stages = [now + grace, now + grace + KILL_GRACE]
            self.press(now)

    def end(self, now: int, why: str = "its process was ended", grace: int = 0) -> None:
        """End the process after `grace` µs, idle or not; `why` becomes the error of a run that it is still in then."""
        self.retire = True
        self._why = why
        self._stages = [now + grace, now + grace + KILL_GRACE]
        self.press(now)

    def press(self, now: int) -> None:
        """Take the next step of an ending that is due."""
        if not self._stages or now < self._stages[0]:
            return
        self._stages.pop(0)
        if not self._stages:
            self.child.kill()
            return
        if self.execution is not None and self.execution.doom is None:
            self.execution.doom = (FAILED, self._why)
        self.child.end()

    def next_at(self) -> int | None:
        """When this worker needs attention without being asked; None: never."""
        if self._stages:
            return self._stages[0]
        execution = self.execution
        if execution is None or execution.doom is not None:
            return None
        at = execution.show_at if execution.expires_at is None else min(execution.expires_at, execution.show_at)
        return min(at, self.line_moves_at()) if self.line else at

    def line_moves_at(self) -> int:
        """From when on nothing stands in line behind the run in progress."""
        assert self.execution is not None
        return self.execution.started_at + LINE_MOVES
