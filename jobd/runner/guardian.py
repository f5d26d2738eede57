"""The guardian of a worker: the process that the daemon started, which forked the worker proper and stays behind.

It runs no foreign code, so nothing a task does can keep it from its work: when the lifeline closes (the daemon has
ended, however it ended, or wants this worker to), or the lease's deadline passes unrenewed (it says so on the
lifeline), it kills the worker and all that descends from it; and when the worker ends, it kills what the worker left
behind and ends the same way.
"""

import contextlib
import os
import select
import signal
import struct
import time

from jobd import linux

LEASE_OVER = b"lease over"  # what it says then
EXIT_TIMEOUT = 10.0  # seconds for the killed to disappear


def guard(worker: int, lifeline: int) -> None:
    """Look after the process `worker`; does not return."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended = os.pidfd_open(worker)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    waiting.register(lifeline, select.POLLIN)
    deadline = 0  # monotonic microseconds; 0: none
    status = None
    while status is None:
        ready = dict(waiting.poll(_milliseconds(deadline)))
        if ended in ready:
            status = os.waitpid(worker, 0)[1]
        elif lifeline in ready:
            message = os.read(lifeline, 4096)
            if not message:
                status = signal.SIGKILL
            elif len(message) >= 8:
                (deadline,) = struct.unpack("<q", message[-8:])
        elif deadline and time.monotonic_ns() // 1_000 >= deadline:
            status = signal.SIGKILL
            with contextlib.suppress(OSError):
                os.write(lifeline, LEASE_OVER)
    linux.kill_descendants(EXIT_TIMEOUT)
    _end_like(status)


def _milliseconds(deadline: int) -> int | None:
    if not deadline:
        return None
    return max(0, (deadline - time.monotonic_ns() // 1_000) // 1_000 + 1)


def _end_like(status: int) -> None:
    """End with the exit code of a process, or by the signal that it ended by."""
    if os.WIFSIGNALED(status):
        linux.be_undumpable()
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # SIGKILL, and the C library's own
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
