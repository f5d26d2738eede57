"""Copies of the plugins' code, from which workers import (see plugins/snapshot.py).

Each run uses the accepted code, even if the plugins folder changes before the next reload.

    STATE_DIR/jobd.code/<digest>/    one copy; the digest covers the names and contents of its code files
"""

import contextlib
import os
import shutil
from collections.abc import Collection
from itertools import count

from jobd.daemon.code import Contents, contents_of, contents_of_copy, copy, differ, digest_of, top_name, top_of_copy
from jobd.errors import JobdError, cannot
from jobd.plugins.snapshot import Snapshot

FOLDER = "jobd.code"
TRIES = 3  # attempts to copy a folder whose files are being removed


class _Gone(JobdError):
    """A file was removed during the copy."""


class Snapshots:
    """The copies of one daemon. The previous daemon's copies are removed. Raises JobdError."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._folder = os.path.join(state_dir, FOLDER)
        try:
            if os.path.islink(self._folder):
                os.unlink(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise cannot(f"use {self._folder}", error) from None

    def take(self, plugins: str) -> Snapshot:
        """A snapshot of the plugins folder. Raises JobdError."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(_Gone):
                return self._copied(plugins, self._look(plugins))
        return self._copied(plugins, self._look(plugins))

    def new_in(self, plugins: str, accepted: Snapshot) -> Contents:
        """The code of files and folders at the top of the plugins folder whose module name is not in the snapshot.

        It includes all data, because `add` links the data that the snapshot lacks.
        """
        old = top_of_copy(accepted.copy)
        modules = {_module(name) for name in old}
        code, data = self._look(plugins)
        new = {name: path for name, path in code.items() if _module(top_name(name)) not in modules}
        return Contents(new, data)

    def add(self, accepted: Snapshot, new: Contents) -> Snapshot:
        """A snapshot of the accepted code and the new code. Raises JobdError."""
        return self._copied(accepted.plugins, Contents({**new.code, **contents_of_copy(accepted.copy).code}, new.data))

    def without(self, snapshot: Snapshot, names: Collection[str]) -> Snapshot:
        """A snapshot without these files and folders at its top. Raises JobdError."""
        code, data = contents_of_copy(snapshot.copy)
        kept = {name: path for name, path in code.items() if top_name(name) not in names}
        return self._copied(snapshot.plugins, Contents(kept, data))

    def is_outdated(self, snapshot: Snapshot) -> bool:
        """Whether the code in the plugins folder differs from the snapshot."""
        return differ(self._look(snapshot.plugins).code, contents_of_copy(snapshot.copy).code)

    def keep_only(self, snapshots: Collection[Snapshot]) -> None:
        """Remove all other snapshots."""
        copies = [one.copy for one in snapshots]
        for name in self._names():
            if (path := os.path.join(self._folder, name)) not in copies:
                shutil.rmtree(path, ignore_errors=True)

    def _copied(self, plugins: str, contents: Contents) -> Snapshot:
        try:
            return Snapshot(plugins, self._taken(contents))
        except FileNotFoundError as error:
            raise _Gone(f"cannot copy the plugins: {error.filename} was there and is gone", "try again") from None

    def _look(self, plugins: str) -> Contents:
        return contents_of(plugins, excluded=self._state_dir)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:
            return []  # the folder has been removed

    def _taken(self, contents: Contents) -> str:
        """The path of a copy, made if there is none. Raises FileNotFoundError if a file was removed meanwhile."""
        if self._names():
            path, exists = self._place_for(digest_of(contents.code))
            if exists:
                return path
        made = os.path.join(self._folder, "new")
        try:
            shutil.rmtree(made, ignore_errors=True)
            path, exists = self._place_for(copy(contents, made))
            if not exists:
                os.rename(made, path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot(f"copy the plugins to {self._folder}", error) from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return path

    def _place_for(self, digest: str) -> tuple[str, bool]:
        """The path of the copy with this digest, and whether it exists. Copies that have been changed are skipped."""
        for number in count():
            path = os.path.join(self._folder, f"{digest}.{number}" if number else digest)
            if not os.path.lexists(path):
                return path, False
            if digest_of(contents_of_copy(path).code) == digest:
                return path, True
        raise AssertionError


def _module(name: str) -> str:
    return name.partition(".")[0]
