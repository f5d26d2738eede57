"""`isolation = "fork"`: a run in a child, forked from a warm worker that has loaded the task's module.

The worker has no thread (who has the lock that a fork copies?), and waits for the child's end. What the child tells
comes through a pipe. Its descendants may hold that pipe open, so its end is known by the process's end. Whatever the
child does to its interpreter or its process ends with it.
"""

import os
import select
import signal
from collections.abc import Callable

from jobd import linux

MAX_MESSAGE = 64 * 1024  # bytes that a child may tell


def run_in_child(work: Callable[[], bytes]) -> tuple[bytes, int]:
    """What `work` returned in a child, and how the child ended, as `subprocess` has it: 0, an exit code, -signal."""
    worker = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the end of a child that is ignored is nobody's to wait for
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
