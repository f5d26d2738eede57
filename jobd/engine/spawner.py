"""Starts, signals and reaps worker processes. The simulator replaces this interface to the operating system.

A worker is a fresh interpreter in its own session, without the database password. It has three channels to the daemon:
shared memory for orders and outcomes, with a socket that carries one byte for each; a pipe for its output; and its
guardian's lifeline, a socket at whose closing the guardian kills the worker. The daemon keeps the worker's end of the
first socket open too, and revokes the last orders by reading their bytes. A byte is read by one side only, so each
order is either taken or revoked, never both.
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

from jobd import linux, ring, umask
from jobd.clock import SECOND
from jobd.plugins.environment import command_line
from jobd.plugins.snapshot import Snapshot
from jobd.ring import Ring
from jobd.wire import TOKEN, WireError

CHUNK = 64 * 1024  # bytes of output per read
OUTPUT_PIPE = 256 * 1024  # bytes: the kernel's buffer for a worker's output
DESCENDANT = "JOBD_WORKER"  # environment variable that marks all descendants of workers
_LINUX_F_SETPIPE_SZ = 1031


class Child(Protocol):
    """A worker process, as the daemon sees it."""

    pid: int
    messages: int  # descriptor that becomes readable when it has sent a message
    output: int  # descriptor of the pipe with its output
    ended: int  # descriptor that becomes readable when the process has ended
    lease_expired: bool  # its guardian killed it at the end of the lease; known after `reap`

    def send(self, packet: bytes) -> None:
        """Put an order into the shared memory. The worker can take it after the next `flush`."""

    def flush(self) -> bool:
        """Let the worker take the orders sent. False: it has closed its socket; `revoke` returns the unread orders."""

    def receive(self) -> list[bytes]:
        """The packets that arrived since the last call. Raises WireError if the worker has closed its socket."""

    def read_output(self) -> bytes | None:
        """Up to CHUNK bytes of output. None: there is none now; empty: the worker has closed its output."""

    def unread(self) -> int:
        """The number of bytes of output that can be read now."""

    def revoke(self) -> int:
        """Revoke the orders that the worker has not taken, the last ones sent. Returns their number."""

    def trust_until(self, deadline: int) -> None:
        """Send its guardian the time at which it is killed unless a later one follows (monotonic µs, 0: never)."""

    def terminate(self) -> None:
        """Ask the run in progress to end: SIGTERM to the worker's process group."""

    def end(self) -> None:
        """Kill the worker and all its descendants now, by closing the lifeline."""

    def kill(self) -> None:
        """Send SIGKILL to its process group, if `end` was not enough."""

    def wait(self, timeout: int) -> bool:
        """Wait up to `timeout` microseconds for its end. Returns whether it has ended."""

    def reap(self) -> int:
        """Wait for its end and close the descriptors. Returns the exit status as in `subprocess`."""


class Spawner(Protocol):
    """Starts worker processes."""

    def start(self) -> Child:
        """Start a worker. Raises OSError."""

    def kill_escaped(self, known: Collection[int]) -> None:
        """Kill processes that escaped from workers that have ended; `known` are the process ids of live workers."""


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
            count = len(self._socket.recv(ring.SLOTS, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return []
        if not count:  # a closed socket stays readable, so the caller must stop waiting for it
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
            count += len(self._theirs.recv(ring.SLOTS, socket.MSG_DONTWAIT))
        self._sent -= count
        self._flushed = self._sent
        return count

    def trust_until(self, deadline: int) -> None:
        with contextlib.suppress(OSError):
            self._lifeline.send(struct.pack("<q", deadline))

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        # When the lifeline closes, the guardian kills the whole tree, including processes that left the process group.
        with contextlib.suppress(OSError):  # the lifeline is already closed, or has nothing to read
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
    """Starts `python -m jobd.runner`.

    `code` is the plugins' snapshot; `directory` and `environ` are those of the worker; `commands`: it may run programs;
    `locks` are descriptors that its guardian inherits.
    """

    def __init__(
        self, code: Snapshot, directory: str, commands: bool, environ: Mapping[str, str], locks: Sequence[int]
    ) -> None:
        self.code = code
        self._command = [*command_line("jobd.runner"), "--plugins", code.plugins, "--copy", code.copy]
        self._children: WeakSet[ProcessChild] = WeakSet()
        if commands:
            self._command.append("--commands")
        self._directory = directory
        self._locks = locks  # each guardian holds them until its worker and all its descendants have ended
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
        """Whether a worker started here still exists."""
        return len(self._children) > 0

    def kill_escaped(self, known: Collection[int]) -> None:
        for pid in linux.children():
            if pid not in known and _descends_from_worker(pid):
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _numbers(**descriptors: int) -> list[str]:
    return [word for name, number in descriptors.items() for word in (f"--{name}", str(number))]


def _descends_from_worker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return DESCENDANT.encode() + b"=1" in file.read().split(b"\0")
    except OSError:
        return False
