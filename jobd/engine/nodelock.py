"""The lock of a running daemon, which other daemons on the machine can check: an abstract Unix socket.

The daemon and the guardians of its workers hold it. The kernel frees its name when the last of them has ended, and
then no run of that daemon can be running. There is no file that could be deleted, be on a network file system or be
unreadable for another user.

The lock's name is in the database. Its address is a hash of the name, the boot id and the network namespace. So the
same name has another address on another machine, and a process that only sees the addresses of this machine cannot
take a name before its node does.
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
    """This node's own lock, and a check of other nodes' locks."""

    name: str | None  # None: the system refused the lock

    def is_held(self, name: str) -> bool:
        """Whether a process in this network namespace holds the lock `name`. If that cannot be found out: True."""


class NodeLock:
    """The lock of this process and of all processes that inherit its descriptor."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.descriptors: list[int] = []  # for the guardians to inherit
        self._held = _socket()
        with contextlib.suppress(OSError):  # without a lock, only the lease decides
            name = uuid.uuid4().hex
            self._held.bind(_address(name))
            self._held.shutdown(socket.SHUT_RD)  # nothing is received, so no process can fill its buffer
            self.name, self.descriptors = name, [self._held.fileno()]

    def is_held(self, name: str) -> bool:
        try:
            with _socket() as asking:
                asking.connect(_address(name))
        except OSError as error:
            return error.errno != errno.ECONNREFUSED  # other errors prove nothing
        return True


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _address(name: str) -> bytes:
    """The abstract socket address of a lock, in this boot and network namespace. Raises OSError."""
    with open(BOOT) as file:
        boot = file.read().strip()
    place = f"{boot} {os.stat(NAMESPACE).st_ino} {name}"
    return b"\0jobd-" + hashlib.sha256(place.encode()).hexdigest()[:32].encode()
