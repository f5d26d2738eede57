"""The kernel's state of a process, as far as a task can change it: see proc(5), and the attributes in execve(2).

Restored after each run: working directory, umask, signal handlers and mask, the timer of `signal.alarm`, the wake-up
descriptor, flags of the shared output pipe (O_NONBLOCK). Checked after each run: descriptors, user and groups,
priority. `restore_rest` checks the rest, which is too slow for a run of some microseconds.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys

# The C functions: those of `signal` convert each result to an enum, which took longer than everything else here.
from _signal import getsignal as _handler
from _signal import pthread_sigmask as _set_mask
from _signal import set_wakeup_fd as _set_wakeup
from typing import Any

from jobd import linux
from jobd.linux import prctl

SPARE = 64  # descriptors that runs may leave open: a module may keep a connection for the next run
_ALL = sorted(map(int, signal.valid_signals()))
_SIGNALS = [number for number in _ALL if number < signal.SIGRTMIN]
_REAL_TIME = [number for number in _ALL if number >= signal.SIGRTMIN]  # checked less often: there are many
_OUTPUT_PIPE_SIZE = 1032  # F_GETPIPE_SZ
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")
# Fields of /proc/self/status that an ordinary run does not change, unlike memory and context switches.
_STATUS = (
    b"Umask", b"VmLck", b"SigIgn", b"SigCgt", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb",
    b"NoNewPrivs", b"Seccomp", b"Seccomp_filters", b"Speculation_Store_Bypass", b"THP_enabled",
)  # fmt: skip
# Signals 32 and 33: the C library catches them once a thread has started; posix_spawn may leave them ignored before.
_OF_THE_C_LIBRARY = 1 << 31 | 1 << 32
_PRCTLS = {"dumpable": 3, "keep capabilities": 7, "securebits": 27, "timer slack": 30}
_FILES = ("oom_score_adj", "cgroup", "personality", "timers", "loginuid")
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
del sys.modules["resource"]  # its presence shows from now on that a plugin has imported it


class Kernel:
    """The kernel's state of the process before any task ran. `line`: the descriptor of the worker's socket."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._guardian = os.getppid()
        # An open descriptor refers to the same folder even after it has been moved.
        self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files = {name: _open(f"/proc/self/{name}") for name in ("status", *_FILES)}  # opening is the slowest part
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
        self.remember()

    def remember(self) -> None:
        """Accept the present state for `restore_rest`: changes made by a plugin's import stay."""
        self._rest = self._look()

    def restore(self) -> bool:
        """Restore and check the state after each run. Return whether it is as before.

        Raises OSError and other errors if it cannot be restored.
        """
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
        """Make writes to the output pipe wait for room again, if a run or a child has set O_NONBLOCK."""
        if fcntl.fcntl(1, fcntl.F_GETFL) != self._flags:
            fcntl.fcntl(1, fcntl.F_SETFL, self._flags)

    def restore_rest(self) -> bool:
        """Restore the remaining state where possible. Return whether the rest is as before."""
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
        except OSError:  # this kernel does not have it, or this user may not read it
            return b""


def _put_handlers(numbers: list[int], handlers: list[Any]) -> None:
    for number, handler in zip(numbers, handlers, strict=True):
        if _handler(number) is not handler:
            signal.signal(number, handler)


def _open_input() -> None:
    """Open /dev/null as descriptor 0, as at the start."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if descriptor:
        os.dup2(descriptor, 0)
        os.close(descriptor)


def _lowest_free() -> int:
    """The lowest free descriptor: it rises with those that are left open. Raises OSError if none is free."""
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
    except OSError:  # this kernel does not have it, or this user may not read it
        return -1


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
