"""Cron against brute force: every minute of a few days around a change of the clocks, tried one by one.

The oracle shares nothing with jobd: it makes the expression and the values that it means together, and knows one rule.
A fixed time (neither minute nor hour begins with `*`) is due when the clocks first show it, or at the first minute
after the gap that swallows it; anything else is due whenever the clocks show it.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from jobd.clock import MINUTE, from_datetime, to_datetime
from jobd.schedule import parse
from jobd.schedule.zone import changes
from tests.schedule.moments import due_times

NIGHTS = [  # a day in whose neighbourhood the clocks change, except in UTC
    ("UTC", "2026-02-28"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Asia/Kathmandu", "1986-01-01"),  # by a quarter of an hour, once
    ("America/Sao_Paulo", "2018-02-18"),  # at midnight
    ("America/Sao_Paulo", "2018-11-04"),
    ("Pacific/Apia", "2011-12-30"),  # a day that never was
    ("Antarctica/Troll", "2026-03-29"),  # by two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Cairo", "2026-10-30"),
]
YEARS = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca",
    "America/Santiago", "Asia/Beirut", "Atlantic/Azores", "Antarctica/Troll",
)  # fmt: skip
ONE = timedelta(minutes=1)


class Field(NamedTuple):
    """The text of a cron field and the values that it means."""

    text: str
    values: set[int]

    @property
    def star(self) -> bool:
        return self.text.startswith("*")


class Expression(NamedTuple):
    """A five-field expression."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def text(self) -> str:
        return " ".join(field.text for field in self)

    @property
    def fixed(self) -> bool:
        return not self.minute.star and not self.hour.star

    def matches(self, clock: datetime) -> bool:
        day, weekday = clock.day in self.day.values, clock.isoweekday() % 7 in self.weekday.values
        right_day = (day and weekday) if self.day.star or self.weekday.star else (day or weekday)
        right_time = clock.minute in self.minute.values and clock.hour in self.hour.values
        return right_day and right_time and clock.month in self.month.values


def some_field(rng: random.Random, least: int, greatest: int, *, star: float, likely: int = 99) -> Field:
    """A random field: a bare `*` with the probability `star`, and single values no greater than `likely`."""
    whole = range(least, greatest + 1)
    step = rng.randint(1, max(2, len(whole) // 2))
    low = rng.randint(least, min(greatest, likely))
    high = rng.randint(low, greatest)
    return rng.choices(
        [
            Field("*", set(whole)),
            Field(f"*/{step}", set(whole[::step])),
            Field(f"{low}-{high}", set(range(low, high + 1))),
            Field(f"{low}-{high}/{step}", set(range(low, high + 1, step))),
            Field(f"{low},{high}", {low, high}),
            Field(f"{low}", {low}),
        ],
        [star, *5 * [(1 - star) / 5]],
    )[0]


def some_expression(rng: random.Random) -> Expression:
    """A random expression, more often about the night than about the day."""
    return Expression(
        some_field(rng, 0, 59, star=0.2),
        some_field(rng, 0, 23, star=0.3, likely=3),
        some_field(rng, 1, 31, star=0.7),
        Field("*", set(range(1, 13))),
        some_field(rng, 0, 6, star=0.7),
    )


def every_minute(zone: ZoneInfo, day: datetime) -> Iterator[tuple[int, datetime]]:
    """Each minute of the days around `day`, with what the clocks show."""
    moment = day.replace(tzinfo=UTC) - timedelta(days=2)
    for _ in range(5 * 24 * 60):
        yield from_datetime(moment), moment.astimezone(zone).replace(tzinfo=None, fold=0)
        moment += ONE


def expected(expression: Expression, minutes: list[tuple[int, datetime]]) -> list[int]:
    """The due times among `minutes`, by trying all of them."""
    if not expression.fixed:
        return [moment for moment, clock in minutes if expression.matches(clock)]
    first_shown: dict[datetime, int] = {}
    for moment, clock in minutes:
        first_shown.setdefault(clock, moment)
    due, clock, last = set(), min(first_shown), max(first_shown)
    while clock <= last:
        if expression.matches(clock):
            there = clock
            while there not in first_shown:
                there += ONE
            due.add(first_shown[there])
        clock += ONE
    return sorted(due)


def all_nights() -> list[tuple[str, str]]:
    """Every change of the clocks of these zones from 2024 to 2030."""
    first, last = (from_datetime(datetime(year, 1, 1, tzinfo=UTC)) for year in (2024, 2031))
    return [
        (zone, f"{to_datetime(change.moment):%Y-%m-%d}")
        for zone in YEARS
        for change in changes(ZoneInfo(zone), first, last)
    ]


@pytest.mark.parametrize(("zone", "day"), NIGHTS + all_nights())
def test_cron_agrees_with_trying_every_minute(zone: str, day: str) -> None:
    rng = random.Random(f"{zone} {day}")
    # The first hours are not looked at: a time that they show may have been shown, or skipped, before.
    minutes = list(every_minute(ZoneInfo(zone), datetime.fromisoformat(day)))
    begin, end = minutes[0][0] + 300 * MINUTE, minutes[-1][0] - 300 * MINUTE
    for _ in range(40 if (zone, day) in NIGHTS else 6):
        expression = some_expression(rng)
        schedule = parse(expression.text, False, zone)
        due = [moment for moment in expected(expression, minutes) if begin < moment <= end]
        assert due_times(schedule, begin, end) == due, expression.text
        for _ in range(20):
            moment = rng.randint(begin, end)
            after = next((later for later in due if later > moment), None)
            found = schedule.after(moment, 0)
            assert found is not None
            assert found == after if after else found > end, (expression.text, moment)


@pytest.mark.parametrize(("zone", "day"), NIGHTS)
def test_seconds_in_front_change_nothing_about_the_minutes(zone: str, day: str) -> None:
    rng = random.Random(f"{day} {zone}")
    start = from_datetime(datetime.fromisoformat(day)) - 1440 * MINUTE
    for _ in range(15):
        text = some_expression(rng).text
        six, five = parse(f"0 {text}", False, zone), parse(text, False, zone)
        end = start + 4 * 1440 * MINUTE
        assert due_times(six, start, end) == due_times(five, start, end), text
