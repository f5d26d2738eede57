"""The schedule of a job that runs after other jobs: the ends of their runs make it due, not a clock."""

from collections.abc import Sequence

from jobd.dependency import Dependency
from jobd.schedule.base import Schedule


class Follows(Schedule):
    """Due when each of `jobs` has succeeded, or ended, since the last due time."""

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
