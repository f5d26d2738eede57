"""Due when other jobs have run: no clock makes it due, the ends of their runs do."""

from collections.abc import Sequence

from jobd.dependency import Dependency
from jobd.schedule.base import Schedule


class Follows(Schedule):
    """Due when each of `jobs` has run since the last time."""

    __slots__ = ("jobs",)
    on_event = True

    def __init__(self, jobs: Sequence[Dependency]) -> None:
        super().__init__("")
        self.jobs = tuple(jobs)

    def first(self, now: int) -> int | None:
        return None

    def after(self, moment: int, anchor: int) -> int | None:
        return None

    def describe(self) -> str:
        parts = [f"{one.name} has {'ended' if one.any_outcome else 'succeeded'}" for one in self.jobs]
        return "when " + " and ".join(parts)
