"""`0 9 * * MON; 0 14 * * FRI`: several schedules in one job. It is due when one of them is; once if they coincide."""

from collections.abc import Iterable, Sequence

from jobd.schedule.base import SEPARATOR, Moved, Schedule


class Union(Schedule):
    """Due whenever one of `parts` is. The grids of all intervals start at the job's first due time."""

    __slots__ = ("aligned", "at_once", "on_event", "parts")

    def __init__(self, parts: Sequence[Schedule]) -> None:
        super().__init__(f"{SEPARATOR} ".join(part.text for part in parts))
        self.parts = tuple(parts)
        self.at_once = any(part.at_once for part in parts)
        self.aligned = any(part.aligned for part in parts)
        self.on_event = any(part.on_event for part in parts)

    def first(self, now: int) -> int | None:
        return _soonest(part.first(now) for part in self.parts)

    def after(self, moment: int, anchor: int) -> int | None:
        return _soonest(part.after(moment, anchor) for part in self.parts)

    def zones(self) -> frozenset[str]:
        return frozenset().union(*(part.zones() for part in self.parts))

    def moved(self, due: int, was: Schedule, now: int, anchor: int) -> Moved:
        found = []
        for part, before in zip(self.parts, was.parts if isinstance(was, Union) else self.parts, strict=True):
            its = before.after(due - 1, anchor)
            found.append(Moved(None) if its is None else part.moved(its, before, now, anchor))
        return Moved(_soonest(one.due for one in found), sum(one.skipped for one in found))

    def describe(self) -> str:
        return "; ".join(part.describe() for part in self.parts)

    def notes(self, since: int, until: int) -> list[str]:
        return [note for part in self.parts for note in part.notes(since, until)]


def _soonest(moments: Iterable[int | None]) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)
