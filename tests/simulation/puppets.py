"""Worker processes that are none: they take orders, and end their runs when the world's time has come.

What the operating system and the guardian do is simulated with its delays: a kill takes time, a deadline that nobody
prolongs ends the run, a frozen machine freezes its runs too.
"""

import os
from collections.abc import Collection
from typing import Any, NamedTuple

from jobd.clock import MILLISECOND
from jobd.wire import UNRESOLVED, VERSION, Order, decode, decode_order, encode, end_mark

KILL_TAKES = 200 * MILLISECOND  # at most, from the order to kill to the end of the run
TAKING_TAKES = 200  # µs, at most, until it takes the next order out of its line


class Act(NamedTuple):
    """What a run does: it takes so long, and ends so ("succeeded", "failed", "unresolved", "dies", "never")."""

    takes: int
    end: str
    prints: str = ""


class Puppet:
    """A worker process."""

    def __init__(self, node: Any, pid: int, silence: int) -> None:
        self.pid = pid
        self.line = pid
        self.output = silence
        self.ended = pid + 1_000_000
        self.node = node
        self.order: Order | None = None
        self.alive = True
        self.lapsed = False
        self.gone = False  # it has ended and can be reaped
        self.said = [encode("ready", VERSION)]
        self._sent: list[Order] = []  # told, and not to be taken yet
        self._orders: list[Order] = []  # to be taken
        self._deadline = 0
        self._status = 0
        self._printer: int | None = None
        self._run = 0  # the runs are counted, so that an old one's end does not end the next

    def give_voice(self) -> None:
        """From now on it can print."""
        self.output, self._printer = os.pipe()
        os.set_blocking(self.output, False)
        self.node.world.pipes += (self.output, self._printer)

    # As the daemon sees it

    def send(self, packet: bytes) -> None:
        self._sent.append(decode_order(decode(packet)))

    def flush(self) -> bool:
        if not self._sent:
            return True
        self.node.effect("order")
        self._orders += self._sent
        self._sent.clear()
        self._take_soon()
        self.node.effect("ordered")
        return True

    def receive(self) -> list[bytes]:
        said, self.said = self.said, []
        return said

    def take_back(self) -> int:
        count = len(self._orders) + len(self._sent)
        self._orders.clear()
        self._sent.clear()
        return count

    def trust_until(self, deadline: int) -> None:
        self._deadline = deadline
        if deadline:
            self.node.own(deadline - self.node.clock.monotonic(), self._check_deadline)

    def terminate(self) -> None:
        run = self._run
        if self.node.world.chance(0.7):
            self.node.own(self.node.world.delay(MILLISECOND), lambda: self._over(run, "failed"))

    def end(self) -> None:
        self.node.effect("end")
        self.node.own(self.node.world.delay(KILL_TAKES), self.die)

    def kill(self) -> None:
        self.die()

    def wait(self, timeout: int) -> bool:
        return True

    def reap(self) -> int:
        return self._status

    # What happens to it

    def die(self, status: int = -9) -> None:
        """The process ends, whatever it was doing."""
        if self.alive:
            self.alive = False
            self._status = status
            if self.order is not None:
                self.node.world.checks.ended(self, None)
                self.order = None
            self.gone = True
            self.node.wake()

    def _take_soon(self) -> None:
        self.node.own(self.node.world.delay(TAKING_TAKES), self._take)

    def _take(self) -> None:
        if not self.alive or self.order is not None or not self._orders:
            return
        self.order = self._orders.pop(0)
        self._run += 1
        run = self._run
        world = self.node.world
        world.checks.started(self, self.order)
        act = world.act(self.order)
        if act.end != "never":
            self.node.own(act.takes, lambda: self._over(run, act.end, act.prints))

    def _over(self, run: int, end: str, prints: str = "") -> None:
        if not self.alive or run != self._run or self.order is None:
            return
        if end == "dies":
            self.die(1)
            return
        self.node.world.checks.ended(self, end)
        serial, self.order = self.order.serial, None
        outcome = UNRESOLVED if end == "unresolved" else end
        printed = bool(prints) and self._printer is not None
        if printed:
            os.write(self._printer, prints.encode() + end_mark(serial))
        self.said.append(encode("done", serial, outcome, None if end == "succeeded" else end, None, False, printed))
        self._take_soon()
        self.node.wake()

    def _check_deadline(self) -> None:
        if self.alive and self._deadline and self.node.clock.monotonic() >= self._deadline:
            self.lapsed = True
            self.node.own(self.node.world.delay(KILL_TAKES), self.die)


class Stage:
    """The spawner of a node."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._silence = node.world.silence

    def start(self) -> Puppet:
        self._node.effect("spawn")
        self._node.pids += 1
        puppet = Puppet(self._node, self._node.pids, self._silence)
        if self._node.world.pipes is not None:
            puppet.give_voice()
        self._node.puppets.append(puppet)
        self._node.wake()
        return puppet

    def sweep(self, known: Collection[int]) -> None:
        pass


def silent_pipe() -> int:
    """The reading end of a pipe into which nobody writes."""
    reader, _ = os.pipe()
    os.set_blocking(reader, False)
    return reader
