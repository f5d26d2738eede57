"""`isolation = "fork"`: a run in a child, forked from a warm worker that has loaded the task's module.

The worker has no other thread, because a fork would copy locks without the threads that hold them. It waits for the
child's end. The child sends its result through a pipe. Its descendants may hold that pipe open, so the worker watches
the child's process for its end. All changes that the child makes to its interpreter or process end with it.
"""

import os
import select
import signal
from collections.abc import Callable

from jobd import linux

MAX_MESSAGE = 64 * 1024  # bytes of a child's result


def run_in_child(work: Callable[[], bytes]) -> tuple[bytes, int]:
    """Call `work` in a child. Return its result and the child's status as in `subprocess`: an exit code or -signal.

    Raises OSError if the process cannot be forked.
    """
    worker = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, waitpid fails
    reading, writing = os.pipe()
    child = os.fork()  # noqa: TID251 - in a worker, which has no threads
    if not child:
        try:
            linux.die_with_parent(worker)
            os.close(reading)
            packet = work()
            while packet:
                packet = packet[os.write(writing, packet) :]
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        return _read_until_end(child, reading), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(reading)


def _read_until_end(child: int, reading: int) -> bytes:
    os.set_blocking(reading, False)
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    waiting.register(ended, select.POLLIN)
    packet, is_over = b"", False
    try:
        while not is_over:
            ready = dict(waiting.poll())
            is_over = ended in ready
            if reading in ready:
                try:
                    data = os.read(reading, MAX_MESSAGE)
                except BlockingIOError:
                    continue
                packet = (packet + data)[:MAX_MESSAGE]
                if not data:
                    waiting.unregister(reading)
    finally:
        os.close(ended)
    return packet
