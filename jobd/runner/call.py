"""The end of a call: if a task returned an awaitable, it is awaited.

All awaitables are: those of an `async def`, one behind a decorator or functools.partial, an object with an async
`__call__`, a function that returns a coroutine, a Future or a Task. A run that returns a generator fails, because a
generator runs nothing until it is iterated.
"""

import sys
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from jobd.plugins.function import Unrunnable
from jobd.runner.ending import Ending

PLAIN = frozenset((type(None), bool, int, float, str, list, dict, tuple))
_LAZY = (GeneratorType, AsyncGeneratorType, map, filter)


def complete(value: Any, ending: Ending) -> Any:
    """The result of a call: `value`, awaited if it is awaitable. Raises Unrunnable and errors of the awaited code."""
    while type(value) not in PLAIN:
        if isinstance(value, _LAZY):
            raise Unrunnable(f"what it returned, a {type(value).__name__}, runs nothing: do the work in a loop instead")
        if _is_future(value):
            loop = value.get_loop()
            with ending.by(lambda: loop.call_soon_threadsafe(value.cancel)):  # noqa: B023 - used in this iteration only
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
    """Await it in a new event loop."""
    import asyncio

    async def whole() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with ending.by(lambda: loop.call_soon_threadsafe(task.cancel)):
            return await value

    return asyncio.run(whole())
