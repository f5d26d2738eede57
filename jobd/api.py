"""What a plugin may use: the mark on a task, and what it may ask about the run it is in."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
MARK = "__jobd_task__"


class CurrentRun(NamedTuple):
    """The run that a task is in."""

    job: str
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


def task(function: _Function) -> _Function:
    """Mark `function`, in a file of the plugins directory, as a task named like itself."""
    setattr(function, MARK, True)
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
