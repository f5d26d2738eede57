"""Work in a background thread, so that the daemon's loop does not wait for it.

One piece of work runs at a time, in the order of the calls. The loop handles the results.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from jobd.engine.mailbox import Mailbox

MAX_WAITING = 24  # pieces of work: one for each client of the control socket
Work = Callable[[], Any]
Then = Callable[[Any], None]


class _Finished(NamedTuple):
    then: Then
    result: Any


class Background:
    """Runs functions in a thread. `handle` calls `then(result)` for each; the result may be the exception it raised."""

    def __init__(self) -> None:
        self._done: Mailbox[_Finished] = Mailbox()
        self._waiting: deque[tuple[Work, Then]] = deque()
        self._busy = False

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable when a piece of work has ended."""
        return self._done.descriptor

    @property
    def is_full(self) -> bool:
        """Whether MAX_WAITING pieces of work wait, so that another one would wait too long."""
        return len(self._waiting) >= MAX_WAITING

    def do(self, work: Work, then: Then) -> None:
        """Run `work` after all earlier work; `handle` then passes its result to `then`."""
        self._waiting.append((work, then))
        self._start()

    def handle(self) -> None:
        """Pass the results of ended work on, and start the next piece."""
        for finished in self._done.take():
            try:
                finished.then(finished.result)
            finally:
                self._busy = False  # only now: the next piece may change what `then` reads
        self._start()

    def _start(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            work, then = self._waiting.popleft()
            threading.Thread(target=self._run, args=(work, then), name="background", daemon=True).start()

    def _run(self, work: Work, then: Then) -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is the result
            result = error
        self._done.put(_Finished(then, result))
