"""`10s`, `every 10s`, `@every 10s`, `PT10S`: due at once, then on a grid from the first due time, without drift."""

from jobd.clock import MILLISECOND
from jobd.schedule.base import Flaw, Schedule, in_time
from jobd.schedule.duration import format_duration, parse_duration

MIN_PERIOD = 10 * MILLISECOND


class Every(Schedule):
    """Due at anchor + k × period for every integer k, so a clock that is set back before the anchor keeps the grid."""

    __slots__ = ("period",)
    at_once = True
    aligned = True

    def __init__(self, period: int) -> None:
        super().__init__(format_duration(period))
        self.period = period

    def first(self, now: int) -> int | None:
        return now

    def after(self, moment: int, anchor: int) -> int | None:
        return in_time(moment + self.period - (moment - anchor) % self.period)

    def count(self, after: int, until: int, anchor: int) -> int:
        return max(0, (until - anchor) // self.period - (after - anchor) // self.period)

    def newest(self, after: int, until: int, anchor: int, most: int) -> int:
        return until - (until - anchor) % self.period - (most - 1) * self.period

    def describe(self) -> str:
        return f"every {self.text}"


def parse_period(text: str) -> int:
    """The period `text` in µs. Raises Flaw if it is not a duration or is too short."""
    period = parse_duration(text)
    if period < MIN_PERIOD:
        raise Flaw(f"{text!a} is shorter than 10 ms", 0, "the shortest interval is 10ms")
    return period


def parse_every(text: str, zone: str) -> Every:
    """The schedule of a duration. Raises Flaw."""
    return Every(parse_period(text))
