"""`0 9 * * MON; 0 14 * * FRI`: several schedules in one job. Due whenever one of them is; together, once."""

from collections.abc import Iterable, Sequence

from jobd.schedule.base import SEPARATOR, Schedule


class Union(Schedule):
    """Due whenever one of `parts` is. Intervals among them share one grid, from the job's first due time."""

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

    def describe(self) -> str:
        return "; ".join(part.describe() for part in self.parts)

    def notes(self, since: int, until: int) -> list[str]:
        return [note for part in self.parts for note in part.notes(since, until)]


def _soonest(moments: Iterable[int | None]) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)
