"""Between runs: what a task changed in its process is put back, and what cannot be put back is told.

Put back after each run: working directory, umask, environment, time zone, signal handlers and mask, the timer, standard
streams, sys.path and the recursion limit. Looked at after each run, and if it has changed the worker asks to be
replaced: descriptors (closed, or more than SPARE left open), user and groups, priority, threads that go on, modules
that are gone, and resource limits once a plugin has imported `resource`. Only every THOROUGH_EVERY runs, because it
costs: resource limits changed in another way (ctypes, another process), and memory.

What the import of a plugin changed in the environment and in sys.path is no leak: it stays, as the module does.
"""

import os
import resource
import signal
import sys
import threading
import time

# What is below signal's functions, which make an enum of each answer: that took longer than all else here.
from _signal import getsignal as _handler
from _signal import pthread_sigmask as _set_mask

from jobd.runner import linux
from jobd.runner.output import Output

GROWTH = 256 * 1024  # KiB
SPARE = 64  # descriptors that runs may leave open: a connection kept in a module makes the next run quick
THOROUGH_EVERY = 64  # runs
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
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
del sys.modules["resource"]  # from now on its presence says that a plugin has imported it


class State:
    """What the process is like when no task has touched it."""

    def __init__(self, socket: int) -> None:
        self._socket = os.fstat(socket)
        self._descriptor = socket
        # Held open: it is the same folder wherever somebody moves it.
        self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = {number: _handler(number) for number in _WATCHED}
        self._mask = _set_mask(signal.SIG_BLOCK, ())
        self._limits = _limits()
        self._user = _user()
        self._most = _lowest_free() + SPARE
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._zone = time.tzname
        self._recursion = sys.getrecursionlimit()
        self._modules = sys.modules
        self._pipe = os.fstat(1)
        self._memory = 0
        self._runs = 0
        self.keep()

    def keep(self) -> None:
        """What has just been imported belongs to the process from now on, with what it changed."""
        self._environ = dict(_raw_environment())
        self._path = list(sys.path)
        self._module_count = len(sys.modules)

    def restore(self, output: Output) -> bool:
        """Put everything back; False when something could not be, so that this process is not to be used again."""
        self._runs += 1
        try:
            output.restore()
            self._put_back()
            return self._intact()
        except Exception:  # noqa: BLE001 - whatever the task has done to this interpreter, its outcome is to be told
            return False

    def _put_back(self) -> None:
        os.fchdir(self._directory)
        os.umask(self._umask)
        if _raw_environment() != self._environ:
            os.environb.clear()
            os.environb.update(self._environ)
        if time.tzname is not self._zone:  # each tzset makes a new one
            time.tzset()
            self._zone = time.tzname
        for number, handler in self._handlers.items():
            if _handler(number) is not handler:
                signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _set_mask(signal.SIG_SETMASK, self._mask)
        if sys.path != self._path:
            sys.path = list(self._path)
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)

    def _intact(self) -> bool:
        return (
            (not linux.has_children() or linux.kill_descendants(CHILDREN_END_WITHIN))
            and os.fstat(1).st_ino == os.fstat(2).st_ino == self._pipe.st_ino
            and os.fstat(self._descriptor).st_ino == self._socket.st_ino
            and _lowest_free() <= self._most
            and _user() == self._user
            and os.getpriority(os.PRIO_PROCESS, 0) == self._priority
            and threading.active_count() == 1
            and len(sys._current_frames()) == 1
            and sys.modules is self._modules
            and len(sys.modules) >= self._module_count
            and ("resource" not in sys.modules or _limits() == self._limits)
            and (self._runs % THOROUGH_EVERY != 1 or self._thoroughly_intact())
        )

    def _thoroughly_intact(self) -> bool:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._memory = self._memory or used
        return used <= self._memory + GROWTH and _limits() == self._limits


def _raw_environment() -> dict[bytes, bytes]:
    """The environment as Python holds it: comparing os.environ itself decodes every name and value, 40 times slower."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]


def _lowest_free() -> int:
    """The lowest descriptor that is free: it rises with those that are left open. Raises OSError when none is."""
    number = os.dup(0)
    os.close(number)
    return number


def _user() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]
