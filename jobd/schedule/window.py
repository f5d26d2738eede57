"""Schedules that limit or shift another one: the window of `--start` and `--end`, and the offset of `--jitter`."""

from zlib import crc32

from jobd.schedule.base import Moved, Schedule, in_time


class Window(Schedule):
    """`inner` within [start, end] (µs; None: no limit). The grid of an interval starts at `start`."""

    __slots__ = ("aligned", "at_once", "end", "from_finish", "inner", "on_event", "start")

    def __init__(self, inner: Schedule, start: int | None, end: int | None) -> None:
        super().__init__(inner.text)
        self.inner, self.start, self.end = inner, start, end
        self.at_once, self.aligned = inner.at_once, inner.aligned
        self.from_finish, self.on_event = inner.from_finish, inner.on_event

    def first(self, now: int) -> int | None:
        if self.start is None or self.start <= now:
            return self._within(self.inner.first(now))
        # From 1 µs earlier, because `start` itself may be a due time. `at_once` means at `start`.
        return self._within(self.inner.first(self.start if self.inner.at_once else self.start - 1))

    def after(self, moment: int, anchor: int) -> int | None:
        if self.start is not None:
            moment = max(moment, self.start - 1)
        return self._within(self.inner.after(moment, anchor))

    def count(self, after: int, until: int, anchor: int) -> int:
        after, until = self._bounded(after, until)
        return self.inner.count(after, until, anchor) if after < until else 0

    def newest(self, after: int, until: int, anchor: int, most: int) -> int:
        return self.inner.newest(*self._bounded(after, until), anchor, most)

    def _bounded(self, after: int, until: int) -> tuple[int, int]:
        return max(after, self.start - 1) if self.start else after, min(until, self.end) if self.end else until

    def zones(self) -> frozenset[str]:
        return self.inner.zones()

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        moved = self.inner.moved(due, was.inner if isinstance(was, Window) else self.inner, now, anchor)
        if moved.due is not None and self.start is not None and moved.due < self.start:
            moved = moved._replace(due=self.after(self.start - 1, anchor))
        return moved._replace(due=self._within(moved.due))

    def describe(self) -> str:
        return self.inner.describe()

    def notes(self, since: int, until: int) -> list[str]:
        return self.inner.notes(max(since, self.start or since), min(until, self.end or until))

    def _within(self, due: int | None) -> int | None:
        return due if due is not None and (self.end is None or due <= self.end) else None


class Shifted(Schedule):
    """`inner` with each due time later by `offset` µs, so that jobs with one schedule do not all start together."""

    __slots__ = ("aligned", "at_once", "from_finish", "inner", "offset", "on_event")

    def __init__(self, inner: Schedule, offset: int) -> None:
        super().__init__(inner.text)
        self.inner, self.offset = inner, offset
        self.at_once, self.aligned = inner.at_once, inner.aligned
        self.from_finish, self.on_event = inner.from_finish, inner.on_event

    def first(self, now: int) -> int | None:
        due = self.inner.first(now if self.at_once else now - self.offset)
        return None if due is None else in_time(due + self.offset)

    def after(self, moment: int, anchor: int) -> int | None:
        if self.from_finish:
            return self.inner.after(moment, anchor)
        due = self.inner.after(moment - self.offset, anchor - self.offset)
        return None if due is None else in_time(due + self.offset)

    def count(self, after: int, until: int, anchor: int) -> int:
        return self.inner.count(after - self.offset, until - self.offset, anchor - self.offset)

    def newest(self, after: int, until: int, anchor: int, most: int) -> int:
        return self.inner.newest(after - self.offset, until - self.offset, anchor - self.offset, most) + self.offset

    def zones(self) -> frozenset[str]:
        return self.inner.zones()

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        before, by = was.inner if isinstance(was, Shifted) else self.inner, self.offset
        moved = self.inner.moved(due - by, before, now - by, anchor - by)
        return moved if moved.due is None else moved._replace(due=moved.due + by)

    def describe(self) -> str:
        return self.inner.describe()

    def notes(self, since: int, until: int) -> list[str]:
        return self.inner.notes(since, until)


def offset_of(name: str, jitter: int) -> int:
    """The delay of the due times of the job called `name`, in µs: at least 0, below `jitter` (µs), always the same."""
    return crc32(name.encode()) * 2_654_435_761 % 2**32 * jitter >> 32
