"""The control socket: how commands on this machine talk to the daemon. One JSON line there, one JSON line back.

The server never blocks the daemon: everything is bounded, and a client that does not read is dropped. An answer may
come later (`changed` is answered when the change is in effect). Only the daemon's own user can connect.
"""

import json
import os
import socket
from collections.abc import Callable
from typing import Any

from jobd.daemon.pidfile import not_its_owner

NAME = "jobd.sock"
MAX_REQUEST = 64 * 1024
MAX_CLIENTS = 24
MAX_ANSWER = 4 * 1024 * 1024
MAX_PATH = 100  # bytes that the address of a socket may have, roughly

Document = dict[str, Any]
Reply = Callable[[Document], None]


class Server:
    """The daemon's end. `answer(request, reply)` is called from `handle`; it calls `reply` once, then or later."""

    def __init__(self, state_dir: str, answer: Callable[[Document, Reply], None]) -> None:
        self._answer = answer
        self._path = os.path.join(state_dir, NAME)
        self._clients: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}  # what has come of a request; no entry: it is being answered
        self._state_dir = state_dir
        try:
            os.unlink(self._path)  # the lock on the state directory is ours, so this is a dead daemon's
        except FileNotFoundError:
            pass
        self._listener = self._listen()

    def descriptors(self) -> list[int]:
        """What to wait on until it is readable."""
        return [self._listener.fileno(), *self._clients]

    def check(self) -> None:
        """Make the socket anew when somebody has removed it."""
        if not os.path.lexists(self._path):
            try:
                listener = self._listen()
            except OSError:
                return  # there is no state directory any more
            self._listener.close()
            self._listener = listener

    def handle(self, descriptor: int) -> None:
        """Do what there is to do at a readable descriptor."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._clients:
            self._receive(descriptor)

    def close(self) -> None:
        """Hang up and remove the socket."""
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
            self._drop(next(iter(self._clients)))  # the oldest: nobody can shut others out by holding on
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
        if not data or descriptor not in self._read:  # gone, or it talks while it should listen
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
        """Answer and hang up, unless the client has hung up before."""
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
    """What the daemon of `state_dir` answers; None: there is none, or no answer within `timeout` seconds.

    Raises JobdError when it is another user's.
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
    path = os.path.join(state_dir, NAME)
    if len(os.fsencode(path)) <= MAX_PATH:
        use(path)
        return
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{folder}/{NAME}")
    finally:
        os.close(folder)
