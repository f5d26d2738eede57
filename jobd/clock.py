"""Clocks and units. A moment is an `int`: microseconds since 1970-01-01 UTC. A duration is an `int` of microseconds.

Whole numbers neither drift nor round, compare the same in Python and in every database, and have no time zone. Only
schedules and texts for users have zones. Pure code never asks for the time: the moment is an argument. The store asks
only for monotonic time, to limit its retries and waits.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

MAX_DURATION = 3_650 * DAY  # ten years
EARLIEST = 86_400 * SECOND  # 1970-01-02
LATEST = 253_370_764_800 * SECOND  # 9999-01-01: a time zone may add a day, and datetime ends with the year 9999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """The two clocks that the engine needs. Tests and simulations have their own implementation."""

    def wall(self) -> int:
        """The current moment (µs since 1970 UTC). May jump in either direction."""

    def monotonic(self) -> int:
        """Microseconds since some fixed point in the past. Never jumps."""


class SystemClock:
    """The clocks of this machine."""

    def wall(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1_000


def to_datetime(moment: int) -> datetime:
    """The aware UTC datetime of `moment`, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=moment)


def from_datetime(value: datetime) -> int:
    """The moment of `value` (µs); a naive datetime is taken as UTC."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    since = value - _EPOCH
    return since.days * DAY + since.seconds * SECOND + since.microseconds


def iso(moment: int) -> str:
    """ISO 8601 in UTC with microseconds and `Z`: the form of every time in jobd's JSON documents."""
    return to_datetime(moment).isoformat(timespec="microseconds")[:-6] + "Z"


def doubled(pause: int, times: int, most: int) -> int:
    """The pause of an exponential back-off: `pause` doubled `times` times, at most `most`."""
    return min(pause << min(times, 40), most)
