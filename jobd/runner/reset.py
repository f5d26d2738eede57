"""Between runs: what a task changed in its process is put back, and what cannot be put back is told.

Working directory, umask, environment, signal handlers, timers and the standard streams are restored. Closed
descriptors, limits, priority, threads that go on and grown memory are not: then the worker asks to be replaced.
"""

import os
import resource
import signal
import sys
import threading

# What is below signal.getsignal, which makes an enum of each answer: that took longer than all else here.
from _signal import getsignal as _handler

from jobd.runner import linux
from jobd.runner.output import Output

GROWTH = 256 * 1024  # KiB
CHECK_MEMORY_EVERY = 64  # runs
CHILDREN_END_WITHIN = 1.0  # seconds
_WATCHED = tuple(
    map(
        int,
        (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGALRM,
            signal.SIGCHLD,
            signal.SIGUSR1,
            signal.SIGUSR2,
        ),
    )
)


class State:
    """What the process is like when no task has touched it."""

    def __init__(self, socket: int) -> None:
        self._socket = os.fstat(socket)
        self._descriptor = socket
        self._directory = os.getcwd()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._environ = dict(_raw_environment())
        self._handlers = {number: _handler(number) for number in _WATCHED}
        self._limits = {name: resource.getrlimit(name) for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)}
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._pipe = os.fstat(1)
        self._memory = 0
        self._runs = 0

    def restore(self, output: Output) -> bool:
        """Put everything back; False when something could not be, so that this process is not to be used again."""
        self._runs += 1
        try:
            output.restore()
        except (ValueError, OSError):
            return False
        if os.getcwd() != self._directory:
            os.chdir(self._directory)
        os.umask(self._umask)
        if _raw_environment() != self._environ:
            os.environb.clear()
            os.environb.update(self._environ)
        for number, handler in self._handlers.items():
            if _handler(number) is not handler:
                signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if linux.has_children() and not linux.kill_descendants(CHILDREN_END_WITHIN):
            return False
        return self._intact()

    def _intact(self) -> bool:
        try:
            same = os.fstat(1).st_ino == os.fstat(2).st_ino == self._pipe.st_ino
            same = same and os.fstat(self._descriptor).st_ino == self._socket.st_ino
            same = same and all(resource.getrlimit(name) == limit for name, limit in self._limits.items())
            same = same and os.getpriority(os.PRIO_PROCESS, 0) == self._priority
        except OSError:
            return False
        return same and threading.active_count() == 1 and len(sys._current_frames()) == 1 and not self._has_grown()

    def _has_grown(self) -> bool:
        if self._runs % CHECK_MEMORY_EVERY and self._memory:
            return False
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._memory = self._memory or used
        return used > self._memory + GROWTH


def _raw_environment() -> dict[bytes, bytes]:
    """The environment as Python holds it: comparing os.environ itself decodes every name and value, 40 times slower."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]
