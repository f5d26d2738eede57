"""`10s`, `every 10s`, `@every 10s`, `PT10S`: at once, then on a grid from the first due time. No drift, for ever."""

from jobd.clock import MILLISECOND
from jobd.schedule.base import COUNT_LIMIT, Schedule
from jobd.schedule.duration import DurationError, format_duration, parse_duration

SHORTEST = 10 * MILLISECOND


class Every(Schedule):
    """Due every `period` microseconds."""

    __slots__ = ("period",)
    at_once = True
    aligned = True

    def __init__(self, text: str, period: int) -> None:
        super().__init__(text)
        self.period = period

    def first(self, now: int) -> int | None:
        return now

    def after(self, moment: int, anchor: int) -> int | None:
        return moment + self.period - (moment - anchor) % self.period

    def count(self, after: int, until: int, anchor: int) -> int:
        return min(max(0, (until - anchor) // self.period - (after - anchor) // self.period), COUNT_LIMIT)

    def describe(self) -> str:
        return f"every {format_duration(self.period)}"


def parse_period(text: str) -> int:
    """The period in `text`. Raises DurationError when it is no duration, or too short."""
    period = parse_duration(text)
    if period < SHORTEST:
        raise DurationError(f"{text!r} is shorter than 10 ms", 0, "the shortest interval is 10ms")
    return period


def parse_every(text: str) -> Every:
    """The schedule of a duration. Raises DurationError."""
    return Every(text, parse_period(text))
