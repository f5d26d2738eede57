"""Copies of the plugins' code, for workers to import (see runner/snapshot.py): each run has exactly the code that was
accepted, whatever happens in the plugins folder until the next reload.

    STATE_DIR/code/<digest>/    one copy; the digest is over the names and contents of its files

A copy holds what Python imports: modules, extension modules with the libraries beside them, and the metadata of
installed packages. All other files are data, which tasks find where they lie.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.machinery import all_suffixes
from importlib.util import cache_from_source

from jobd.errors import cannot
from jobd.runner.snapshot import Snapshot

FOLDER = "code"
METADATA = (".dist-info", ".egg-info")
SUFFIXES = tuple(all_suffixes())
CHUNK = 1 << 20  # bytes
RACY = 1  # seconds: as exact as the time in a file of bytecode is

Files = dict[str, str]  # name within the plugins folder → path to read


class Snapshots:
    """The copies of one daemon. What the daemon before it left is removed. Raises JobdError."""

    def __init__(self, state_dir: str) -> None:
        self._folder = os.path.join(state_dir, FOLDER)
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise cannot(f"use {self._folder}", error) from None

    def take(self, plugins: str, accepted: Snapshot | None = None, kept: Collection[str] = ()) -> Snapshot:
        """A snapshot of the plugins folder.

        `kept` names what it has from the snapshot `accepted` instead of from the folder. Raises JobdError.
        """
        files = _files(plugins, accepted, kept)
        target = self._path(digest_of(files))
        return Snapshot(plugins, target if os.path.isdir(target) else self._copy(files))

    def would_take(self, plugins: str, accepted: Snapshot, kept: Collection[str]) -> Snapshot:
        """What `take` gives, without a copy being made."""
        return Snapshot(plugins, self._path(digest_of(_files(plugins, accepted, kept))))

    def keep_only(self, *snapshots: Snapshot) -> None:
        """Remove the others."""
        copies = [one.copy for one in snapshots]
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                if self._path(name) not in copies:
                    shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, digest)

    def _copy(self, files: Files) -> str:
        """Copy and look at each byte once, so that the digest is the copy's even if somebody is writing."""
        made = self._path("new")
        try:
            shutil.rmtree(made, ignore_errors=True)
            os.makedirs(made)
            contents = [(name, _copy_file(files[name], os.path.join(made, name))) for name in sorted(files)]
            target = self._path(_digest(contents))
            if os.path.isdir(target):
                shutil.rmtree(made)
            else:
                os.rename(made, target)
        except OSError as error:
            raise cannot(f"copy the plugins into {self._folder}", error) from None
        return target


def _files(plugins: str, accepted: Snapshot | None, kept: Collection[str]) -> Files:
    files = {name: path for name, path in code_in(plugins).items() if _first(name) not in kept}
    if accepted is not None:
        files |= {name: path for name, path in code_in(accepted.copy).items() if _first(name) in kept}
    return files


def is_current(snapshot: Snapshot) -> bool:
    """Whether the plugins folder holds the same code as the snapshot."""
    return digest_of(code_in(snapshot.plugins)) == os.path.basename(snapshot.copy)


def digest_of(files: Files) -> str:
    """SHA-256 over the names and the digests of the contents, in the order of the names."""
    return _digest((name, _read(files[name])) for name in sorted(files))


def code_in(folder: str) -> Files:
    """The files of code below a folder. Links are followed, but not into a folder that they lie in themselves."""
    return dict(_below(folder, "", ()))


def top_of(files: Iterable[str]) -> set[str]:
    """The files and folders that stand at the top."""
    return set(map(_first, files))


def _below(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda one: one.name)
    except OSError:
        return  # Python cannot import from it either
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in found:
        name = prefix + entry.name
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _below(entry.path, name + os.sep, (*above, here))
        elif _is_code(name):
            yield name, entry.path


def _is_code(name: str) -> bool:
    folder, file = os.path.split(name)
    return file.endswith(SUFFIXES) or ".so." in file or folder.endswith(METADATA)


def _first(name: str) -> str:
    return name.partition(os.sep)[0]


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(os.fsencode(name) + b"\0" + content)
    return digest.hexdigest()


def _read(path: str, write: Callable[[bytes], object] = lambda piece: None) -> bytes:
    """Pass the content of a file on, piece by piece; its digest. What cannot be read counts as empty."""
    digest = hashlib.sha256()
    if _is_readable(path):
        with open(path, "rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
                write(piece)
    return digest.digest()


def _is_readable(path: str) -> bool:
    """Not a pipe, whose other end may never come; not a link that leads nowhere."""
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _copy_file(source: str, target: str) -> bytes:
    """Copy a file with its time of change, and with the bytecode that is there for it; the digest of what was copied.

    What cannot be read becomes a link to it, so that its import says why.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not _is_readable(source):
        os.symlink(os.path.abspath(source), target)
        return _read(source)
    with open(target, "xb") as file:
        content = _read(source, file.write)
    status = os.stat(source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if source.endswith(".py"):
        _copy_bytecode(cache_from_source(source), cache_from_source(target), status.st_mtime)
    return content


def _copy_bytecode(source: str, target: str, changed: float) -> None:
    """So that large packages need not be compiled at each start.

    Bytecode written in the second in which its source was changed may be that of before: Python could not tell.
    """
    try:
        if os.stat(source).st_mtime > changed + RACY:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(source, target)
    except OSError:
        return
