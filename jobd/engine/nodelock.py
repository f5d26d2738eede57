"""The lock of a running daemon that its neighbours can look at: an abstract Unix socket, held by the daemon and by the
guardians of its workers. The kernel frees its name when the last of them has ended: then nothing of that daemon can
run any more. No file stands for it, so none can be deleted, lie on a network or be closed to another user.

The database tells the lock's name. The address is made of that, of the boot of this kernel and of the network
namespace, in which such names live: elsewhere the same name is another address, and nobody who only sees the addresses
of this machine can take a name before its node does.
"""

import contextlib
import errno
import hashlib
import os
import socket
import uuid
from typing import Protocol

BOOT = "/proc/sys/kernel/random/boot_id"
NAMESPACE = "/proc/self/ns/net"


class Locks(Protocol):
    """This node's own lock, and what this machine says of others'."""

    name: str | None  # None: no lock can be had here

    def is_held(self, name: str) -> bool:
        """Whether some process holds the lock `name`; False: none in this namespace of this machine."""


class NodeLock:
    """The lock of this process and of all that inherit its descriptor."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.descriptors: list[int] = []  # what guardians are to inherit
        self._held = _socket()
        with contextlib.suppress(OSError):  # without it only the lease counts
            name = uuid.uuid4().hex
            self._held.bind(_address(name))
            self._held.shutdown(socket.SHUT_RD)  # it hears nothing, so that nobody can fill it
            self.name, self.descriptors = name, [self._held.fileno()]

    def is_held(self, name: str) -> bool:
        try:
            with _socket() as asking:
                asking.connect(_address(name))
        except OSError as error:
            return error.errno != errno.ECONNREFUSED  # by anything else it is not known
        return True


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _address(name: str) -> bytes:
    """Where the lock is, for processes of this boot and network namespace. Raises OSError."""
    with open(BOOT) as file:
        boot = file.read().strip()
    place = f"{boot} {os.stat(NAMESPACE).st_ino} {name}"
    return b"\0jobd-" + hashlib.sha256(place.encode()).hexdigest()[:32].encode()
