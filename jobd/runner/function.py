"""A task's function: what kind it is, which arguments it takes, and how its call is brought to its end.

What is awaitable is awaited, however it came about: an `async def`, one behind a decorator or functools.partial, an
object with an async `__call__`, a function that returns a coroutine, a Future or a Task. What yields runs nothing when
it is called: a generator function is refused when it is loaded, and a run that returns a generator fails.

`inspect` is imported where a task is looked at: a worker starts 6 ms sooner without it.
"""

import functools
import sys
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType
from typing import Any, NamedTuple

from jobd.runner.ending import Ending

YIELDS = "it is a generator, so calling it runs nothing: do the work in a loop instead"
PLAIN = frozenset((type(None), bool, int, float, str, list, dict, tuple))
_LAZY = (GeneratorType, AsyncGeneratorType, map, filter)


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


def complete(value: Any, ending: Ending) -> Any:
    """What a call has come to: what it returned, awaited. Raises what that raises, and Unrunnable."""
    while type(value) not in PLAIN:
        if isinstance(value, _LAZY):
            raise Unrunnable(f"what it returned, a {type(value).__name__}, runs nothing: do the work in a loop instead")
        if _is_future(value):
            loop = value.get_loop()
            with ending.by(lambda: loop.call_soon_threadsafe(value.cancel)):  # noqa: B023 - is over before the next
                value = loop.run_until_complete(value)
        elif hasattr(type(value), "__await__"):
            value = _run(value, ending)
        elif "concurrent.futures" in sys.modules and isinstance(value, sys.modules["concurrent.futures"].Future):
            value = value.result()
        else:
            break
    return value


def _is_future(value: Any) -> bool:
    """Whether it is a Future or Task of asyncio, which belongs to a loop."""
    return "asyncio" in sys.modules and sys.modules["asyncio"].isfuture(value)


def _run(value: Any, ending: Ending) -> Any:
    """Await it in an event loop of its own."""
    import asyncio

    async def whole() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with ending.by(lambda: loop.call_soon_threadsafe(task.cancel)):
            return await value

    return asyncio.run(whole())
