"""The guardian of a worker: the process that the daemon started and that forked the worker.

It runs no plugin code, so no task can stop it. It kills the worker and all its descendants when the lifeline closes
(the daemon has ended for any reason, or ends this worker), or when the lease's deadline passes without a renewal (it
reports that on the lifeline). When the worker ends, it kills the processes that the worker left, and ends with the same
exit code or signal.
"""

import contextlib
import os
import select
import signal
import struct
import time

from jobd import linux

LEASE_OVER = b"lease over"  # sent on the lifeline when the deadline has passed
EXIT_TIMEOUT = 10.0  # seconds for killed processes to disappear


def guard(worker: int, lifeline: int) -> None:
    """Watch the process `worker`; does not return. The daemon sends deadlines on the socket `lifeline`."""
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
    """End with the same exit code or signal as a process with this wait status."""
    if os.WIFSIGNALED(status):
        linux.be_undumpable()
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # no handler can be set for SIGKILL and the C library's own signals
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
