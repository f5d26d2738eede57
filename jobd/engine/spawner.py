"""Starts, signals and reaps worker processes: the seam behind which the operating system lies.

A worker is a fresh interpreter with a session of its own, no database password, and three lines to the daemon: a
socket (orders and outcomes, each a packet), a pipe (all that it prints) and its guardian's lifeline (a socket; it dies
when the daemon's end closes). The daemon keeps the worker's end of the socket open too: what the worker has not taken
out of it, the daemon takes back, and no order is ever both taken and taken back.
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
from collections.abc import Collection, Mapping
from typing import Protocol

from jobd.clock import SECOND
from jobd.runner.environment import without_secrets
from jobd.wire import MAX_MESSAGE, MAX_ORDER

OUTPUT_PIPE = 256 * 1024  # bytes the kernel may hold of what a worker prints
DESCENDANT = "JOBD_WORKER"  # in the environment of all that descends from a worker
_LINUX_F_SETPIPE_SZ = 1031


class Child(Protocol):
    """A worker process, from outside."""

    pid: int
    line: int  # descriptor that becomes readable when it has said something
    output: int
    ended: int  # descriptor that becomes readable when the process has ended
    lapsed: bool  # it was ended by its guardian, because the lease was over; known once it has been reaped

    def send(self, packet: bytes) -> bool:
        """Put an order where it takes them from; False: that cannot be done, for want of room or of the process."""

    def receive(self) -> bytes | None:
        """The next packet that it has sent; None: there is none."""

    def take_back(self) -> list[bytes]:
        """Take away orders that it has not taken: these. (What it takes meanwhile may be later than one of them.)"""

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

    def sweep(self, known: Collection[int]) -> None:
        """Kill what escaped from workers that have ended; `known` are the process ids of the living ones."""


class ProcessChild:
    """A real worker process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ours: socket.socket,
        theirs: socket.socket,
        output: int,
        lifeline: socket.socket,
    ) -> None:
        self._process = process
        self._lifeline = lifeline
        self._socket = ours
        self._theirs = theirs
        self.pid = process.pid
        self.line = ours.fileno()
        self.output = output
        self.ended = os.pidfd_open(process.pid)
        self.lapsed = False

    def send(self, packet: bytes) -> bool:
        try:
            self._socket.send(packet, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> bytes | None:
        try:
            return self._socket.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def take_back(self) -> list[bytes]:
        taken = []
        with contextlib.suppress(BlockingIOError):
            while packet := self._theirs.recv(MAX_ORDER, socket.MSG_DONTWAIT):
                taken.append(packet)
        return taken

    def trust_until(self, deadline: int) -> None:
        with contextlib.suppress(OSError):
            self._lifeline.send(struct.pack("<q", deadline))

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        # Its guardian kills the whole tree, also what left the process group, when the lifeline closes.
        with contextlib.suppress(OSError):  # it has been closed, or there is nothing to read
            self.lapsed = bool(self._lifeline.recv(1)) or self.lapsed
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
    """Starts `python -m jobd.runner`; the arguments are its plugins folder, working directory and permissions."""

    def __init__(self, plugins: str, directory: str, commands: bool, environ: Mapping[str, str], lock: int) -> None:
        # -P: the working directory must not come before the standard library.
        self._command = [sys.executable, "-P", "-m", "jobd.runner", "--plugins", plugins]
        if commands:
            self._command.append("--commands")
        self._directory = directory
        self._lock = lock  # guardians hold it on until their worker and all its descendants are gone
        self._environ = {**without_secrets(environ), DESCENDANT: "1"}

    def start(self) -> ProcessChild:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, write_output = os.pipe()
        lifeline, their_lifeline = socket.socketpair()
        try:
            process = subprocess.Popen(
                [*self._command, *_numbers(socket=theirs.fileno(), lifeline=their_lifeline.fileno(), lock=self._lock)],
                stdin=subprocess.DEVNULL,
                stdout=write_output,
                stderr=write_output,
                pass_fds=(theirs.fileno(), their_lifeline.fileno(), self._lock),
                start_new_session=True,
                cwd=self._directory,
                env=self._environ,
            )
        except OSError:
            ours.close()
            theirs.close()
            os.close(output)
            lifeline.close()
            raise
        finally:
            os.close(write_output)
            their_lifeline.close()
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, _LINUX_F_SETPIPE_SZ, OUTPUT_PIPE)
        os.set_blocking(output, False)
        lifeline.setblocking(False)
        return ProcessChild(process, ours, theirs, output, lifeline)

    def sweep(self, known: Collection[int]) -> None:
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
