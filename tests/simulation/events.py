"""Time and order in a simulated world: one heap of events, and fibers that run only when it is their turn.

A fiber stands for a thread and never runs beside another: it parks, and goes on when the world resumes it. So code
that blocks (the keeper's thread) is simulated as it stands, and the seed alone decides every order of events.
"""

import heapq
from collections.abc import Callable

import greenlet


class Violation(AssertionError):
    """A promise was broken."""


class Events:
    """The world's clock and what is to happen. Times are microseconds since the world began."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, moment: int, what: Callable[[], None]) -> None:
        """Have `what` happen at `moment`."""
        self._serial += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._serial, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Have `what` happen after `delay`."""
        self.at(self.now + delay, what)

    def run(self, until: int) -> None:
        """Let everything happen that is due by `until`."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = until


class Fiber:
    """What would be a thread: it runs when it is resumed, and only then, until it parks or ends."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._cluster = greenlet.getcurrent()
        self._inner = greenlet.greenlet(body)

    def resume(self) -> None:
        """Let it run until it parks or ends."""
        if not self._inner.dead:
            self._inner.switch()

    def park(self) -> None:
        """Called by the fiber itself: wait for the next turn."""
        self._cluster.switch()

    def kill(self) -> None:
        """End it where it is parked."""
        if not self._inner.dead:
            self._inner.throw(greenlet.GreenletExit)
