"""Starts, signals and reaps worker processes: the seam behind which the operating system lies.

A worker is a fresh interpreter with a session of its own, no database password, and three lines to the daemon: shared
memory (orders and outcomes) with a socket for the bytes that tell of them, a pipe (all that it prints) and its
guardian's lifeline (a socket; it dies when the daemon's end closes). The daemon keeps the worker's end of the socket
open too: the bytes that the worker has not taken out of it, and with them the last orders, the daemon takes back, and
no order is ever both taken and taken back.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from weakref import WeakSet

from jobd import ring, umask
from jobd.clock import SECOND
from jobd.plugins.environment import python
from jobd.plugins.snapshot import Snapshot
from jobd.ring import Ring
from jobd.wire import TOKEN, WireError

CHUNK = 64 * 1024  # bytes of it that are read at one go
OUTPUT_PIPE = 256 * 1024  # bytes the kernel may hold of what a worker prints
DESCENDANT = "JOBD_WORKER"  # in the environment of all that descends from a worker
_LINUX_F_SETPIPE_SZ = 1031


class Child(Protocol):
    """A worker process, from outside."""

    pid: int
    messages: int  # descriptor that becomes readable when it has said something
    output: int
    ended: int  # descriptor that becomes readable when the process has ended
    lease_expired: bool  # it was ended by its guardian, because the lease was over; known once it has been reaped

    def send(self, packet: bytes) -> None:
        """Put an order where it takes them from; it can do so from the next `flush` on."""

    def flush(self) -> bool:
        """Let it take what has been sent; False: it has closed its ears, and what it was not told is taken back."""

    def receive(self) -> list[bytes]:
        """The packets that it has sent since this was last asked. Raises WireError when there can be no more."""

    def read_output(self) -> bytes | None:
        """Some of what it printed; None: nothing is there now, empty: nothing will come any more."""

    def unread(self) -> int:
        """How many bytes of what it printed are there now."""

    def revoke(self) -> int:
        """Take away the orders that it has not taken; how many they were: the last ones that it was sent."""

    def trust_until(self, deadline: int) -> None:
        """Tell it until when (monotonic microseconds, 0: for ever) it may run without hearing from the daemon."""

    def terminate(self) -> None:
        """Ask the run in progress to end: SIGTERM to its process group."""

    def end(self) -> None:
        """End it and all that descends from it, now."""

    def kill(self) -> None:
        """SIGKILL to its process group, for a worker that did not end when told to."""

    def wait(self, timeout: int) -> bool:
        """Whether it has ended within `timeout` microseconds."""

    def reap(self) -> int:
        """Its exit status as `subprocess` has it, once it has ended; closes the descriptors."""


class Spawner(Protocol):
    """Starts worker processes."""

    def start(self) -> Child:
        """A new worker. Raises OSError when the system refuses."""

    def kill_escaped(self, known: Collection[int]) -> None:
        """Kill what escaped from workers that have ended; `known` are the process ids of the living ones."""


class ProcessChild:
    """A real worker process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ours: socket.socket,
        theirs: socket.socket,
        rings: tuple[Ring, Ring],
        output: int,
        lifeline: socket.socket,
    ) -> None:
        self._orders, self._answers = rings
        self._sent = self._flushed = self._received = 0
        self._process = process
        self._lifeline = lifeline
        self._socket = ours
        self._theirs = theirs
        self.pid = process.pid
        self.messages = ours.fileno()
        self.output = output
        self.ended = os.pidfd_open(process.pid)
        self.lease_expired = False

    def send(self, packet: bytes) -> None:
        self._orders.put(self._sent, packet)
        self._sent += 1

    def flush(self) -> bool:
        if self._sent > self._flushed:
            try:
                self._flushed += self._socket.send(TOKEN * (self._sent - self._flushed), socket.MSG_DONTWAIT)
            except OSError:
                return False
        return self._sent == self._flushed

    def receive(self) -> list[bytes]:
        try:
            count = len(self._socket.recv(ring.PLACES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return []
        if not count:  # or it would be readable for ever; the process alone cannot close it
            raise WireError("it has closed its socket")
        first, self._received = self._received, self._received + count
        return [self._answers.get(number) for number in range(first, self._received)]

    def read_output(self) -> bytes | None:
        try:
            return os.read(self.output, CHUNK)
        except BlockingIOError:
            return None

    def unread(self) -> int:
        return int.from_bytes(fcntl.ioctl(self.output, termios.FIONREAD, bytes(4)), sys.byteorder)

    def revoke(self) -> int:
        count = self._sent - self._flushed
        with contextlib.suppress(BlockingIOError):
            count += len(self._theirs.recv(ring.PLACES, socket.MSG_DONTWAIT))
        self._sent -= count
        self._flushed = self._sent
        return count

    def trust_until(self, deadline: int) -> None:
        with contextlib.suppress(OSError):
            self._lifeline.send(struct.pack("<q", deadline))

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        # Its guardian kills the whole tree, also what left the process group, when the lifeline closes.
        with contextlib.suppress(OSError):  # it has been closed, or there is nothing to read
            self.lease_expired = bool(self._lifeline.recv(1)) or self.lease_expired
        self._lifeline.close()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def wait(self, timeout: int) -> bool:
        return bool(select.select([self.ended], [], [], timeout / SECOND)[0])

    def reap(self) -> int:
        status = self._process.wait()
        self.end()
        self._socket.close()
        self._theirs.close()
        os.close(self.output)
        os.close(self.ended)
        return status

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class ProcessSpawner:
    """Starts `python -m jobd.runner`; the arguments are what it finds around it, and what it may."""

    def __init__(
        self, code: Snapshot, directory: str, commands: bool, environ: Mapping[str, str], locks: Sequence[int]
    ) -> None:
        self.code = code
        self._command = [*python("jobd.runner"), "--plugins", code.plugins, "--copy", code.copy]
        self._children: WeakSet[ProcessChild] = WeakSet()
        if commands:
            self._command.append("--commands")
        self._directory = directory
        self._locks = locks  # guardians hold them on until their worker and all its descendants are gone
        self._environ = {**environ, DESCENDANT: "1"}

    def start(self) -> ProcessChild:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            near, far = map(ours.enter_context, socket.socketpair())
            output, write_output = os.pipe()
            ours.callback(os.close, output)
            theirs.callback(os.close, write_output)
            lifeline, their_lifeline = socket.socketpair()
            ours.enter_context(lifeline)
            theirs.enter_context(their_lifeline)
            memory = ring.make()
            theirs.callback(os.close, memory)
            rings = ring.rings(memory)
            passed = {
                "socket": far.fileno(),
                "memory": memory,
                "lifeline": their_lifeline.fileno(),
            }
            process = subprocess.Popen(
                [*self._command, *_numbers(**passed), "--locks", ",".join(map(str, self._locks))],
                stdin=subprocess.DEVNULL,
                stdout=write_output,
                stderr=write_output,
                pass_fds=[*passed.values(), *self._locks],
                start_new_session=True,
                cwd=self._directory,
                env=self._environ,
                umask=umask.given(),
            )
            ours.pop_all()
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, _LINUX_F_SETPIPE_SZ, OUTPUT_PIPE)
        os.set_blocking(output, False)
        lifeline.setblocking(False)
        child = ProcessChild(process, near, far, rings, output, lifeline)
        self._children.add(child)
        return child

    def is_in_use(self) -> bool:
        """Whether a worker that it has started is still there."""
        return len(self._children) > 0

    def kill_escaped(self, known: Collection[int]) -> None:
        for pid in _children():
            if pid not in known and _descends_from_worker(pid):
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _numbers(**descriptors: int) -> list[str]:
    return [word for name, number in descriptors.items() for word in (f"--{name}", str(number))]


def _children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            found.extend(map(int, file.read().split()))
    return found


def _descends_from_worker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return DESCENDANT.encode() + b"=1" in file.read().split(b"\0")
    except OSError:
        return False
