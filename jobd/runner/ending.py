"""Ending a run on request.

The daemon sends SIGTERM when a run is cancelled, exceeds its timeout or delays a stop. The worker turns it into an
event that the task can handle. Some seconds later the daemon kills the process.

    in a sync task      jobd.Cancelled is raised, once
    in an async task    the asyncio task is cancelled
    in a program        it receives the signal itself; the worker sends it on to children in other process groups
    between runs        no effect: the run ended just before the signal
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jobd.api import Cancelled


def cancel() -> None:
    """Raise Cancelled in the main thread, where signal handlers run."""
    raise Cancelled("the run is to end: it was cancelled, took too long, or jobd stops")


class Ending:
    """The handler of SIGTERM in this process. It calls `act` once; `act` is None between runs."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None
        self.asked = False  # the run has been asked to end
        self._handler = self._handle_signal
        self.install_handler()
        self._mask: set[int] = set()
        os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._leave)

    def install_handler(self) -> None:
        """Handle the signal in this process from now on."""
        signal.signal(signal.SIGTERM, self._handler)

    @contextmanager
    def by(self, act: Callable[[], object]) -> Iterator[None]:
        """Within this context, the signal calls `act`."""
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

    # A child that a task forks must end by SIGTERM like any other process. The signal is blocked during the fork,
    # because Python discards a signal that arrives between the fork and the child's first line.

    def _hold(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _leave(self) -> None:
        if signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_go()
