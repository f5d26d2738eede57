"""From the name of a task to its function: the three ways in which plugins offer tasks.

    name              an entry point of the group "jobd.tasks", of a package in the plugins folder or beside jobd
    name              a function marked @jobd.task in a file or package of the plugins folder
    module:function   a function of a module in the plugins folder, given in full

The stored name chooses among installed code and can never add to it. The plugins folder is appended to sys.path, so
nothing in it comes before the standard library or an installed package, and its .pth files are not processed. A plugin
is imported when one of its tasks is first run.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from jobd.api import MARK

GROUP = "jobd.tasks"


class Unresolved(Exception):
    """There is no such task here; the text says why."""


class Found(NamedTuple):
    """A task: where it comes from, and the function."""

    name: str
    origin: str
    kind: str
    function: Callable[..., Any]


class EntryPoint(NamedTuple):
    """A task that an installed package declares."""

    name: str
    value: str  # "package.module:function"
    package: str

    @property
    def origin(self) -> str:
        return f"{self.package} ({self.value})"


class Catalogue:
    """The tasks of one plugins folder."""

    def __init__(self, plugins: str) -> None:
        self._plugins = plugins
        self._known: dict[str, tuple[Callable[..., Any], bool]] = {}
        self._entry_points: list[EntryPoint] | None = None
        if plugins not in sys.path:
            sys.path.append(plugins)

    def __contains__(self, name: object) -> bool:
        """Whether this task has been found before, so that finding it again imports nothing."""
        return name in self._known

    def find(self, name: str) -> tuple[Callable[..., Any], bool]:
        """The function of a task, and whether it is an `async def`. Raises Unresolved."""
        if name not in self._known:
            function = self._in_full(name) if ":" in name else self._by_name(name)
            self._known[name] = function, _is_async(function)
        return self._known[name]

    def files(self) -> list[str]:
        """The plain plugins: paths of NAME.py and NAME/__init__.py, by name."""
        try:
            names = sorted(os.listdir(self._plugins))
        except OSError as error:
            raise Unresolved(f"the plugins folder {self._plugins} cannot be read: {error.strerror}") from None
        found = []
        for name in names:
            path = os.path.join(self._plugins, name)
            package = os.path.join(path, "__init__.py")
            if name.endswith(".py") and name[:-3].isidentifier():
                found.append(path)
            elif name.isidentifier() and os.path.isfile(package):
                found.append(package)
        return found

    def load(self, path: str) -> list[Found]:
        """The tasks in one plain plugin. Raises Unresolved when it does not load."""
        name = os.path.basename(os.path.dirname(path) if path.endswith("__init__.py") else path[:-3])
        module = self._import(name, path)
        return [
            Found(value.__name__, self._origin(value, path), _kind(value), value)
            for value in vars(module).values()
            if callable(value) and getattr(value, MARK, False) and value.__module__ == module.__name__
        ]

    def entry_points(self) -> list[EntryPoint]:
        """What installed packages declare, those in the plugins folder and those in jobd's environment."""
        if self._entry_points is None:
            folders = dict.fromkeys([self._plugins, *sys.path])
            found = {one for folder in folders for one in _declared(folder)}
            self._entry_points = sorted(found)
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
        return Found(one.name, one.origin, "entry point", function)

    def relative(self, path: str) -> str:
        """How a plugin is named to people: plugins/task1.py."""
        return os.path.join(os.path.basename(self._plugins), os.path.relpath(path, self._plugins))

    def _by_name(self, name: str) -> Callable[..., Any]:
        broken: list[str] = []
        mentioned = [path for path in self.files() if _mentions(path, name)]
        found = self._loaded(mentioned, name, broken)
        found += [self.load_entry_point(one) for one in self.entry_points() if one.name == name]
        if not found:
            # A function may have been marked without its name standing in the file.
            found = self._loaded([path for path in self.files() if path not in mentioned], name, [])
        if len(found) > 1:
            origins = " and ".join(one.origin for one in found)
            raise Unresolved(f"unknown task {name!r}: it is offered twice, by {origins}")
        if not found:
            raise Unresolved("; ".join([f"unknown task {name!r}", *broken]))
        return found[0].function

    def _loaded(self, paths: list[str], name: str, broken: list[str]) -> list[Found]:
        found = []
        for path in paths:
            try:
                found += [one for one in self.load(path) if one.name == name]
            except Unresolved as error:
                broken.append(str(error))
        return found

    def _in_full(self, name: str) -> Callable[..., Any]:
        module, _, attribute = name.partition(":")
        file = file_of(self._plugins, name)
        if file is None:
            raise Unresolved(f"unknown task {name!r}: the plugins folder has no module {module!r}")
        function = getattr(self._import(module, file), attribute, None)
        if not callable(function):
            raise Unresolved(f"unknown task {name!r}: there is no function {attribute!r} in {self.relative(file)}")
        return function  # type: ignore[no-any-return]

    def _import(self, name: str, path: str | None) -> ModuleType:
        """Import a module; if `path` is given it must be the one at that path. Raises Unresolved."""
        shown = self.relative(path) if path else name
        if path and (name in sys.stdlib_module_names or name == "jobd"):
            raise Unresolved(f"{shown}: a plugin cannot be called like the module {name!r}; give it another name")
        try:
            module = import_module(name)
        except BaseException as error:  # noqa: BLE001 - whatever a plugin does at import, it is its own failure
            raise Unresolved(f"{shown}: {_failure(error)}") from None
        if path and os.path.realpath(module.__file__ or "") != os.path.realpath(path):
            raise Unresolved(f"{shown}: an installed module of the same name comes first ({module.__file__})")
        return module

    def _origin(self, function: Any, path: str) -> str:
        code = getattr(function, "__code__", None)
        line = f":{code.co_firstlineno}" if code is not None and code.co_filename == path else ""
        return self.relative(path) + line


def file_of(plugins: str, name: str) -> str | None:
    """The file in the plugins folder that the module of `module:function` is; None: there is none."""
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not all(part.isidentifier() for part in [*parts, attribute]):
        return None
    path = os.path.join(plugins, *parts)
    return next((file for file in (path + ".py", os.path.join(path, "__init__.py")) if os.path.isfile(file)), None)


def announce_tasks(plugins: str, descriptor: int, skipped: list[str]) -> None:
    """Tell on `descriptor`, one JSON array a line, what is being loaded and what it offers (see listing.py)."""

    def tell(*message: object) -> None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")

    catalogue = Catalogue(plugins)
    sources: list[tuple[str, Callable[[], list[Found]]]] = []
    for path in catalogue.files():
        sources.append((catalogue.relative(path), lambda path=path: catalogue.load(path)))  # type: ignore[misc]
    for one in catalogue.entry_points():
        sources.append((one.origin, lambda one=one: [catalogue.load_entry_point(one)]))  # type: ignore[misc]
    for origin, load in sources:
        if origin in skipped:
            continue
        tell("loading", origin)
        try:
            for found in load():
                tell("task", found.name, found.origin, found.kind)
        except Unresolved as error:
            tell("broken", origin, str(error).removeprefix(f"{origin}: "))
    tell("end")


def _mentions(path: str, name: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return f"def {name}" in file.read()
    except OSError:
        return False


def _declared(folder: str) -> Iterator[EntryPoint]:
    """What the distributions in one folder declare, read as text: importlib.metadata is slow to import."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return
    for name in names:
        try:
            with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:
                text = file.read(1_000_000)
        except (OSError, ValueError):
            continue
        section = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line.strip("[]").strip()
            elif section == GROUP and "=" in line and not line.startswith("#"):
                task, _, value = line.partition("=")
                yield EntryPoint(task.strip(), value.partition("[")[0].strip(), name.partition("-")[0])


def _is_async(function: Callable[..., Any]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)


def _kind(function: Callable[..., Any]) -> str:
    return "async function" if _is_async(function) else "function"


def _failure(error: BaseException) -> str:
    """Why an import failed, in one line, with the line number where there is one."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:  # noqa: BLE001 - __str__ is the plugin's own code
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
