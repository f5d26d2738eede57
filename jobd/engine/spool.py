"""A file with outcomes that the database could not take yet. They survive a kill -9 and a power cut.

Each line is one update; only the last line of a job counts. An update that is read back is written as usual, so it is
refused if its claim is no longer valid. The file belongs to one database; its updates never reach another.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol
from zlib import crc32

from jobd import logs
from jobd.claim import ClaimUpdate, OutputPart
from jobd.job import JobState, Run

FORMAT = 1
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place(NamedTuple):
    """The position of an outcome in the spool, in bytes."""

    start: int
    size: int


class Spool(Protocol):
    """The outcomes on this machine that are not in the database."""

    def load(self) -> list[Place]:
        """The places of the outcomes that previous daemons left: the last one of each job, oldest first."""

    def read(self, place: Place) -> ClaimUpdate:
        """The outcome at a place. Raises OSError, or ValueError, TypeError or KeyError if it is damaged."""

    def add(self, updates: Iterable[ClaimUpdate]) -> list[Place]:
        """Append outcomes, and sync them to the disk. Returns their places. Raises OSError."""

    def rewrite(self, places: Iterable[Place]) -> list[Place]:
        """Drop everything except the outcomes at these places. Returns their new places. Raises OSError."""

    def clear(self) -> None:
        """Delete all outcomes. A file that `load` could not read to its end is kept under another name."""


class FileSpool:
    """A spool in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._has_unread = False  # whole lines that could not be read

    def load(self) -> list[Place]:
        kept: dict[int, Place] = {}  # by job
        count = start = 0
        line = b""
        try:
            with open(os.open(self._path, _READ), "rb") as file:
                for line in file:
                    job_id = _decode(line).state.job_id
                    kept.pop(job_id, None)
                    kept[job_id] = Place(start, len(line))
                    start += len(line)
                    count += 1
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            # The daemon died while it wrote the last line. The run of that outcome is recorded as lost.
            self._has_unread = isinstance(error, OSError) or line.endswith(b"\n")
            logs.log("warning", f"{self._path} can be read only in part ({count} outcomes): {error}")
        return list(kept.values())

    def read(self, place: Place) -> ClaimUpdate:
        with open(os.open(self._path, _READ), "rb") as file:
            return _decode(os.pread(file.fileno(), place.size, place.start))

    def add(self, updates: Iterable[ClaimUpdate]) -> list[Place]:
        is_new = not os.path.exists(self._path)
        places = _append(self._path, map(_encode, updates))
        if is_new:
            _sync_folder(os.path.dirname(self._path))
        return places

    def rewrite(self, places: Iterable[Place]) -> list[Place]:
        fresh = self._path + ".new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        with open(os.open(self._path, _READ), "rb") as file:
            moved = _append(fresh, (os.pread(file.fileno(), place.size, place.start) for place in places))
        os.rename(fresh, self._path)
        with contextlib.suppress(OSError):  # the new file is in place; after a power cut the old one may be
            _sync_folder(os.path.dirname(self._path))
        return moved

    def clear(self) -> None:
        if not self._has_unread:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            return
        with contextlib.suppress(OSError):
            os.replace(self._path, self._path + ".unread")
            self._has_unread = False
            logs.log("error", f"{self._path}.unread keeps the outcomes that could not be read")


def open_spool(state_dir: str, database: str) -> Spool:
    """The spool in `state_dir` for the database with the URL `database`."""
    return FileSpool(os.path.join(state_dir, f"spool-{crc32(database.encode()):08x}"))


def _append(path: str, lines: Iterable[bytes]) -> list[Place]:
    """Append lines to a file, all or none of them. Returns their places. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    places = []
    try:
        before = start = os.fstat(descriptor).st_size
        try:
            for line in lines:
                places.append(Place(start, len(line)))
                start += len(line)
                while line:
                    line = line[os.write(descriptor, line) :]
            os.fdatasync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)  # a half-written line would hide the lines after it
            raise
    finally:
        os.close(descriptor)
    return places


def _encode(one: ClaimUpdate) -> bytes:
    return json.dumps([FORMAT, one.node, one.token, one.state, one.run, one.output]).encode() + b"\n"


def _decode(line: bytes) -> ClaimUpdate:
    number, node, token, state, run, output = json.loads(line)
    if number != FORMAT:
        raise ValueError(f"format {number} is not known")
    parts = tuple(OutputPart(*part) for part in output)
    return ClaimUpdate(node, token, JobState(*state), None if run is None else Run(*run), parts)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
