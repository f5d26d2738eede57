"""The few things that Linux offers for looking after processes and Python has no call for."""

import contextlib
import ctypes
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK = 15, 16, 29
MAX_TERMINATED = 10_000  # descendants; what forks without end gets SIGKILL soon enough
_SYS_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}.get(os.uname().machine)
_libc = ctypes.CDLL(None, use_errno=True)
_c_stdout = ctypes.c_void_p.in_dll(_libc, "stdout")


def prctl(option: int, argument: object = 0) -> int:
    """prctl(2) with one argument."""
    result: int = _libc.prctl(option, argument, 0, 0, 0)
    return result


def io_priority() -> int:
    """The class and level of this process's input and output; 0 where it is not known how to ask."""
    return _libc.syscall(_SYS_IOPRIO_GET, 1, 0) if _SYS_IOPRIO_GET else 0


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent, whose id is `parent`, ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends: nothing escapes by forking twice."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_undumpable() -> None:
    """Close this process's memory to other processes of its user; it ends without a core dump."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def flush_c_output() -> None:
    """Write what the C library holds of standard output: a library in C may have printed."""
    _libc.fflush(_c_stdout)


def children(parent: int | str = "self") -> list[int]:
    """The process ids of the children of this process, or of another."""
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
    """SIGTERM to the descendants that are in another process group than this one, which has got the signal.

    A process that ends while they are looked for hands its children to this one, so they are looked for again until
    there are no new ones. Only then are they told: what one of them starts in order to clean up is left alone.
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


def has_children() -> bool:
    """Whether any child is left, after reaping those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def await_children(seconds: float) -> None:
    """Wait until no child is left, but no longer than this."""
    deadline = time.monotonic() + seconds
    while has_children() and time.monotonic() < deadline:
        time.sleep(0.005)  # noqa: TID251 - not in the daemon


def kill_descendants(seconds: float, spared: int = 0) -> bool:
    """Kill every descendant and reap them all, as orphans come to us; whether that was done in time.

    One child may be spared.
    """
    deadline = time.monotonic() + seconds
    while has_children():
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
