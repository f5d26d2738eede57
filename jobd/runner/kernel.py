"""What the kernel holds of a process that a task can change: see proc(5), and what execve(2) keeps.

Put back after each run: working directory, umask, signal handlers and mask, the timer of `signal.alarm`, the wake-up
descriptor, flags of the shared output pipe (O_NONBLOCK). Looked at after each run: descriptors, user and groups,
priority, children. `is_intact` looks at the rest, which costs too much for a run of some microseconds.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys

# What is below signal's functions, which make an enum of each answer: that took longer than all else here.
from _signal import getsignal as _handler
from _signal import pthread_sigmask as _set_mask
from _signal import set_wakeup_fd as _set_wakeup
from typing import Any

from jobd import linux
from jobd.linux import prctl

SPARE = 64  # descriptors that runs may leave open: a connection kept in a module makes the next run quick
_ALL = sorted(map(int, signal.valid_signals()))
_SIGNALS = [number for number in _ALL if number < signal.SIGRTMIN]
_REAL_TIME = [number for number in _ALL if number >= signal.SIGRTMIN]  # looked at less often: there are many
_OUTPUT_PIPE_SIZE = 1032  # F_GETPIPE_SZ
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")
# Of /proc/self/status: what no run of an honest task changes by the way, as memory and switches do.
_STATUS = (
    b"Umask", b"VmLck", b"SigIgn", b"SigCgt", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb",
    b"NoNewPrivs", b"Seccomp", b"Seccomp_filters", b"Speculation_Store_Bypass", b"THP_enabled",
)  # fmt: skip
# Signals 32 and 33, which it catches from the first thread on, and which posix_spawn may have left ignored till then.
_OF_THE_C_LIBRARY = 1 << 31 | 1 << 32
_PRCTLS = {"dumpable": 3, "keep capabilities": 7, "securebits": 27, "timer slack": 30}
_FILES = ("oom_score_adj", "cgroup", "personality", "timers", "loginuid")
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
del sys.modules["resource"]  # from now on its presence says that a plugin has imported it


class Kernel:
    """What the kernel held when no task had touched the process. `line`: the descriptor of the worker's socket."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._guardian = os.getppid()
        # Held open: it is the same folder also when it is moved.
        self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files = {name: _open(f"/proc/self/{name}") for name in ("status", *_FILES)}  # to open takes longest
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = [*map(_handler, _SIGNALS)]
        self._real_time_handlers = [*map(_handler, _REAL_TIME)]
        self._mask = _set_mask(signal.SIG_BLOCK, ())
        self._user = _user()
        self._most = _lowest_free() + SPARE
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._flags = fcntl.fcntl(1, fcntl.F_GETFL)
        self._socket = os.fstat(line).st_ino
        self._pipe = os.fstat(1).st_ino
        self._input = _file(0)
        self._limits = _limits()
        self._processors = os.sched_getaffinity(0)
        self._name = _name()
        self.keep()

    def keep(self) -> None:
        """What a plugin's import has changed belongs to the process."""
        self._rest = self._look()

    def put_back(self) -> bool:
        """After each run; whether all is as it was. Raises OSError and others where it cannot be put back."""
        os.fchdir(self._directory)
        os.umask(self._umask)
        if [*map(_handler, _SIGNALS)] != self._handlers:
            _put_handlers(_SIGNALS, self._handlers)
        signal.alarm(0)  # the same timer as ITIMER_REAL
        _set_wakeup(-1)
        _set_mask(signal.SIG_SETMASK, self._mask)
        return (
            os.fstat(1).st_ino == os.fstat(2).st_ino == self._pipe
            and os.fstat(self._line).st_ino == self._socket
            and _lowest_free() <= self._most
            and _user() == self._user
            and os.getpriority(os.PRIO_PROCESS, 0) == self._priority
            and ("resource" not in sys.modules or _limits() == self._limits)
        )

    def free_output(self) -> None:
        """Writing to the pipe waits until there is room, also when a run or a child has set O_NONBLOCK."""
        if fcntl.fcntl(1, fcntl.F_GETFL) != self._flags:
            fcntl.fcntl(1, fcntl.F_SETFL, self._flags)

    def is_intact(self) -> bool:
        """Put back what else can be; whether the rest is as it was."""
        _put_handlers(_REAL_TIME, self._real_time_handlers)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        linux.die_with_parent(self._guardian)
        linux.adopt_orphans()
        if os.sched_getaffinity(0) != self._processors:
            os.sched_setaffinity(0, self._processors)
        if _name() != self._name:
            prctl(linux.PR_SET_NAME, self._name)
        if _file(0) != self._input:
            _open_input()
        return _limits() == self._limits and self._look() == self._rest

    def _look(self) -> dict[str, object]:
        found: dict[str, object] = {name: prctl(number) for name, number in _PRCTLS.items()}
        found["session"] = os.getsid(0), os.getpgid(0)
        found["scheduling"] = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, linux.io_priority()
        found["root"] = _file("/proc/self/root/.")
        found["pipe size"] = fcntl.fcntl(1, _OUTPUT_PIPE_SIZE)
        found["status"] = _status(self._read("status"))
        for name in _FILES:
            found[name] = self._read(name)
        for name in _NAMESPACES:
            found[f"namespace {name}"] = _target(f"/proc/self/ns/{name}")
        return found

    def _read(self, name: str) -> bytes:
        try:
            return os.pread(self._files[name], 8192, 0)
        except OSError:  # not in this kernel, or not for this user
            return b""


def _put_handlers(numbers: list[int], handlers: list[Any]) -> None:
    for number, handler in zip(numbers, handlers, strict=True):
        if _handler(number) is not handler:
            signal.signal(number, handler)


def _open_input() -> None:
    """Descriptor 0 reads nothing, as at the start."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if descriptor:
        os.dup2(descriptor, 0)
        os.close(descriptor)


def _lowest_free() -> int:
    """The lowest descriptor that is free: it rises with those that are left open. Raises OSError when none is."""
    number = os.dup(1)
    os.close(number)
    return number


def _user() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _name() -> bytes:
    buffer = ctypes.create_string_buffer(16)
    prctl(linux.PR_GET_NAME, buffer)
    return buffer.value


def _file(path: int | str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def _status(content: bytes) -> dict[bytes, object]:
    lines = content.splitlines()
    found: dict[bytes, object] = {
        name: value for name, _, value in (line.partition(b":") for line in lines) if name in _STATUS
    }
    for name in (b"SigIgn", b"SigCgt"):
        found[name] = int(found[name], 16) & ~_OF_THE_C_LIBRARY  # type: ignore[call-overload]
    return found


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # the same
        return -1


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
