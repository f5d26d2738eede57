"""The control socket: commands on this machine send the daemon one JSON line, and the answer is one JSON line.

The server never blocks the daemon: sizes and the number of clients are limited, and each client is disconnected after
one answer, read or not. An answer may come later (`changed` is answered when the change is in effect). Only the
daemon's own user can connect.
"""

import json
import os
import socket
from collections.abc import Callable
from typing import Any

from jobd.clock import SECOND
from jobd.daemon.pidfile import not_its_owner
from jobd.settings import SOCKET_FILE

AFTER_DRAIN = 30 * SECOND  # that the daemon's end may take beyond the answer to a request to stop, in µs
MAX_REQUEST = 64 * 1024  # bytes
MAX_CLIENTS = 24
MAX_ANSWER = 4 * 1024 * 1024  # bytes
MAX_PATH = 100  # bytes; the address of a socket has room for 108

Document = dict[str, Any]
Reply = Callable[[Document], None]


class Server:
    """The daemon's side. `handle` calls `answer(request, reply)`, which calls `reply` once, immediately or later.

    Raises OSError if the socket cannot be created.
    """

    def __init__(self, state_dir: str, answer: Callable[[Document, Reply], None]) -> None:
        self._answer = answer
        self._path = os.path.join(state_dir, SOCKET_FILE)
        self._clients: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}  # the received part of a request; no entry: it is being answered
        self._state_dir = state_dir
        try:
            os.unlink(self._path)  # the lock of the state directory is held, so its daemon is dead
        except FileNotFoundError:
            pass
        self._listener = self._listen()

    def descriptors(self) -> list[int]:
        """The descriptors that the loop waits for until one is readable."""
        return [self._listener.fileno(), *self._clients]

    def check(self) -> None:
        """Create the socket again if it has been removed."""
        if not os.path.lexists(self._path):
            try:
                listener = self._listen()
            except OSError:
                return  # the state directory has been removed
            self._listener.close()
            self._listener = listener

    def handle(self, descriptor: int) -> None:
        """Accept a client or read its request at a readable descriptor."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._clients:
            self._receive(descriptor)

    def close(self) -> None:
        """Disconnect all clients and remove the socket."""
        for descriptor in list(self._clients):
            self._drop(descriptor)
        self._listener.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        umask = os.umask(0o177)
        try:
            _with_address(self._state_dir, listener.bind)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(umask)
        listener.listen(socket.SOMAXCONN)
        return listener

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        while len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))  # the oldest, so that idle clients cannot keep others out
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_ANSWER)
        self._clients[client.fileno()] = client
        self._read[client.fileno()] = b""

    def _receive(self, descriptor: int) -> None:
        try:
            data = self._clients[descriptor].recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or descriptor not in self._read:  # disconnected, or it sends more than one line
            self._drop(descriptor)
            return
        self._read[descriptor] += data
        line, ended, _ = self._read[descriptor].partition(b"\n")
        if ended:
            del self._read[descriptor]
            self._do(self._clients[descriptor], line)
        elif len(line) > MAX_REQUEST:
            self._drop(descriptor)

    def _do(self, client: socket.socket, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if isinstance(request, dict):
            self._answer(request, lambda answer: self._send(client, answer))
        else:
            self._send(client, {"error": "the request is not a JSON object"})

    def _send(self, client: socket.socket, answer: Document) -> None:
        """Send the answer and disconnect the client, unless it has been disconnected already."""
        descriptor = client.fileno()
        if self._clients.get(descriptor) is not client:
            return
        data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            client.send(data[:MAX_ANSWER])
        except OSError:
            pass
        self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._read.pop(descriptor, None)
        self._clients.pop(descriptor).close()


def ask(state_dir: str, request: Document, timeout: float | None) -> Document | None:
    """Send a request to the daemon of `state_dir` and return its answer. `timeout`: seconds; None: no limit.

    None: no daemon runs, it did not answer in time, or its answer is not a JSON object. Raises JobdError if the daemon
    belongs to another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout)
        received = b""
        try:
            _with_address(state_dir, channel.connect)
            channel.sendall(json.dumps(request).encode() + b"\n")
            while data := channel.recv(65536):
                received += data
        except PermissionError:
            raise not_its_owner(state_dir) from None
        except OSError:
            return None
    try:
        answer = json.loads(received)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _with_address(state_dir: str, use: Callable[[str], None]) -> None:
    """Call `use` with an address of the socket that is short enough for the kernel."""
    path = os.path.join(state_dir, SOCKET_FILE)
    if len(os.fsencode(path)) <= MAX_PATH:
        use(path)
        return
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{folder}/{SOCKET_FILE}")
    finally:
        os.close(folder)
