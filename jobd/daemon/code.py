"""The code in a plugins folder: finding its files, computing its digest, copying it.

Python imports code: modules, extension modules with the libraries beside them, and the metadata of installed packages.
All other files are data. A copy of the code contains links to the data.
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
CHUNK = 1 << 20  # bytes read at once
RACY = 1  # seconds: the resolution of the source's modification time in a bytecode file
MOST_LINKS = 3  # nested links to folders that are followed

Paths = Mapping[str, str]  # name within the plugins folder → path


class Contents(NamedTuple):
    """The files in a folder and its subfolders. A subfolder without code is one piece of data."""

    code: Paths
    data: Paths


def contents_of(folder: str, excluded: str = "", most_links: int = MOST_LINKS) -> Contents:
    """The code and the data in a folder. The folder `excluded` counts as data.

    Links to folders are followed, up to `most_links` nested ones. A link to a folder that contains it is not followed.
    """
    code: dict[str, str] = {}
    data: dict[str, str] = {}
    _walk(folder, "", (_identity(excluded),) if excluded else (), most_links, code, data)
    return Contents(code, data)


def contents_of_copy(folder: str) -> Contents:
    """The code in a copy, and the targets of its links to data."""
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
    """Whether code has changed since it was copied, judged by names, sizes and modification times."""
    return code.keys() != copied.keys() or any(_stamp(code[name]) != _stamp(copied[name]) for name in code)


def last_change(code: Paths) -> float:
    """The latest time at which one of these files was changed or moved, in seconds since the epoch; 0 without files."""
    return max((status.st_ctime for path in code.values() if (status := _status(path))), default=0.0)


def top_name(name: str) -> str:
    """The first component of `name`: a file or folder at the top."""
    return name.partition(os.sep)[0]


def digest_of(code: Paths) -> str:
    """SHA-256 over the names and the digests of the contents, in the order of the names."""
    return _digest((name, _copy_and_digest(code[name])) for name in sorted(code))


def copy(contents: Contents, target: str) -> str:
    """Copy the code into a new folder, link the data, and return the digest of the copied code.

    Each file is read once, so the digest matches the copy even if a file changes meanwhile. Raises OSError.
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
    """The device and inode of a folder, which are the same under each of its names."""
    status = _status(path)
    return status and (status.st_dev, status.st_ino)


def _stamp(path: str) -> tuple[int, int] | None:
    """The size and the modification time (ns) of a file."""
    status = _status(path)
    return status and (status.st_size, status.st_mtime_ns)


def _status(path: str) -> os.stat_result | None:
    """None if the file does not exist or cannot be accessed."""
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


def _copy_and_digest(path: str, write: Callable[[bytes], object] = lambda piece: None) -> bytes:
    """Pass the content of a file to `write` in pieces, and return its digest. An unreadable file counts as empty."""
    digest = hashlib.sha256()
    if _is_readable(path):
        with open(path, "rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
                write(piece)
    return digest.digest()


def _is_readable(path: str) -> bool:
    """False for a broken link, and for a pipe: opening a pipe waits for a writer, perhaps forever."""
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _copy_file(source: str, target: str) -> bytes:
    """Copy a file with its modification time and its bytecode, if there is any; return the digest of its content.

    An unreadable file becomes a link to it, so that its import reports the reason.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not _is_readable(source):
        os.symlink(os.path.realpath(source), target)
        return _copy_and_digest(source)
    with open(target, "xb") as file:
        content = _copy_and_digest(source, file.write)
    status = os.stat(source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if source.endswith(".py") and sys.pycache_prefix is None:
        _copy_bytecode(cache_from_source(source), cache_from_source(target), status.st_mtime)
    return content


def _copy_bytecode(source: str, target: str, changed: float) -> None:
    """Copy bytecode, so that large packages need not be compiled at each start.

    Bytecode written within RACY of a change of the source is not copied: it may belong to the older source, and Python
    could not detect that.
    """
    try:
        with open(source, "rb") as file:
            if os.fstat(file.fileno()).st_mtime <= changed + RACY:
                return
            bytecode = file.read()
    except OSError:
        return  # there is no bytecode
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as file:
        file.write(bytecode)
