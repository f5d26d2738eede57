"""The base class of schedules: immutable values that compute the first due time after a moment. They use no clock."""

from collections import deque
from typing import NamedTuple

from jobd.clock import LATEST, MINUTE
from jobd.errors import BadValue

COUNT_LIMIT = 10_000  # due times: limits the duration of a count that looks at each of them
# Names in the zone database that are not separate zones: folders of copies, this machine's zone, a placeholder.
NO_ZONES = ("right", "posix", "posixrules", "localtime", "Factory")
SEPARATOR = ";"  # between the schedules of one job


class Flaw(BadValue):
    """An error in one part of a schedule string; `position` (from 0) is relative to the start of that part."""

    def __init__(self, message: str, position: int = 0, hint: str = "") -> None:
        super().__init__(message, hint)
        self.position = position


class ScheduleError(BadValue):
    """An invalid schedule string: the problem, its `position` (from 0), and a hint about the allowed values."""

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
    """`due`, or None if it is later than the last supported moment."""
    return due if due <= LATEST else None


class Moved(NamedTuple):
    """A due time after a change of its zone, and the number of due times that the change has skipped."""

    due: int | None
    skipped: int = 0


class Schedule:
    """The meaning of an interval. Moments and durations are µs (see jobd.clock).

    `text` is the canonical string. It means the same with any default zone.
    """

    __slots__ = ("text",)
    at_once = False  # the first due time is the moment of planning
    aligned = False  # due times form a grid that starts at the first one
    from_finish = False  # the next due time is counted from the end of the run
    on_event = False  # an event makes it due, not a clock: the start of a daemon, or the end of other runs

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
        """The number of due times in (after, until]. Counting one by one stops at COUNT_LIMIT."""
        found = 0
        moment = self.after(after, anchor)
        while moment is not None and moment <= until and found < COUNT_LIMIT:
            found += 1
            moment = self.after(moment, anchor)
        return found

    def newest(self, after: int, until: int, anchor: int, most: int) -> int:
        """The earliest of the last `most` due times in (after, until], which must contain that many."""
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
        """The current due time after a change of its zone, or of the zone's rules. It may be in the past.

        `was` is the same schedule in the zone in which `due` was computed. If that is the present zone, or is not
        known, the zone's rules have changed.
        """
        return Moved(due)

    def describe(self) -> str:
        """A description in English, on one line."""
        raise NotImplementedError

    def notes(self, since: int, until: int) -> list[str]:
        """Sentences about due times between two moments that a user may not expect."""
        return []
