"""Which runs have begun, where a daemon that starts anew on this machine finds it, however its forerunner ended.

To write each beginning to the database would cost more than the run, so only runs that last are shown there. This is a
ring in a memory-mapped file: an entry costs 1 µs and survives the death of the process (not of the machine; what
then follows from not knowing is decided in lifecycle.after_loss). An entry holds for one fencing token and is never
cleared: claims that are over have passed their token on.
"""

import mmap
import os
import struct
from typing import Protocol

from jobd.errors import cannot

NAME = "begun"
CAPACITY = 16_384  # more than a daemon ever has begun and not yet written down
_ENTRY = struct.Struct("<qqq")


class StartJournal(Protocol):
    """What this machine remembers of runs that have begun."""

    def record(self, job_id: int, token: int, started: int) -> None:
        """A run begins."""

    def read(self) -> dict[tuple[int, int], int]:
        """When runs began, by job id and fencing token."""


class FileStartJournal:
    """A start journal in a file."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
            try:
                # To write into a page that the disk has no room for would end the process: have them all now.
                os.posix_fallocate(descriptor, 0, CAPACITY * _ENTRY.size)
                self._map = mmap.mmap(descriptor, CAPACITY * _ENTRY.size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot(f"use {path}", error) from None
        self._next = 0

    def record(self, job_id: int, token: int, started: int) -> None:
        _ENTRY.pack_into(self._map, self._next * _ENTRY.size, job_id, token, started)
        self._next = (self._next + 1) % CAPACITY

    def read(self) -> dict[tuple[int, int], int]:
        return {(job_id, token): started for job_id, token, started in _ENTRY.iter_unpack(self._map) if token}


def open_start_journal(state_dir: str) -> StartJournal:
    """The start journal of the daemons of `state_dir`. Raises JobdError."""
    return FileStartJournal(os.path.join(state_dir, NAME))
