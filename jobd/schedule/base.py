"""What every kind of schedule is: an immutable value that answers "the first due time after t". No clock, no I/O."""

from collections import deque
from typing import NamedTuple

from jobd.clock import LATEST, MINUTE
from jobd.errors import BadValue

COUNT_LIMIT = 10_000
# Names of the zone database that are no zones of their own: folders of copies, what this machine says, a placeholder.
NO_ZONES = ("right", "posix", "posixrules", "localtime", "Factory")
SEPARATOR = ";"  # between the schedules of one job


class Flaw(BadValue):
    """What is wrong with one piece of a schedule string; `position` (from 0) is where in that piece."""

    def __init__(self, message: str, position: int = 0, hint: str = "") -> None:
        super().__init__(message, hint)
        self.position = position


class ScheduleError(BadValue):
    """A schedule string that makes no sense: what is wrong, at which `position` (from 0), and what is allowed there."""

    def __init__(self, message: str, text: str, position: int = 0, hint: str = "") -> None:
        shown = ascii(text) if len(text) <= 80 else ascii(text[:77]) + "..."
        super().__init__(f"the schedule {shown} is not understood: {message} (at position {position + 1})", hint)
        self.text = text
        self.position = position

    @property
    def picture(self) -> str:  # type: ignore[override]
        """The string with a caret under the wrong part, on two lines."""
        start = max(0, self.position - 60)
        shown = "".join(char if char.isprintable() else "?" for char in self.text[start : start + 100])
        return f"{shown}\n{' ' * (self.position - start)}^"


def in_time(due: int) -> int | None:
    """`due`, unless it lies beyond all calendars."""
    return due if due <= LATEST else None


class Moved(NamedTuple):
    """A due time by the clocks of another zone, and how many others the change to them has skipped."""

    due: int | None
    skipped: int = 0


class Schedule:
    """The meaning of an interval. Moments and durations are microseconds (see jobd.clock).

    `text` is the canonical string: parsed again, whatever the default zone, it means the same.
    """

    __slots__ = ("text",)
    at_once = False  # the first due time is the moment of planning
    aligned = False  # due times lie on a grid from the first one
    from_finish = False  # the next due time is counted from the end of the run
    on_event = False  # no clock makes it due: the start of a daemon does, or the end of other runs

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.text}>"

    def first(self, now: int) -> int | None:
        """The first due time of a job that is planned at `now`; None: never."""
        raise NotImplementedError

    def after(self, moment: int, anchor: int) -> int | None:
        """The first due time strictly after `moment`; `anchor` is the job's first due time. None: never again."""
        raise NotImplementedError

    def count(self, after: int, until: int, anchor: int) -> int:
        """How many due times lie in (after, until]; where they must be counted one by one, COUNT_LIMIT at most."""
        found = 0
        moment = self.after(after, anchor)
        while moment is not None and moment <= until and found < COUNT_LIMIT:
            found += 1
            moment = self.after(moment, anchor)
        return found

    def newest(self, after: int, until: int, anchor: int, most: int) -> int:
        """The oldest of the newest `most` due times in (after, until], of which there are as many at least."""
        span = MINUTE
        while True:
            start, found = max(after, until - span), deque[int](maxlen=most)
            moment = self.after(start, anchor)
            while moment is not None and moment <= until:
                found.append(moment)
                moment = self.after(moment, anchor)
            if len(found) == most or start == after:
                return found[0]
            span *= 4

    def zones(self) -> frozenset[str]:
        """The names of the time zones that its due times depend on."""
        return frozenset()

    def moved(self, due: int, was: "Schedule", now: int, anchor: int) -> Moved:
        """What becomes of the due time in hand when its zone, or the zone's rules, have changed.

        `was` is the same schedule in the zone that `due` was computed in; where that zone is the present one, or not
        known, its rules have changed. The due time may come to lie in the past.
        """
        return Moved(due)

    def describe(self) -> str:
        """What it means, in English, on one line."""
        raise NotImplementedError

    def notes(self, since: int, until: int) -> list[str]:
        """What a person may not expect of its due times between two moments: a sentence each."""
        return []
