"""`after 10s`: due at once, then 10 seconds after the end of each run."""

from jobd.schedule.base import Schedule, in_time
from jobd.schedule.duration import format_duration
from jobd.schedule.every import parse_period


class After(Schedule):
    """Due `delay` µs after the end of the previous run. No due time occurs during a run."""

    __slots__ = ("delay",)
    at_once = True
    from_finish = True

    def __init__(self, delay: int) -> None:
        super().__init__(f"after {format_duration(delay)}")
        self.delay = delay

    def first(self, now: int) -> int | None:
        return now

    def after(self, moment: int, anchor: int) -> int | None:
        return in_time(moment + self.delay)

    def count(self, after: int, until: int, anchor: int) -> int:
        return 0

    def describe(self) -> str:
        return f"{format_duration(self.delay)} after the end of the last run"


def parse_after(text: str, zone: str) -> After:
    """The schedule of the duration after the word `after`. Raises Flaw."""
    return After(parse_period(text))
