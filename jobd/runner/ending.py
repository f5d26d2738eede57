"""The end of a run on request: SIGTERM, which the daemon sends when a run is cancelled, over its timeout, or in the way
of a stop, becomes something that the task can act on. Some seconds later the process is killed.

    in a sync task      jobd.Cancelled is raised, once
    in an async task    it is cancelled
    in a program        nothing: it has got the signal itself
    between runs        nothing: it came when the run was just over
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jobd.api import Cancelled


def cancel() -> None:
    """Raise Cancelled, wherever the main thread is."""
    raise Cancelled("the run is to end: it was cancelled, took too long, or jobd stops")


class Ending:
    """What SIGTERM does in this process; `act` is None between runs."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None
        self.asked = False  # the run has been asked to end
        self._handler = self._handle_signal
        self.install_handler()
        self._mask: set[int] = set()
        os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._leave)

    def install_handler(self) -> None:
        """From now on the signal is this process's to hear."""
        signal.signal(signal.SIGTERM, self._handler)

    @contextmanager
    def by(self, act: Callable[[], object]) -> Iterator[None]:
        """Meanwhile `act` is what it does."""
        before, self.act = self.act, act
        try:
            yield
        finally:
            if self.act is act:
                self.act = before

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        act, self.act = self.act, None
        if act is not None:
            self.asked = True
            act()

    # A child that a task forks ends by the signal like any other process, from its first moment on: Python forgets what
    # comes between the fork and the first line that the child runs.

    def _hold(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _leave(self) -> None:
        if signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_go()
