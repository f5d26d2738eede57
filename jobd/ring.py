"""Packets between the daemon and one worker in shared memory: writing or reading one needs no system call.

Each direction is a ring of SLOTS. The n-th packet lies in slot n modulo SLOTS until it has been answered, and there
are never more unanswered packets than slots. A byte in a socket announces each packet, so no slot is read before it
has been written. The reader trusts nothing: it copies a packet before it checks it.
"""

import fcntl
import mmap
import os

SLOTS = 32
MAX_ORDER = 160 * 1024  # bytes of an order: enough for the arguments of a job
MAX_ANSWER = 32 * 1024  # bytes
_HEAD = 4  # bytes for the length of a packet
_CACHE_LINE = 64  # bytes; places are an odd number of cache lines apart, so they do not compete for the same cache set
_LINUX_MFD_NOEXEC_SEAL = 8
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Ring:
    """One direction. Both sides number the packets from 0."""

    def __init__(self, memory: mmap.mmap, start: int, longest: int) -> None:
        self._memory = memory
        self._start = start
        self._longest = longest
        self._stride = _stride(longest)

    def close(self) -> None:
        """Unmap the memory, which holds both rings, from this process."""
        self._memory.close()

    def put(self, number: int, packet: bytes) -> None:
        """Write the packet of this number. Raises ValueError if it is too long."""
        size = len(packet)
        if size > self._longest:
            raise ValueError(f"a packet of {size} bytes is too long")
        at = self._start + number % SLOTS * self._stride
        self._memory[at : at + _HEAD + size] = size.to_bytes(_HEAD, "little") + packet

    def get(self, number: int) -> bytes:
        """The packet of this number, which must have been written; empty if its length is invalid."""
        at = self._start + number % SLOTS * self._stride
        size = int.from_bytes(self._memory[at : at + _HEAD], "little")
        if size > self._longest:
            return b""
        at += _HEAD
        return self._memory[at : at + size]


def make() -> int:
    """A descriptor of memory for two rings. It is sealed against shrinking: a read beyond its end would be a crash."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create("jobd", flags | _LINUX_MFD_NOEXEC_SEAL)  # hardened systems require it
    except OSError:  # Linux before 6.3 does not have this flag
        descriptor = os.memfd_create("jobd", flags)
    os.ftruncate(descriptor, _size())
    fcntl.fcntl(descriptor, *_SEALS)
    return descriptor


def rings(descriptor: int) -> tuple[Ring, Ring]:
    """The rings of orders and of answers. Pages take memory only after a write to them."""
    memory = mmap.mmap(descriptor, _size())
    return Ring(memory, 0, MAX_ORDER), Ring(memory, SLOTS * _stride(MAX_ORDER), MAX_ANSWER)


def _stride(longest: int) -> int:
    lines = -(-(longest + _HEAD) // _CACHE_LINE)
    return (lines | 1) * _CACHE_LINE


def _size() -> int:
    return SLOTS * (_stride(MAX_ORDER) + _stride(MAX_ANSWER))
