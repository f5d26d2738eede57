"""Finds the function of a task by the task's name.

Plugins offer tasks in three ways:

    name              an entry point of the group "jobd.tasks", of a package in the plugins folder or beside jobd
    name              a function marked @jobd.task in a file or package of the plugins folder, its own or imported
    module:function   a function of a module in the plugins folder, given by its full name

The stored name selects installed code and can never add any. The plugins folder is appended to sys.path, so the
standard library and installed packages come before it, and its .pth files are not processed. A plugin is imported when
one of its tasks first runs. The same function found in two places under one name is one task.

A worker reads a snapshot of the folder instead. Files found there are named as in the folder.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from jobd.plugins.entrypoints import EntryPoint, declared
from jobd.plugins.function import Arguments, Unrunnable, arguments_of, kind_of
from jobd.plugins.snapshot import Snapshot, import_from
from jobd.plugins.task_functions import marked_in, place_of

Function = Callable[..., Any]


class Unresolved(Exception):
    """This process cannot find the task, or may not run it; the text says why."""


class Found(NamedTuple):
    """A task: its origin and its function."""

    name: str
    origin: str
    kind: str
    function: Function
    arguments: Arguments | None  # None: unknown
    error: str | None = None  # why it cannot be run


class Catalogue:
    """The tasks of one plugins folder, or of a `copy` of its code."""

    def __init__(self, plugins: str, copy: str | None = None) -> None:
        self._snapshot = Snapshot(plugins, copy or plugins)
        self._folder = self._snapshot.copy
        self._known: dict[str, Function] = {}
        self._entry_points: list[EntryPoint] | None = None
        if copy is not None:
            import_from(self._snapshot)
        if self._folder not in sys.path:
            sys.path.append(self._folder)

    def __contains__(self, name: object) -> bool:
        """Whether this task has been found before, so that finding it again imports nothing."""
        return name in self._known

    def find(self, name: str) -> Function:
        """The function of a task. Raises Unresolved."""
        if name not in self._known:
            found = self.in_full(name) if ":" in name else self._by_name(name)
            if found.error is not None:
                raise Unresolved(f"{found.origin}: the task {name!r} cannot be run: {found.error}")
            self._known[name] = found.function
        return self._known[name]

    def files(self) -> list[str]:
        """The plain plugins: paths of NAME.py and NAME/__init__.py, by name. Raises Unresolved."""
        found = []
        for name in self._names():
            path = os.path.join(self._folder, name)
            package = os.path.join(path, "__init__.py")
            if name.endswith(".py") and "." not in name[:-3]:
                found.append(path)
            elif "." not in name and os.path.isfile(package):
                found.append(package)
        return found

    def passed_over(self) -> list[tuple[str, str]]:
        """(path, reason) of files and folders that look like plugins and are not."""
        found = []
        for name in self._names():
            path = os.path.join(self._folder, name)
            package = os.path.isfile(os.path.join(path, "__init__.py"))
            if "." in name.removesuffix(".py") and (name.endswith(".py") or package):
                found.append((path, "a plugin's name cannot hold a dot: rename it"))
            elif not package and (module := _module_with_tasks(path)):
                why = "it has no __init__.py, so it is no package: add one that imports its tasks"
                found.append((path, f"{why}, or name them in full, as in {name}.{module}:function"))
        return found

    def load(self, path: str) -> list[Found]:
        """The tasks in one plain plugin. Raises Unresolved if it does not load."""
        name = os.path.basename(os.path.dirname(path) if path.endswith("__init__.py") else path[:-3])
        module = self._import(name, path)
        return [_found(task, self._origin(one, path), one) for task, one in marked_in(module)]

    def entry_points(self) -> list[EntryPoint]:
        """The tasks declared by packages that are installed in the plugins folder or in jobd's environment."""
        if self._entry_points is None:
            self._entry_points = declared([*sys.path, self._folder])
        return self._entry_points

    def load_entry_point(self, one: EntryPoint) -> Found:
        """The task behind an entry point. Raises Unresolved."""
        module, _, attribute = one.value.partition(":")
        function: Any = self._import(module, None)
        try:
            for part in attribute.split("."):
                function = getattr(function, part)
        except AttributeError:
            raise Unresolved(f"{one.origin}: there is no {attribute!r} in {module}") from None
        if not callable(function):
            raise Unresolved(f"{one.origin}: {attribute!r} is not a function")
        return _found(one.name, one.origin, function, "entry point")

    def in_full(self, name: str) -> Found:
        """The task `module:function`. Raises Unresolved."""
        module, _, attribute = name.partition(":")
        file = file_of(self._folder, name)
        if file is None:
            raise Unresolved(f"unknown task {name!r}: the plugins folder has no module {module!r}")
        function = getattr(self._import(module, file), attribute, None)
        if not callable(function):
            raise Unresolved(f"unknown task {name!r}: there is no function {attribute!r} in {self.relative(file)}")
        return _found(name, self._origin(function, file), function)

    def relative(self, path: str) -> str:
        """The name of a plugin in messages, such as plugins/task1.py."""
        plugins = self._snapshot.plugins
        return os.path.join(os.path.basename(plugins), os.path.relpath(self._snapshot.original(path), plugins))

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._folder) if not name.startswith("."))
        except OSError as error:
            raise Unresolved(f"the plugins folder {self._folder} cannot be read: {error.strerror}") from None

    def _by_name(self, name: str) -> Found:
        """Load plugins that define the name, then those that mention it, then all (a star may import it)."""
        broken: list[str] = []
        left = self.files()
        found: list[Found] = [self.load_entry_point(one) for one in self.entry_points() if one.name == name]
        for pattern in (rf"\bdef {re.escape(name)}\b", rf"(?<!\w){re.escape(name)}(?!\w)", ""):
            likely = [path for path in left if _mentions(path, pattern)]
            left = [path for path in left if path not in likely]
            found += self._loaded(likely, name, broken if pattern else [])
            if found:
                break
        different = {id(one.function): one for one in reversed(found)}
        if len(different) > 1:
            origins = " and ".join(one.origin for one in reversed(different.values()))
            raise Unresolved(f"unknown task {name!r}: it is offered twice, by {origins}")
        if not found:
            raise Unresolved("; ".join([f"unknown task {name!r}", *broken]))
        return found[0]

    def _loaded(self, paths: Iterable[str], name: str, broken: list[str]) -> list[Found]:
        found = []
        for path in paths:
            try:
                found += [one for one in self.load(path) if one.name == name]
            except Unresolved as error:
                broken.append(str(error))
        return found

    def _import(self, name: str, path: str | None) -> ModuleType:
        """Import a module; if `path` is given it must be the one at that path. Raises Unresolved."""
        shown = self.relative(path) if path else name
        if path and (name in sys.stdlib_module_names or name == "jobd"):
            raise Unresolved(f"{shown}: a plugin cannot have the name of the module {name!r}; rename it")
        try:
            module = import_module(name)
        except BaseException as error:  # noqa: BLE001 - any exception at import is the plugin's failure
            raise Unresolved(f"{shown}: {_failure(error)}") from None
        if path and os.path.realpath(module.__file__ or "") != os.path.realpath(self._snapshot.original(path)):
            raise Unresolved(f"{shown}: an installed module of the same name comes first ({module.__file__})")
        return module

    def _origin(self, function: Function, path: str) -> str:
        """The place of a function, if it is in the plugins folder; otherwise the plugin that imports it."""
        file, line = place_of(function)
        inside = file.startswith(self._snapshot.plugins + os.sep)
        return f"{self.relative(file)}:{line}" if inside else self.relative(path)


def _found(name: str, origin: str, function: Function, kind: str = "") -> Found:
    try:
        found = kind_of(function)
        return Found(name, origin, kind or found, function, arguments_of(function))
    except Unrunnable as error:
        return Found(name, origin, kind or "function", function, None, str(error))


def file_of(plugins: str, name: str) -> str | None:
    """The file of the module of `module:function` in the plugins folder; None if there is none."""
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not all(part.isidentifier() for part in [*parts, attribute]):
        return None
    path = os.path.join(plugins, *parts)
    return next((file for file in (path + ".py", os.path.join(path, "__init__.py")) if os.path.isfile(file)), None)


def _mentions(path: str, pattern: str) -> bool:
    """Whether any file of a plugin contains this pattern."""
    if not path.endswith("__init__.py"):
        return _holds(path, pattern)
    folders = os.walk(os.path.dirname(path))
    return any(_holds(os.path.join(folder, name), pattern) for folder, _, names in folders for name in names)


def _module_with_tasks(folder: str) -> str:
    """The name of a module in `folder` whose text mentions jobd, and which may mark tasks; empty if there is none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    return next((name[:-3] for name in names if _holds(os.path.join(folder, name), r"\bjobd\b")), "")


def _holds(path: str, pattern: str) -> bool:
    if not path.endswith(".py"):
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return re.search(pattern, file.read()) is not None
    except OSError:
        return False


def _failure(error: BaseException) -> str:
    """The reason why an import failed, on one line, with the line number of a syntax error."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:  # noqa: BLE001 - __str__ is the plugin's own code
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
