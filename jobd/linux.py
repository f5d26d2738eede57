"""Linux system calls for process supervision that the standard library lacks, and helpers for process trees."""

import contextlib
import ctypes
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK = 15, 16, 29
MAX_TERMINATED = 10_000  # descendants; a program that forks without end gets SIGKILL later
_SYS_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}.get(os.uname().machine)
_libc = ctypes.CDLL(None, use_errno=True)
_c_stdout = ctypes.c_void_p.in_dll(_libc, "stdout")


def prctl(option: int, argument: object = 0) -> int:
    """Make the system call prctl with one argument. The result is -1 after an error."""
    result: int = _libc.prctl(option, argument, 0, 0, 0)
    return result


def io_priority() -> int:
    """The I/O priority (class and level) of this process; 0 on architectures whose system call number is unknown."""
    return _libc.syscall(_SYS_IOPRIO_GET, 1, 0) if _SYS_IOPRIO_GET else 0


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent, with the process id `parent`, ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def adopt_orphans() -> None:
    """Become a child subreaper: this process adopts orphaned descendants, so a double fork does not escape."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_undumpable() -> None:
    """Deny other processes of the user access to this process's memory. It also writes no core dump."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def flush_c_output() -> None:
    """Flush the C library's buffer of standard output, because a library in C may have printed."""
    _libc.fflush(_c_stdout)


def children(parent: int | str = "self") -> list[int]:
    """The process ids of the children of this process, or of the process `parent`."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{parent}/task")
    except OSError:  # it has just ended
        return found
    for thread in threads:
        try:
            with open(f"/proc/{parent}/task/{thread}/children") as file:
                found.extend(map(int, file.read().split()))
        except OSError:
            pass  # the thread has just ended
    return found


def terminate_other_groups() -> None:
    """Send SIGTERM to the descendants outside of this process group, which has already received the signal.

    This process adopts the children of a process that ends during the search, so the search is repeated until it finds
    no new ones. The signals are sent after that, so that processes started for a clean-up are not signalled.
    """
    group = os.getpgrp()
    known: set[int] = set()
    while (fresh := _descendants() - known) and len(known) < MAX_TERMINATED:
        known |= fresh
    for pid in known:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != group:
                os.kill(pid, signal.SIGTERM)


def _descendants() -> set[int]:
    found: set[int] = set()
    waiting = children()
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children(pid)
    return found


def reap_children() -> bool:
    """Reap the children that have ended; True if any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def await_children(seconds: float) -> None:
    """Reap children until none is left, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while reap_children() and time.monotonic() < deadline:
        time.sleep(0.005)  # noqa: TID251 - not in the daemon


def kill_descendants(seconds: float, spared: int = 0) -> bool:
    """Kill and reap every descendant except the child `spared`; False if `seconds` were not enough.

    The caller must be a child subreaper: so orphans become its children and are killed too.
    """
    deadline = time.monotonic() + seconds
    while reap_children():
        if time.monotonic() > deadline:
            return False
        left = children()
        if left == [spared]:
            return True
        for pid in left:
            if pid == spared:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.001)  # noqa: TID251 - not in the daemon
    return True
