"""Work that must not hold up the daemon's loop: done in a thread, one piece after the other, taken up in the loop."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from jobd.engine.mailbox import Mailbox

MAX_WAITING = 24  # pieces of work that wait: as many as there are clients of the control socket
Work = Callable[[], Any]
Then = Callable[[Any], None]


class _Finished(NamedTuple):
    then: Then
    result: Any


class Background:
    """`then(result)` of each piece of work is called from `handle`; what the work raises is its result."""

    def __init__(self) -> None:
        self._done: Mailbox[_Finished] = Mailbox()
        self._waiting: deque[tuple[Work, Then]] = deque()
        self._busy = False

    @property
    def descriptor(self) -> int:
        """Readable when something has been done."""
        return self._done.descriptor

    @property
    def is_full(self) -> bool:
        """Whether there is as much to do as there can be clients: one more would wait for too long."""
        return len(self._waiting) >= MAX_WAITING

    def do(self, work: Work, then: Then) -> None:
        """Do `work` after what was asked for before it."""
        self._waiting.append((work, then))
        self._start()

    def handle(self) -> None:
        """Take up what has been done."""
        for finished in self._done.take():
            self._busy = False
            finished.then(finished.result)
        self._start()

    def _start(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            work, then = self._waiting.popleft()
            threading.Thread(target=self._run, args=(work, then), name="background", daemon=True).start()

    def _run(self, work: Work, then: Then) -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed over to who asked for it
            result = error
        self._done.put(_Finished(then, result))
