"""A task's function: its kind and its arguments.

A generator function is refused when it is loaded, because calling it runs nothing.

`inspect` is imported only where a function is examined: a worker starts 6 ms sooner without it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

YIELDS = "it is a generator, so calling it runs nothing: do the work in a loop instead"


class Unrunnable(Exception):
    """This function cannot run as a task; the text says why."""


class Arguments(NamedTuple):
    """The arguments that a function takes by name."""

    required: list[str]
    optional: list[str]
    others: bool  # it takes any other argument too


def kind_of(function: Callable[..., Any]) -> str:
    """The words "function" or "async function". Raises Unrunnable."""
    import inspect

    if isinstance(function, type):
        raise Unrunnable("it is a class, and a task is a function")
    body: Any = function
    while isinstance(body, functools.partial):
        body = body.func
    if not inspect.isroutine(body):
        body = type(body).__call__
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise Unrunnable(YIELDS)
    return "async function" if inspect.iscoroutinefunction(body) else "function"


def arguments_of(function: Callable[..., Any]) -> Arguments | None:
    """The arguments of a function; None if they are unknown. Raises Unrunnable if names are not enough to call it.

    A decorator that takes any argument hides those of the function inside, so then any argument is accepted.
    """
    import inspect

    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # a function in C without a signature
        return None
    required: list[str] = []
    optional: list[str] = []
    others = False
    for one in parameters:
        has_default = one.default is not one.empty
        if one.kind is one.VAR_KEYWORD:
            others = True
        elif one.kind is one.POSITIONAL_ONLY and not has_default:
            raise Unrunnable(f"it takes {one.name!r} by position only, and arguments are given by name")
        elif one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            (optional if has_default else required).append(one.name)
    return Arguments(required, optional, others)
