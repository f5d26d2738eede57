"""What is said of an exception that a task raised: one line for the history, a traceback for its output.

All of an exception is the task's own code: its text, its name, its causes. None of it can do more than make what is
said shorter.
"""

import os
import traceback

from jobd.plugins.snapshot import show_source_of
from jobd.wire import MAX_ERROR

MAX_TEXT = 64 * 1024  # characters of an error that are looked at
MAX_TRACEBACK = 16 * 1024
MAX_FRAMES = 50
MAX_LINKS = 100  # of causes, contexts and members of groups; with shared members a group can have 2**200


def summary(error: BaseException) -> str:
    """One line about an exception."""
    name: str = type.__dict__["__name__"].__get__(type(error))  # a metaclass may have a property of this name
    try:
        # The method of str itself: what __str__ gives may be of a class of the task's own.
        text = str.__getitem__(str(error), slice(MAX_TEXT))
        shown = f"it called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"{name}: {text}"
    except BaseException:  # noqa: BLE001 - __str__ and __repr__ are the task's own code
        shown = f"{name}: (its text cannot be shown)"
    return " ".join(shown.split()).removesuffix(":")[:MAX_ERROR]


def explanation(error: BaseException) -> str:
    """The traceback, from the task's own first frame on; empty: it cannot be shown."""
    try:
        frames = error.__traceback__
        here = os.path.dirname(__file__)
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(here):
            frames = frames.tb_next
        linked = _linked(error)
        for one in linked:
            for frame, _ in traceback.walk_tb(one.__traceback__):
                show_source_of(frame)
        if len(linked) == MAX_LINKS:  # to show all would take long
            lines = ["Traceback (most recent call last):\n", *traceback.format_tb(frames, -MAX_FRAMES), summary(error)]
        else:
            lines = traceback.format_exception(type(error), error, frames, limit=-MAX_FRAMES)
        return "".join(lines)[-MAX_TRACEBACK:].rstrip()
    except BaseException:  # noqa: BLE001 - its attributes are the task's own code
        return ""


def _linked(error: BaseException) -> list[BaseException]:
    """It and what is linked to it, as often as it would be shown, but at most MAX_LINKS."""
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
