"""The code in a plugins folder: which files it is, what it is called by its digest, and how it is copied.

Code is what Python imports: modules, extension modules with the libraries beside them, and the metadata of installed
packages. All other files are data. A copy of the code has links to them.
"""

import contextlib
import hashlib
import os
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


def contents_of(folder: str, most_links: int = MOST_LINKS) -> Contents:
    """The code and the data in a folder.

    Links to folders are followed, so many one inside the other, but not into a folder that they lie in themselves.
    """
    code: dict[str, str] = {}
    data: dict[str, str] = {}
    _walk(folder, "", (), most_links, code, data)
    return Contents(code, data)


def contents_of_copy(folder: str) -> Contents:
    """The same of a copy, whose links are all to data."""
    return contents_of(folder, most_links=0)


def last_change(paths: Iterable[str]) -> float:
    """When one of these files was last changed or put there, in seconds since the epoch; 0: there is none."""
    found = 0.0
    for path in paths:
        with contextlib.suppress(OSError):
            found = max(found, os.stat(path).st_ctime)
    return found


def top_of(names: Iterable[str]) -> set[str]:
    """The files and folders that stand at the top."""
    return set(map(first_part, names))


def first_part(name: str) -> str:
    """The file or folder at the top that `name` is, or lies in."""
    return name.partition(os.sep)[0]


def digest_of(code: Paths) -> str:
    """SHA-256 over the names and the digests of the contents, in the order of the names."""
    return _digest((name, _read(code[name])) for name in sorted(code))


def copy(contents: Contents, target: str) -> str:
    """Copy the code into a new folder, and link the data; the digest of what was copied.

    Each file is read once, so that the digest is the copy's even if somebody is writing. Raises OSError.
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
    above: tuple[tuple[int, int], ...],
    most_links: int,
    code: dict[str, str],
    data: dict[str, str],
) -> None:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda one: one.name)
    except OSError:
        return  # Python cannot import from it either
    here = (*above, (status.st_dev, status.st_ino))
    for entry in found:
        name = prefix + entry.name
        if entry.name == "__pycache__":
            continue
        if entry.name.startswith(".") or not entry.is_dir():
            (code if _is_code(name) else data)[name] = os.path.abspath(entry.path)
            continue
        links_left = most_links - entry.is_symlink()
        before = len(code)
        inside: dict[str, str] = {}
        if links_left >= 0 and _identity(entry.path) not in here:
            _walk(entry.path, name + os.sep, here, links_left, code, inside)
        data |= inside if len(code) > before else {name: os.path.abspath(entry.path)}


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


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
    if source.endswith(".py"):
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
