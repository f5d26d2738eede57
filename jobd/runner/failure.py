"""Describes an exception that a task raised: one line for the history, a traceback for the output.

The text, the name and the causes of an exception are the task's own code. If they fail, the description is shorter, and
nothing else changes.
"""

import os
import traceback

from jobd.errors import MAX_ERROR
from jobd.plugins.snapshot import show_source_of

MAX_TEXT = 64 * 1024  # characters of an error that are read
MAX_TRACEBACK = 16 * 1024  # characters
MAX_FRAMES = 50
MAX_LINKS = 100  # causes, contexts and members of groups; a group with shared members can have 2**200


def summary(error: BaseException) -> str:
    """One line about an exception."""
    name: str = type.__dict__["__name__"].__get__(type(error))  # a metaclass may have a property of this name
    try:
        # The method of str itself, because __str__ may return an object of the task's own subclass of str.
        text = str.__getitem__(str(error), slice(MAX_TEXT))
        shown = f"it called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"{name}: {text}"
    except BaseException:  # noqa: BLE001 - __str__ and __repr__ are the task's own code
        shown = f"{name}: (its text cannot be shown)"
    return " ".join(shown.split()).removesuffix(":")[:MAX_ERROR]


def explanation(error: BaseException) -> str:
    """The traceback, from the task's first frame on; empty if it cannot be shown."""
    try:
        frames = error.__traceback__
        here = os.path.dirname(__file__)
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(here):
            frames = frames.tb_next
        linked = _linked(error)
        for one in linked:
            for frame, _ in traceback.walk_tb(one.__traceback__):
                show_source_of(frame)
        if len(linked) == MAX_LINKS:  # formatting all of them would take long
            lines = ["Traceback (most recent call last):\n", *traceback.format_tb(frames, -MAX_FRAMES), summary(error)]
        else:
            lines = traceback.format_exception(type(error), error, frames, limit=-MAX_FRAMES)
        return "".join(lines)[-MAX_TRACEBACK:].rstrip()
    except BaseException:  # noqa: BLE001 - its attributes are the task's own code
        return ""


def _linked(error: BaseException) -> list[BaseException]:
    """The exception and those linked to it, as often as a traceback shows each, but at most MAX_LINKS."""
    found: list[BaseException] = []
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(found) < MAX_LINKS:
        one = waiting.pop()
        found.append(one)
        for link in (one.__cause__, one.__context__):
            if link is not None and id(link) not in seen:
                seen.add(id(link))
                waiting.append(link)
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found
