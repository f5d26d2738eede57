"""Imports the plugins from a snapshot of their folder: the accepted code, even if the folder has changed.

A source module keeps its file name in the plugins folder, so that a task finds the files beside it, and a traceback
names the files that its author knows. Only the code comes from the snapshot. (The system loads an extension module from
its file, so it has its file name in the snapshot.)

A child process that multiprocessing spawns does not use this module. It imports the same code, because the snapshot is
in sys.path. There, modules have the file names of the snapshot, which contains links to the data beside them.
"""

import linecache
import os
import sys
from functools import partial
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import FrameType, ModuleType
from typing import Any, NamedTuple

CODE = (*SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)


class Snapshot(NamedTuple):
    """The plugins folder, and the folder with the copy of its code. In a worker both paths are absolute."""

    plugins: str
    copy: str

    def copied(self, path: str) -> str:
        """The path of the copy of a file in the plugins folder; other paths are returned unchanged."""
        return _moved(path, self.plugins, self.copy)

    def original(self, path: str) -> str:
        """The path of the original of a file in the copy; other paths are returned unchanged."""
        return _moved(path, self.copy, self.plugins)


def import_from(snapshot: Snapshot) -> None:
    """Make this process import the modules of the plugins folder from the snapshot from now on."""
    real = Snapshot(os.path.realpath(snapshot.plugins), snapshot.copy)  # the path for a plugin that resolves links

    def finder(path: str) -> FileFinder:
        path = os.path.abspath(path)
        copied = snapshot.copied(path)
        if copied == path:
            copied = real.copied(os.path.realpath(path))
        if not _is_in(copied, snapshot.copy) or _is_in_file(copied, snapshot.copy):  # archives have another finder
            raise ImportError(f"{path} is no folder of plugins")
        return _Finder(snapshot, copied)

    sys.path_hooks.insert(0, finder)
    for path in list(sys.path_importer_cache):
        if any(_is_in(path, folder) for folder in (snapshot.plugins, real.plugins)):  # the folder is also in PYTHONPATH
            del sys.path_importer_cache[path]


def show_source_of(frame: FrameType) -> None:
    """Make tracebacks show the code that this frame runs, even if its file has changed."""
    loader = frame.f_globals.get("__loader__")
    name = frame.f_code.co_filename
    if type(loader) is _SourceLoader and name == loader.path:
        cached = linecache.cache.get(name)
        if cached is None or len(cached) == 1 or cached[1] is not None:
            source = loader.get_source(loader.name) or ""
            # linecache does not compare an entry without a modification time with the file.
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


class _Finder(FileFinder):
    """Finds modules in a folder of the copy, and gives them their paths in the plugins folder."""

    def __init__(self, snapshot: Snapshot, path: str) -> None:
        self._snapshot = snapshot
        super().__init__(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (partial(_SourceLoader, snapshot), SOURCE_SUFFIXES),  # type: ignore[arg-type]
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        if spec is None:
            return None
        if isinstance(spec.loader, _SourceLoader):
            spec.origin = spec.loader.path
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations = [self._snapshot.original(one) for one in spec.submodule_search_locations]
        return spec


class _SourceLoader(SourceFileLoader):
    """Reads source and bytecode from the copy; all other files are data, which are not copied."""

    def __init__(self, snapshot: Snapshot, name: str, path: str) -> None:
        super().__init__(name, snapshot.original(path))
        self._snapshot = snapshot

    def path_stats(self, path: Any) -> Any:
        return super().path_stats(self._snapshot.copied(path))

    def get_data(self, path: Any) -> bytes:
        path = os.fspath(path)
        return super().get_data(self._snapshot.copied(path) if path.endswith(CODE) else path)

    def set_data(self, path: Any, data: Any, **mode: int) -> None:
        super().set_data(self._snapshot.copied(path), data, **mode)


def _is_in_file(path: str, above: str) -> bool:
    while path != above:
        if os.path.isfile(path):
            return True
        path = os.path.dirname(path)
    return False


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def _moved(path: str, here: str, there: str) -> str:
    return there + path[len(here) :] if _is_in(path, here) else path
