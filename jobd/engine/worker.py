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
from jobd.wire import MAX_MESSAGE, VERSION, Done, Order, WireError, decode, decode_done, encode_order

CHUNK = 64 * 1024
MAX_CHUNKS = 8  # read at one go while a run is in progress, so that one that floods delays nobody
TERM_GRACE = 5_000_000  # from SIGTERM to the end of the tree
KILL_GRACE = 1_000_000  # from there to SIGKILL for the guardian itself


class Worker:
    """One worker process and the run it is in, if any. Moments named `…_at` are monotonic microseconds."""

    def __init__(self, child: Child, output_limit: int) -> None:
        self.child = child
        self.ready = False
        self.runs = 0
        self.item: Item | None = None
        self.started = 0  # wall clock
        self.started_at = 0
        self.expires_at: int | None = None
        self.doom: tuple[str, str] | None = None  # the outcome and error of a run that is being ended
        self.retire = False  # replace it when its run is over
        self.deaf = self.mute = False  # it has closed its socket; its output
        self.output = Output(output_limit)
        self._limit = output_limit
        self._received = bytearray()
        self._stages: list[int] = []
        self._why = ""

    def start(self, item: Item, order: Order, wall: int, monotonic: int, timeout: int) -> None:
        """Send the order to run `item`. Raises OSError when the process is gone."""
        self.child.socket.sendall(encode_order(order))
        self.item, self.started, self.started_at = item, wall, monotonic
        self.expires_at = monotonic + timeout if timeout else None
        self.output = Output(self._limit)
        self.runs += 1

    def free(self) -> None:
        """The run is over."""
        self.item = self.expires_at = self.doom = None
        self._stages = []

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
            elif message[0] == "done" and self.item is not None and done is None:
                done = decode_done(message)
            else:
                raise WireError("it said something unexpected")
        return done

    def read_output(self) -> list[tuple[str, str]]:
        """Read some of what was printed; the complete lines, for the log."""
        lines: list[tuple[str, str]] = []
        for _ in range(MAX_CHUNKS):
            try:
                data = os.read(self.child.output, CHUNK)
            except BlockingIOError:
                break
            if not data:
                self.mute = True
                break
            lines += self.output.feed(data)
            if len(data) < CHUNK:
                break
        return lines

    def condemn(self, outcome: str, error: str, now: int, grace: int = TERM_GRACE) -> None:
        """End the run in progress: SIGTERM, `grace` µs later the whole process tree. `now` is monotonic."""
        if self.doom is None:
            self.doom = (outcome, error)
            self.retire = True
            if grace:
                self.child.terminate()
            self._stages = [now + grace, now + grace + KILL_GRACE]

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
        if self.item is not None and self.doom is None:
            self.doom = (FAILED, self._why)
        self.child.end()

    def next_at(self) -> int | None:
        """When this worker needs attention without being asked; None: never."""
        if self._stages:
            return self._stages[0]
        return self.expires_at if self.doom is None else None


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
