"""Packets between the daemon and one worker, in memory that both have mapped: to write or read one is no system call.

Each direction is a ring of PLACES. The n-th packet lies in place n modulo PLACES until it has been answered, and there
are never more unanswered than places. What tells the other side that there is one more is a byte in a socket, so no
place is read before it has been written. Whoever reads trusts nothing: a packet is copied first, then looked at.
"""

import fcntl
import mmap
import os

PLACES = 32
MAX_ORDER = 160 * 1024  # bytes of an order; the arguments of a job fit
MAX_ANSWER = 32 * 1024
_HEAD = 4  # bytes that hold a packet's length
_CACHE_LINE = 64  # bytes of a cache line: an odd number of them apart, places do not crowd each other out of the cache
_LINUX_MFD_NOEXEC_SEAL = 8
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Ring:
    """One direction; both sides count packets, from 0."""

    def __init__(self, memory: mmap.mmap, start: int, longest: int) -> None:
        self._memory = memory
        self._start = start
        self._longest = longest
        self._stride = _stride(longest)

    def close(self) -> None:
        """It is not this process's any more."""
        self._memory.close()

    def put(self, number: int, packet: bytes) -> None:
        """Write the packet of this number. Raises ValueError when it is too long."""
        size = len(packet)
        if size > self._longest:
            raise ValueError(f"a packet of {size} bytes is too long")
        at = self._start + number % PLACES * self._stride
        self._memory[at : at + _HEAD + size] = size.to_bytes(_HEAD, "little") + packet

    def get(self, number: int) -> bytes:
        """The packet of this number, which has been written; empty when what is there cannot be one."""
        at = self._start + number % PLACES * self._stride
        size = int.from_bytes(self._memory[at : at + _HEAD], "little")
        if size > self._longest:
            return b""
        at += _HEAD
        return self._memory[at : at + size]


def make() -> int:
    """A descriptor of memory for two rings. Nobody can make it shorter: to read beyond its end would be a crash."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create("jobd", flags | _LINUX_MFD_NOEXEC_SEAL)  # hardened systems demand it
    except OSError:  # Linux before 6.3 does not know it
        descriptor = os.memfd_create("jobd", flags)
    os.ftruncate(descriptor, _size())
    fcntl.fcntl(descriptor, *_SEALS)
    return descriptor


def rings(descriptor: int) -> tuple[Ring, Ring]:
    """The rings of orders and of answers. Only what has been written to takes memory."""
    memory = mmap.mmap(descriptor, _size())
    return Ring(memory, 0, MAX_ORDER), Ring(memory, PLACES * _stride(MAX_ORDER), MAX_ANSWER)


def _stride(longest: int) -> int:
    lines = -(-(longest + _HEAD) // _CACHE_LINE)
    return (lines | 1) * _CACHE_LINE


def _size() -> int:
    return PLACES * (_stride(MAX_ORDER) + _stride(MAX_ANSWER))
