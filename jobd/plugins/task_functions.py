"""The functions of a module that are marked @jobd.task: their names and their places in the source."""

from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

from jobd.api import MARK


def marked_in(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    """(name of the task, function) of each marked function in a module, its own or imported, once.

    A decorator's wrapper has the mark of the function inside. If the module contains both, the object that is bound to
    the function's own name counts.
    """
    import inspect

    found: dict[int, tuple[str, Callable[..., Any]]] = {}
    for bound, value in vars(module).items():
        given = _mark_of(value)
        if given is not None:
            own = _own_name(value, bound)
            inmost = id(inspect.unwrap(value))
            if inmost not in found or bound == own:
                found[inmost] = given or own, value
    return list(found.values())


def place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """The file and line of a function; empty and 0 if they are unknown."""
    import inspect

    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _mark_of(value: Any) -> str | None:
    """The name in the mark of a function, empty if the mark has none; None if the function is not marked.

    Only its own attributes count. They are read without its class's methods: a proxy or a mock has every attribute.
    """
    function = value.__func__ if type(value) is MethodType else value
    try:
        mark = object.__getattribute__(function, "__dict__").get(MARK)
    except AttributeError:
        return None
    return mark if isinstance(mark, str) else None


def _own_name(value: Any, bound: str) -> str:
    """The name of a function. For a partial, a lambda or a method it is the name to which the object is bound."""
    name = getattr(value, "__name__", "")
    return name if name.isidentifier() and type(value) is not MethodType else bound
