"""A Worker, seen from the daemon: one child process that runs task functions, one at a time.

    starting ──ready──▶ idle ──start──▶ busy ──done──▶ idle
                          │               ├── doomed (timeout, cancel, lost): SIGTERM, then the whole tree is ended
                          └── end ────────┴──▶ ended (reaped and replaced by the Processor)

A Worker knows its process and its protocol; what an outcome means is the Processor's business.
"""

import os
import signal

from jobd.engine.output import Output
from jobd.engine.queue import Item
from jobd.engine.spawner import Child
from jobd.job import FAILED
from jobd.store.output import Part
from jobd.wire import MAX_MESSAGE, VERSION, Done, Order, WireError, decode, decode_done, encode_order

CHUNK = 64 * 1024
MAX_CHUNKS = 8  # read at one go while a run is in progress, so that one that floods delays nobody
TERM_GRACE = 5_000_000  # µs from SIGTERM to the end of the tree
KILL_GRACE = 1_000_000  # µs from there to SIGKILL for the guardian itself


class Execution:
    """One attempt, in progress. Moments named `…_at` are monotonic, the others wall clock, all in microseconds."""

    def __init__(self, item: Item, started: int, started_at: int, timeout: int, output_limit: int) -> None:
        self.item = item
        self.started = started
        self.started_at = started_at
        self.expires_at = started_at + timeout if timeout else None
        self.show_at = started_at
        self.shown = False
        self.doom: tuple[str, str] | None = None  # the outcome and error of a run that is being ended
        self.output = Output(output_limit)
        self._limit = output_limit
        self._sizes: list[int] = []  # of the parts of the output that have been handed in
        self._dropped = 0

    def next_part(self) -> Part | None:
        """What was printed since the last part; None: nothing. All parts together stay within the limit."""
        text = self.output.take()
        if not text:
            return None
        plan = self.item.plan
        part = Part(plan.job_id, plan.number, plan.attempt + 1, len(self._sizes), text)
        self._sizes.append(len(text))
        while self._dropped < part.part and sum(self._sizes[self._dropped :]) > self._limit:
            self._dropped += 1
        return part._replace(keep_from=self._dropped)


class Worker:
    """One worker process and the run it is in, if any."""

    def __init__(self, child: Child, output_limit: int) -> None:
        self.child = child
        self.ready = False
        self.runs = 0
        self.execution: Execution | None = None
        self.forgotten: Execution | None = None  # what it is still being ended in, on a claim that is given up
        self.retire = False  # replace it when its run is over
        self.deaf = self.mute = False  # it has closed its socket; its output
        self.chatter = Output(output_limit)  # what it prints outside of runs
        self._received = bytearray()
        self._stages: list[int] = []
        self._why = ""

    def start(self, execution: Execution, order: Order) -> None:
        """Send the order to run. Raises OSError when the process is gone."""
        self.child.socket.sendall(encode_order(order))
        self.execution = execution
        self.runs += 1

    def release(self) -> Execution | None:
        """The run is over: what it was."""
        execution, self.execution = self.execution, None
        if not self.retire:
            self._stages = []
        return execution

    def receive(self) -> Done | None:
        """Read what the process says; how its run ended, if it says so. Raises WireError when it talks nonsense."""
        try:
            data = self.child.socket.recv(CHUNK)
        except (BlockingIOError, ConnectionError):
            return None
        self.deaf = not data
        self._received += data
        if len(self._received) > MAX_MESSAGE:
            raise WireError("a message is too long")
        done = None
        while (end := self._received.find(b"\n")) >= 0:
            message = decode(bytes(self._received[:end]))
            del self._received[: end + 1]
            if message[0] == "ready":
                if message[1:2] != [VERSION]:
                    raise WireError(f"it speaks version {message[1:2]}, not {VERSION}")
                self.ready = True
            elif message[0] == "done" and self.execution is not None and done is None:
                done = decode_done(message)
            else:
                raise WireError("it said something unexpected")
        return done

    def read_output(self) -> list[tuple[str, str]]:
        """Read some of what was printed; the complete lines, for the log."""
        output = self.execution.output if self.execution is not None else self.chatter
        lines: list[tuple[str, str]] = []
        for _ in range(MAX_CHUNKS):
            try:
                data = os.read(self.child.output, CHUNK)
            except BlockingIOError:
                break
            if not data:
                self.mute = True
                break
            lines += output.feed(data)
            if len(data) < CHUNK:
                break
        return lines

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
        if execution.expires_at is None:
            return execution.show_at
        return min(execution.expires_at, execution.show_at)


def describe(status: int) -> str:
    """What the exit status of a worker means for the run that it was in."""
    if status == -signal.SIGKILL:
        return "its process was killed by SIGKILL (perhaps the system was out of memory)"
    if status < 0:
        try:
            return f"its process was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"its process was killed by signal {-status}"
    return f"its process ended with exit code {status} before the task returned"
