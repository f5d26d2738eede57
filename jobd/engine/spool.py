"""Outcomes that the database could not take, kept on this machine until it can: they survive a kill -9 and a power cut.

A line is one update. Only the last line of a job counts. An update that is read back is handed in as usual, so
it is refused if its claim no longer holds. The file belongs to one database; its updates never reach another.
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
    """Where in the spool an outcome is: bytes."""

    start: int
    size: int


class Spool(Protocol):
    """What this machine remembers of outcomes that are not in the database."""

    def load(self) -> list[Place]:
        """Where those are that a daemon before this one has kept: the last one of each job, oldest first."""

    def read(self, place: Place) -> ClaimUpdate:
        """What is kept there. Raises OSError, and others for what makes no sense."""

    def add(self, updates: Iterable[ClaimUpdate]) -> list[Place]:
        """Keep these too; they are on the disk when this returns. Raises OSError."""

    def rewrite(self, places: Iterable[Place]) -> list[Place]:
        """Keep what is in these places and nothing else; where that is then. Raises OSError."""

    def clear(self) -> None:
        """All of it is in the database."""


class FileSpool:
    """A spool in a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self) -> list[Place]:
        kept: dict[int, Place] = {}  # by job
        count = start = 0
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
            # The daemon died while it wrote the last line: what that would have told is told as a lost run.
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
        with contextlib.suppress(OSError):  # the file is in place; after a loss of power the old one may be
            _sync_folder(os.path.dirname(self._path))
        return moved

    def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def open_spool(state_dir: str, database: str) -> Spool:
    """The spool of the daemons of `state_dir` for the database of this name."""
    return FileSpool(os.path.join(state_dir, f"spool-{crc32(database.encode()):08x}"))


def _append(path: str, lines: Iterable[bytes]) -> list[Place]:
    """Write lines to the end of a file, all or none of them."""
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
                os.ftruncate(descriptor, before)  # half a line would hide those after it
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
