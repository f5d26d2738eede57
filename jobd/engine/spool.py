"""Outcomes that the database could not take, kept on this machine until it can: they survive a kill -9 and a power cut.

A line is one settlement. Whoever reads it back hands it in as if nothing had been: it counts only if its claim still
holds. The file belongs to one database, so that no other is ever told of them.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from typing import Protocol
from zlib import crc32

from jobd import logs
from jobd.job import Plan, Run
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement

FORMAT = 1


class Spool(Protocol):
    """What this machine remembers of outcomes that are not in the database."""

    def load(self) -> list[Settlement]:
        """What is kept, oldest first; of a job the last one counts."""

    def add(self, settlements: Iterable[Settlement]) -> None:
        """Keep these too; they are on the disk when this returns. Raises OSError."""

    def clear(self) -> None:
        """All of it is in the database."""


class FileSpool:
    """A spool in a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self) -> list[Settlement]:
        kept = []
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                for line in file:
                    kept.append(_read(line))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            # The daemon died while it wrote the last line: what that would have told is told as a lost run.
            logs.log("warning", f"{self._path} can be read only in part ({len(kept)} outcomes): {error}")
        return kept

    def add(self, settlements: Iterable[Settlement]) -> None:
        text = b"".join(_written(one) for one in settlements)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        is_new = not os.path.exists(self._path)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            written = 0
            try:
                while written < len(text):
                    written += os.write(descriptor, text[written:])
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)  # half a line would hide those after it
                raise
        finally:
            os.close(descriptor)
        if is_new:
            _sync_folder(os.path.dirname(self._path))

    def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def open_spool(state_dir: str, database: str) -> Spool:
    """The spool of the daemons of `state_dir` for the database of this name."""
    return FileSpool(os.path.join(state_dir, f"spool-{crc32(database.encode()):08x}"))


def _written(one: Settlement) -> bytes:
    return json.dumps([FORMAT, one.node, one.token, one.plan, one.run, one.output]).encode() + b"\n"


def _read(line: bytes) -> Settlement:
    number, node, token, plan, run, output = json.loads(line)
    if number != FORMAT:
        raise ValueError(f"format {number} is not known")
    parts = tuple(Part(*part) for part in output)
    return Settlement(node, token, Plan(*plan), None if run is None else Run(*run), parts)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
