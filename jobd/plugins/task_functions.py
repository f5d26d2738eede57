"""The functions of a module that are marked @jobd.task: which they are, what they are called, and where they stand."""

from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

from jobd.api import MARK


def marked_in(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    """(name of the task, function) of each that the module holds, its own or imported, under any names, once.

    What a decorator has put round a marked function carries its mark on; then the one that stands for the name counts.
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
    """The file and line where a function stands; empty and 0 when it does not say."""
    import inspect

    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _mark_of(value: Any) -> str | None:
    """The name in the mark of a function, empty without one; None: it is not marked.

    Only its own attributes count, looked at past what its class makes of them: a proxy or a mock answers to anything.
    """
    function = value.__func__ if type(value) is MethodType else value
    try:
        mark = object.__getattribute__(function, "__dict__").get(MARK)
    except AttributeError:
        return None
    return mark if isinstance(mark, str) else None


def _own_name(value: Any, bound: str) -> str:
    """What a function is called; a partial, a lambda and a method have the name that they are bound to."""
    name = getattr(value, "__name__", "")
    return name if name.isidentifier() and type(value) is not MethodType else bound
