"""Time and order in a simulation: one heap of events, and fibers. Only one fiber runs at a time.

A fiber stands for a thread: it parks, and continues when the simulation resumes it. So code that blocks (the keeper's
thread) is simulated unchanged, and the seed alone decides the order of all events.
"""

import heapq
from collections.abc import Callable

import greenlet


class Violation(AssertionError):
    """A promise was broken."""


class Events:
    """The clock and the future events of a simulation. Times are µs since its start."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, moment: int, what: Callable[[], None]) -> None:
        """Call `what` at `moment`."""
        self._serial += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._serial, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Call `what` after `delay` µs."""
        self.at(self.now + delay, what)

    def run(self, until: int) -> None:
        """Run all events that are due by `until`."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = until


class Fiber:
    """The substitute for a thread: it runs only when it is resumed, until it parks or ends."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._cluster = greenlet.getcurrent()
        self._inner = greenlet.greenlet(body)

    def resume(self) -> None:
        """Let it run until it parks or ends."""
        if not self._inner.dead:
            self._inner.switch()

    def park(self) -> None:
        """Called by the fiber itself: wait until it is resumed."""
        self._cluster.switch()

    def kill(self) -> None:
        """End it where it is parked."""
        if not self._inner.dead:
            self._inner.throw(greenlet.GreenletExit)
