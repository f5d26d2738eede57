"""A task's function: what kind it is, and which arguments it takes.

A generator function is refused when it is loaded: calling it runs nothing.

`inspect` is imported where a task is looked at: a worker starts 6 ms sooner without it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

YIELDS = "it is a generator, so calling it runs nothing: do the work in a loop instead"


class Unrunnable(Exception):
    """This cannot be a task; the text says why."""


class Arguments(NamedTuple):
    """What a function can be given by name."""

    required: list[str]
    optional: list[str]
    others: bool  # it takes any other name too


def kind_of(function: Callable[..., Any]) -> str:
    """ "function" or "async function". Raises Unrunnable."""
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
    """What it can be given; None: it does not say. Raises Unrunnable when names are not enough.

    A decorator that takes anything is taken at its word: what it passes on, it alone knows.
    """
    import inspect

    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # written in C
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
