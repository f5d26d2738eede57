"""Simulated worker processes: they take orders, and end their runs at moments of the simulation's clock.

The operating system and the guardian are simulated with their delays: a kill takes time, a deadline that is not renewed
ends the run, a frozen machine freezes its runs too.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from jobd.clock import MILLISECOND
from jobd.engine.spawner import CHUNK
from jobd.wire import UNRESOLVED, VERSION, Order, decode, decode_order, encode, end_mark

KILL_TAKES = 200 * MILLISECOND  # at most, from the kill to the end of the run
TAKING_TAKES = 200  # µs, at most, until it takes the next prefetched order


class Act(NamedTuple):
    """The behaviour of a run: its duration and its end ("succeeded", "failed", "unresolved", "dies", "never")."""

    takes: int
    end: str


class FakeWorker:
    """A simulated worker process."""

    def __init__(self, node: Any, pid: int) -> None:
        self.pid = pid
        self.messages = pid
        self.output = pid + 2_000_000
        self.ended = pid + 1_000_000
        self.node = node
        self.order: Order | None = None
        self.alive = True
        self.lease_expired = False
        self.gone = False  # it has ended and can be reaped
        self.printed = bytearray(b"warming up\n")  # and not read by the daemon yet
        self.said = [encode("ready", VERSION, self._mark_end())]
        self._sent: list[Order] = []  # sent, and not flushed yet
        self._orders: list[Order] = []  # flushed, and not taken yet
        self._deadline = 0
        self._status = 0
        self._run = 0  # the runs are counted, so that an old one's end does not end the next

    # The interface for the daemon

    def send(self, packet: bytes) -> None:
        order = decode_order(decode(packet))
        self.node.cluster.checks.priorities.given(self.node, order)
        self._sent.append(order)

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

    def read_output(self) -> bytes | None:
        data = bytes(self.printed[:CHUNK])
        del self.printed[:CHUNK]
        return data or None

    def unread(self) -> int:
        return len(self.printed)

    def revoke(self) -> int:
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
        if self.node.cluster.chance(0.7):
            self.node.own(self.node.cluster.delay(MILLISECOND), lambda: self._over(run, "failed"))

    def end(self) -> None:
        self.node.effect("end")
        self.node.own(self.node.cluster.delay(KILL_TAKES), self.die)

    def kill(self) -> None:
        self.die()

    def wait(self, timeout: int) -> bool:
        return True

    def reap(self) -> int:
        return self._status

    # Events

    def die(self, status: int = -9) -> None:
        """The process ends at once."""
        if self.alive:
            self.alive = False
            self._status = status
            if self.order is not None:
                if self.node.cluster.output_random.random() < 0.3:
                    self._mark_end()  # it had marked the end, and had not sent the outcome yet
                self.node.cluster.checks.ended(self, None)
                self.order = None
            self.gone = True
            self.node.wake()

    def _take_soon(self) -> None:
        self.node.own(self.node.cluster.delay(TAKING_TAKES), self._take)

    def _take(self) -> None:
        if not self.alive or self.order is not None or not self._orders:
            return
        self.order = self._orders.pop(0)
        self._run += 1
        run = self._run
        cluster = self.node.cluster
        cluster.checks.started(self, self.order)
        act = cluster.act(self.order)
        self._speak(run, "begins\n")
        self.node.own(act.takes // 2, lambda: self._speak(run, "goes on\n"))
        if act.end != "never":
            self.node.own(act.takes, lambda: self._over(run, act.end))

    def _speak(self, run: int, words: str) -> None:
        """Let the run in progress print, with a probability of one half."""
        if (
            self.alive
            and run == self._run
            and self.order is not None
            and self.node.cluster.output_random.random() < 0.5
        ):
            text = f"{self.order.job} #{self.order.number}.{self.order.attempt} {words}"
            self.node.cluster.checks.printed(self, text)
            self.printed += text.encode()
            self.node.note_output()

    def _mark_end(self) -> str:
        secret = f"{self.node.cluster.output_random.getrandbits(128):032x}"
        self.printed += end_mark(secret)
        return secret

    def _over(self, run: int, end: str) -> None:
        if not self.alive or run != self._run or self.order is None:
            return
        if end == "dies":
            self.die(1)
            return
        if end != "unresolved":
            self._speak(run, "ends")
        self.node.cluster.checks.ended(self, end)
        serial, self.order = self.order.serial, None
        outcome = UNRESOLVED if end == "unresolved" else end
        error = None if end == "succeeded" else end
        self.said.append(encode("done", serial, outcome, error, None, False, self._mark_end()))
        self._take_soon()
        self.node.wake()

    def _check_deadline(self) -> None:
        if self.alive and self._deadline and self.node.clock.monotonic() >= self._deadline:
            self.lease_expired = True
            self.node.own(self.node.cluster.delay(KILL_TAKES), self.die)


class FakeSpawner:
    """The spawner of a node."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def start(self) -> FakeWorker:
        self._node.effect("spawn")
        self._node.pids += 1
        fake_worker = FakeWorker(self._node, self._node.pids)
        self._node.fake_workers.append(fake_worker)
        self._node.wake()
        return fake_worker

    def kill_escaped(self, known: Collection[int]) -> None:
        pass
