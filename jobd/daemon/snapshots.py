"""Copies of the plugins' code, for workers to import (see runner/snapshot.py): each run has exactly the code that was
accepted, whatever happens in the plugins folder until the next reload.

    STATE_DIR/code/<digest>/    one copy; the digest is over the names and contents of its files of code
"""

import os
import shutil
from collections.abc import Collection

from jobd.daemon.code import Contents, contents_of, contents_of_copy, copy, digest_of, first_part
from jobd.errors import cannot
from jobd.runner.snapshot import Snapshot

FOLDER = "code"


class Snapshots:
    """The copies of one daemon. What the daemon before it left is removed. Raises JobdError."""

    def __init__(self, state_dir: str) -> None:
        self._folder = os.path.join(state_dir, FOLDER)
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise cannot(f"use {os.path.abspath(self._folder)}", error) from None

    def take(self, plugins: str, accepted: Snapshot | None = None, kept: Collection[str] = ()) -> Snapshot:
        """A snapshot of the plugins folder.

        `kept` names what has the code of the snapshot `accepted` instead of the folder's. Raises JobdError.
        """
        contents = _contents(plugins, accepted, kept)
        if self._names():
            target = self._path(digest_of(contents.code))
            if os.path.isdir(target):
                if digest_of(contents_of_copy(target).code) == os.path.basename(target):
                    return Snapshot(plugins, target)
                shutil.rmtree(target, ignore_errors=True)  # somebody has changed it
        return Snapshot(plugins, self._copy(contents))

    def keep_only(self, snapshots: Collection[Snapshot]) -> None:
        """Remove the others."""
        copies = [one.copy for one in snapshots]
        for name in self._names():
            if self._path(name) not in copies:
                shutil.rmtree(self._path(name), ignore_errors=True)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:
            return []  # somebody has removed the folder

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, digest)

    def _copy(self, contents: Contents) -> str:
        made = self._path("new")
        try:
            shutil.rmtree(made, ignore_errors=True)
            target = self._path(copy(contents, made))
            if not os.path.isdir(target):
                os.rename(made, target)
        except OSError as error:
            raise cannot(f"copy the plugins to {os.path.abspath(self._folder)}", error) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return target


def would_be(plugins: str, accepted: Snapshot, kept: Collection[str]) -> str:
    """The digest of the snapshot that `Snapshots.take` would give."""
    return digest_of(_contents(plugins, accepted, kept).code)


def is_current(snapshot: Snapshot) -> bool:
    """Whether the plugins folder holds the same code as the snapshot."""
    return digest_of(contents_of(snapshot.plugins).code) == os.path.basename(snapshot.copy)


def _contents(plugins: str, accepted: Snapshot | None, kept: Collection[str]) -> Contents:
    code, data = contents_of(plugins)
    if accepted is not None:
        code = {name: path for name, path in code.items() if first_part(name) not in kept}
        code |= {name: path for name, path in contents_of_copy(accepted.copy).code.items() if first_part(name) in kept}
    return Contents(code, data)
