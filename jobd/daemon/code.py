"""The code in a plugins folder: which files it is, what it is called by its digest, and how it is copied.

Code is what Python imports: modules, extension modules with the libraries beside them, and the metadata of installed
packages. All other files are data. A copy of the code has links to them.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import all_suffixes
from importlib.util import cache_from_source
from typing import NamedTuple

METADATA = (".dist-info", ".egg-info")
SUFFIXES = tuple(all_suffixes())
CHUNK = 1 << 20  # bytes
RACY = 1  # seconds: as exact as the time of the source in a file of bytecode is
MOST_LINKS = 3  # links to folders that are followed one inside the other

Paths = Mapping[str, str]  # name within the plugins folder → path


class Contents(NamedTuple):
    """What a folder holds, at any depth. A folder without code is one piece of data."""

    code: Paths
    data: Paths


def contents_of(folder: str, but: str = "", most_links: int = MOST_LINKS) -> Contents:
    """The code and the data in a folder. What is in the folder `but` counts as data.

    Links to folders are followed, `most_links` one inside the other, but not into a folder that they lie in themselves.
    """
    code: dict[str, str] = {}
    data: dict[str, str] = {}
    _walk(folder, "", (_identity(but),) if but else (), most_links, code, data)
    return Contents(code, data)


def contents_of_copy(folder: str) -> Contents:
    """The code in a copy, and the data that its links lead to."""
    code, links = contents_of(folder, most_links=0)
    return Contents(code, {name: os.readlink(path) for name, path in links.items()})


def top_of_copy(folder: str) -> set[str]:
    """The files and folders at the top of a copy that are code or contain code."""
    try:
        with os.scandir(folder) as entries:
            return {one.name for one in entries if not one.is_symlink() or one.name.endswith(SUFFIXES)}
    except OSError:
        return set()


def differ(code: Paths, copied: Paths) -> bool:
    """Whether code has changed since it was copied, as far as names, sizes and times of change tell."""
    return code.keys() != copied.keys() or any(_stamp(code[name]) != _stamp(copied[name]) for name in code)


def last_change(code: Paths) -> float:
    """When one of these files was last changed or put there, in seconds since the epoch; 0: there is none."""
    return max((status.st_ctime for path in code.values() if (status := _status(path))), default=0.0)


def top_name(name: str) -> str:
    """The file or folder at the top that `name` is, or lies in."""
    return name.partition(os.sep)[0]


def digest_of(code: Paths) -> str:
    """SHA-256 over the names and the digests of the contents, in the order of the names."""
    return _digest((name, _read(code[name])) for name in sorted(code))


def copy(contents: Contents, target: str) -> str:
    """Copy the code into a new folder, and link the data; the digest of what was copied.

    Each file is read once, so the digest is that of the copy even if a file changes meanwhile. Raises OSError.
    """
    os.makedirs(target)
    copied = [(name, _copy_file(path, os.path.join(target, name))) for name, path in sorted(contents.code.items())]
    for name, path in contents.data.items():
        place = os.path.join(target, name)
        if not os.path.lexists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(path, place)
    return _digest(copied)


def _walk(
    folder: str,
    prefix: str,
    above: tuple[tuple[int, int] | None, ...],
    most_links: int,
    code: dict[str, str],
    data: dict[str, str],
) -> None:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda one: one.name)
    except OSError:
        return  # Python cannot import from it either
    here = (*above, _identity(folder))
    for entry in found:
        name = prefix + entry.name
        if entry.name == "__pycache__":
            continue
        if entry.name.startswith(".") or not os.path.isdir(entry.path):
            (code if _is_code(name) else data)[name] = os.path.abspath(entry.path)
            continue
        links_left = most_links - entry.is_symlink()
        before = len(code)
        inside: dict[str, str] = {}
        if links_left >= 0 and _identity(entry.path) not in here:
            _walk(entry.path, name + os.sep, here, links_left, code, inside)
        data |= inside if len(code) > before else {name: os.path.abspath(entry.path)}


def _identity(path: str) -> tuple[int, int] | None:
    """What a folder is, under any name."""
    status = _status(path)
    return status and (status.st_dev, status.st_ino)


def _stamp(path: str) -> tuple[int, int] | None:
    """By which a file that has changed is known."""
    status = _status(path)
    return status and (status.st_size, status.st_mtime_ns)


def _status(path: str) -> os.stat_result | None:
    """None: the file is gone, or cannot be seen."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _is_code(name: str) -> bool:
    folder, file = os.path.split(name)
    if file.startswith("."):
        return False
    return file.endswith(SUFFIXES) or ".so." in file or folder.endswith(METADATA)


def _digest(contents: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in contents:
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
        os.symlink(os.path.realpath(source), target)
        return _read(source)
    with open(target, "xb") as file:
        content = _read(source, file.write)
    status = os.stat(source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if source.endswith(".py") and sys.pycache_prefix is None:
        _copy_bytecode(cache_from_source(source), cache_from_source(target), status.st_mtime)
    return content


def _copy_bytecode(source: str, target: str, changed: float) -> None:
    """So that large packages need not be compiled at each start.

    Bytecode written in the second in which its source was changed may be that of before: Python could not tell.
    """
    try:
        with open(source, "rb") as file:
            if os.fstat(file.fileno()).st_mtime <= changed + RACY:
                return
            bytecode = file.read()
    except OSError:
        return  # there is none
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as file:
        file.write(bytecode)
