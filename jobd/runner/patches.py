"""Detects functions of the standard library that a run has replaced, in its modules and their classes.

Replacements by a plugin's import stay (gevent makes some). In a module that a run has loaded, a function from outside
of the standard library counts as a replacement.
"""

import sys
from collections.abc import Mapping
from operator import itemgetter
from types import FunctionType, ModuleType
from typing import Any, NamedTuple


class _Watched(NamedTuple):
    namespace: Mapping[str, Any]
    pick: Any  # itemgetter
    callables: Any  # its result


class Functions:
    """The functions and classes of all loaded modules of the standard library."""

    def __init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        """Accept the present functions and classes."""
        self._modules: dict[str, ModuleType] = {}
        self._watched: list[_Watched] = []
        self._watch_modules(self._new())

    def are_intact(self) -> bool:
        """Whether no known function has been replaced. Raises KeyError if one has been removed."""
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                return False
        return all(pick(namespace) == callables for namespace, pick, callables in self._watched)

    def learn(self) -> bool:
        """Add the modules that a run has loaded. Return whether none of their functions has been replaced."""
        if len(sys.modules) == self._count:
            return True
        new = self._new()
        self._watch_modules(new)
        return not any(_is_foreign(value) for module in new.values() for value in vars(module).values())

    def _new(self) -> dict[str, ModuleType]:
        return {
            name: module
            for name, module in [*sys.modules.items()]
            if name not in self._modules
            and name.partition(".")[0] in sys.stdlib_module_names
            and type(module) is ModuleType
        }

    def _watch_modules(self, modules: Mapping[str, ModuleType]) -> None:
        self._count = len(sys.modules)
        for name, module in modules.items():
            self._modules[name] = module
            self._watch(vars(module))
            for value in [*vars(module).values()]:
                if type(value) is type and value.__module__ == name:
                    self._watch(vars(value))

    def _watch(self, namespace: Mapping[str, Any]) -> None:
        names = [name for name, value in namespace.items() if callable(value)]
        if names:
            pick = itemgetter(*names)
            self._watched.append(_Watched(namespace, pick, pick(namespace)))


def _is_foreign(value: object) -> bool:
    """Whether this is a function or class from outside of the standard library."""
    if type(value) is not FunctionType and type(value) is not type:
        return False
    module = value.__module__
    return isinstance(module, str) and module.partition(".")[0] not in sys.stdlib_module_names
