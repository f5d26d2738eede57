"""What a plugin may use: the mark on a task, and what it may ask about the run it is in."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])
MARK = "__jobd_task__"  # the attribute of a marked function; it holds the name given, or nothing


class Cancelled(BaseException):
    """Raised in a task whose run is to end: it was cancelled, is over its timeout, or the daemon stops.

    It is no `Exception`, so that only `finally`, context managers and who means it catch it. A few seconds later the
    process is killed. An `async def` task gets asyncio's own CancelledError instead.
    """


class CurrentRun(NamedTuple):
    """The run that a task is in."""

    job: str
    """The name of the job."""
    run: int
    """The number of this run among the runs of its job."""
    due_time: str
    """When it was due: UTC, ISO 8601."""
    attempt: int
    """1 for the first attempt, 2 for the first retry, and so on."""
    deadline: float | None
    """The `time.monotonic()` moment, in seconds, at which the attempt is ended; None without a timeout."""
    token: int
    """The fencing token of the claim: a later claim of the same job has a higher one."""


_current: Callable[[], CurrentRun] | None = None


@overload
def task(function: _Function, /) -> _Function: ...
@overload
def task(*, name: str) -> Callable[[_Function], _Function]: ...
def task(function: Any = None, /, *, name: str = "") -> Any:
    """Mark a function of a plugin as a task, named like itself or as `name` says.

    `@jobd.task` or `@jobd.task(name="poll-2")`. Raises TypeError or ValueError for what cannot be a task.
    """
    if function is None:
        if not name or ":" in name or name != name.strip() or not name.isprintable():
            raise ValueError(f"a task cannot be called {name!r}: give a name of visible characters without ':'")
        return lambda function: _marked(function, name)
    return _marked(function, name)


def _marked(function: Any, name: str) -> Any:
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"@jobd.task is for functions, not for {function!r}"[:200])
    try:
        setattr(function, MARK, name)
    except AttributeError:
        raise TypeError(f"{function!r} cannot be marked: wrap it in a function"[:200]) from None
    return function


def current_run() -> CurrentRun:
    """The run that the calling task is in. Raises RuntimeError outside a run."""
    if _current is None:
        raise RuntimeError("jobd.current_run() was called outside a run")
    return _current()


def enter_run(run: Callable[[], CurrentRun] | None) -> None:
    """Called by the worker around each run, not by tasks. Few tasks ask, so the answer is made when they do."""
    global _current
    _current = run
