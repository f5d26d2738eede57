"""A journal of started runs that survives a crash of the daemon, for the next daemon on this machine.

Writing each start to the database would cost more than a short run, so only longer runs are shown there. The journal is
a ring in a memory-mapped file: an entry costs 1 µs and survives the end of the process, but not of the machine (see
lifecycle.after_loss for runs whose start is unknown). An entry is valid for one fencing token and is never cleared,
because a later claim of the job has another token.
"""

import mmap
import os
import struct
from typing import Protocol

from jobd.errors import cannot

NAME = "begun"
CAPACITY = 16_384  # entries; more than the started runs of a daemon that are not recorded yet
_ENTRY = struct.Struct("<qqq")


class StartJournal(Protocol):
    """The starts of runs on this machine."""

    def record(self, job_id: int, token: int, started: int) -> None:
        """Record the start of a run (wall-clock µs)."""

    def read(self) -> dict[tuple[int, int], int]:
        """The starts of runs (wall-clock µs), by job id and fencing token."""


class FileStartJournal:
    """A start journal in a file. Raises JobdError if the file cannot be used."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
            try:
                # Allocate all pages now: writing to one for which the disk has no room would kill the process.
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
    """The start journal in `state_dir`. Raises JobdError."""
    return FileStartJournal(os.path.join(state_dir, NAME))
