"""Days on which a job does not run."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.clock import DAY, LATEST
from jobd.schedule.base import Flaw
from jobd.schedule.days import Skipping, parse_days, without
from tests.schedule.moments import due_times, moment, parsed, shown

BERLIN = "Europe/Berlin"
HOLIDAYS = ("2026-12-24..2026-12-28", "2027-01-01", "05-01")  # Thursday to Monday; a Friday; every year


def days(text: str, start: str, count: int, instead: str, skipped: tuple[str, ...] = HOLIDAYS) -> list[str]:
    schedule = without(parsed(text, BERLIN), skipped, BERLIN, instead)
    due, found = moment(start, BERLIN), []
    for _ in range(count):
        due = schedule.after(due, moment(start, BERLIN)) or 0
        found.append(shown(due, BERLIN)[5:16])
    return found


@pytest.mark.parametrize(
    ("text", "instead", "expected"),
    [
        ("0 9 * * *", "skip", ["12-23 09:00", "12-29 09:00", "12-30 09:00", "12-31 09:00", "01-02 09:00"]),
        ("0 9 * * MON-FRI", "next", ["12-23 09:00", "12-29 09:00", "12-30 09:00", "12-31 09:00", "01-04 09:00"]),
        ("0 9 24 * *", "next", ["12-29 09:00", "01-24 09:00", "02-24 09:00"]),
        ("30 23 * * THU", "next", ["12-29 23:30", "12-31 23:30", "01-07 23:30"]),
        ("0 9 * * FRI,TUE", "next", ["12-29 09:00", "01-04 09:00", "01-05 09:00"]),
        ("6h", "skip", ["12-23 06:00", "12-23 12:00", "12-23 18:00", "12-29 00:00", "12-29 06:00"]),
        ("at 2026-12-25T09:00", "next", ["12-29 09:00"]),
        ("calendar Fri 09:00", "skip", ["01-08 09:00"]),
        ("0 9 1 5 *; 0 9 2 5 *", "skip", ["05-02 09:00", "05-02 09:00"]),
    ],
)
def test_a_due_time_on_a_skipped_day_is_skipped_or_moved(text: str, instead: str, expected: list[str]) -> None:
    assert days(text, "2026-12-23T00:00", len(expected), instead) == expected


def test_a_job_that_would_start_on_a_skipped_day_starts_after_it() -> None:
    schedule = without(parsed("10s"), HOLIDAYS, BERLIN, "skip")
    assert shown(schedule.first(moment("2026-12-25T12:00Z")), BERLIN)[:16] == "2026-12-29 00:00"
    schedule = without(parsed("after 1h"), HOLIDAYS, BERLIN, "skip")
    assert shown(schedule.after(moment("2026-12-23T22:30Z"), 0), BERLIN)[:16] == "2026-12-29 00:00"


@given(
    st.sampled_from(["0 9 * * *", "30 2 * * *", "0 */7 * * *", "calendar Mon..Fri 23:59", "0 0 1 * *"]),
    st.sampled_from(["skip", "next"]),
    st.integers(moment("2026-01-01T00:00Z"), moment("2028-01-01T00:00Z")),
)
def test_due_times_only_grow_and_none_is_on_a_skipped_day(text: str, instead: str, start: int) -> None:
    schedule = without(parsed(text, BERLIN), HOLIDAYS, BERLIN, instead)
    due = schedule.after(start, start)
    assert due is not None
    assert due > start
    assert shown(due, BERLIN)[:10] not in ("2026-12-24", "2026-12-25", "2026-12-28", "2027-01-01", "2027-05-01")
    assert schedule.after(due - 1, start) == due
    assert schedule.after((start + due) // 2, start) == due


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("* * * * *", "2026-12-27T11:00Z", "2026-12-27 12:01:00"),
        ("* * * * *", "2026-12-28T11:00Z", "2026-12-28 12:01:00"),
        ("* * * * *", "2026-12-25T11:00Z", "2026-12-26 00:00:00"),
        ("*/20 * * * * *", "2026-12-29T11:00Z", "2026-12-29 12:00:20"),
        ("*/20 * * * * *", "2026-12-24T22:59:50Z", "2026-12-26 00:00:00"),
    ],
)
def test_a_job_that_is_due_all_the_time_goes_on_after_a_skipped_day(text: str, now: str, expected: str) -> None:
    schedule = without(parsed(text, BERLIN), ("12-25",), BERLIN, "next")
    assert shown(schedule.after(moment(now), 0), BERLIN)[:19] == expected


@given(
    st.sampled_from(["*/37 * * * *", "15 */5 * * *", "0 9,17 * * *", "30 23 * * SAT,THU", "0 0 24-28 * *"]),
    st.integers(moment("2026-12-18T00:00Z"), moment("2027-01-08T00:00Z")),
)
def test_a_due_time_that_is_moved_takes_its_place_among_the_others(text: str, now: int) -> None:
    """Against all due times of three weeks before, each moved by itself."""
    inner = parsed(text, BERLIN)
    schedule = without(inner, HOLIDAYS, BERLIN, "next")
    assert isinstance(schedule, Skipping)
    every = due_times(inner, now - 21 * DAY, now + 40 * DAY)
    moved = sorted(at for due in every if (at := schedule._moved(due) if schedule._off(due) else due) is not None)
    assert schedule.after(now, 0) == next(at for at in moved if at > now)


@settings(max_examples=30)
@given(
    st.sampled_from(["0 9 * * MON", "30 2 1 * *", "0 0 1 1,7 *", "15 4 29 2 *", "0 9 * * *", "at 2031-05-17T08:00"]),
    st.sampled_from(["skip", "next"]),
    st.dates(date(2026, 1, 1), date(2032, 1, 1)),
    st.integers(1, 9_000),
    st.integers(0, 10_000),
    st.integers(0, DAY),
)
def test_years_of_skipped_days_are_searched_like_a_few(
    text: str, instead: str, first: date, length: int, later: int, clock: int
) -> None:
    """Against a search that looks at each day and at each due time."""
    last = first + timedelta(days=length - 1)
    inner = parsed(text, BERLIN)
    schedule = without(inner, (f"{first}..{last}", "05-17"), BERLIN, instead)

    def is_off(day: date) -> bool:
        return first <= day <= last or (day.month, day.day) == (5, 17)

    now = moment(f"{first}T00:00Z") - 30 * DAY + later * DAY + clock
    due, found = moment(f"{first}T00:00Z") - 60 * DAY, []
    while (due := inner.after(due, 0) or LATEST) < max(now, moment(f"{last}T00:00Z")) + 5_000 * DAY:
        time, day = shown(due, BERLIN)[11:19], date.fromisoformat(shown(due, BERLIN)[:10])
        if not is_off(day):
            found.append(due)
        elif instead == "next":
            day += timedelta(days=1)
            while is_off(day) or day.weekday() >= 5:
                day += timedelta(days=1)
            found.append(moment(f"{day}T{time}", BERLIN))
    assert schedule.after(now, 0) == min((at for at in found if at > now), default=None)


@pytest.mark.parametrize("instead", ["skip", "next"])
@pytest.mark.parametrize("days", ["2026-01-01..2046-12-31", "2026-01-01..2999-12-31"])
def test_a_job_is_due_after_years_of_skipped_days(days: str, instead: str) -> None:
    now, day = moment("2026-06-01T00:00Z"), f"{int(days[-10:-6]) + 1}-01-01"
    for text in ("0 9 * * *", "* * * * *"):
        due = without(parsed(text, "UTC"), (days,), "UTC", instead).after(now, 0)
        assert shown(due, "UTC")[:16] == f"{day} {'09' if text[0] == '0' else '00'}:00"


def test_a_job_that_is_due_at_once_begins_after_years_of_skipped_days() -> None:
    schedule = without(parsed("10s"), ("2026-01-01..2046-12-31",), "UTC", "skip")
    assert schedule.first(moment("2026-06-01T00:00Z")) == moment("2047-01-01T00:00Z")


@pytest.mark.parametrize("instead", ["skip", "next"])
@pytest.mark.parametrize(
    "days", [("2026-01-01..9999-12-31",), tuple(f"{date(2024, 1, 1) + timedelta(n)}"[5:] for n in range(366))]
)
def test_a_job_all_of_whose_days_are_skipped_is_never_due(days: tuple[str, ...], instead: str) -> None:
    schedule = without(parsed("0 9 * * *", "UTC"), days, "UTC", instead)
    assert schedule.after(moment("2026-06-01T00:00Z"), 0) is None
    assert schedule.first(moment("2026-06-01T00:00Z")) is None


def test_nothing_is_lost_when_it_is_moved() -> None:
    start, end = moment("2026-12-01T00:00Z"), moment("2027-02-01T00:00Z")
    plain = due_times(parsed("0 9 24 * *", BERLIN), start, end)
    moved = due_times(without(parsed("0 9 24 * *", BERLIN), HOLIDAYS, BERLIN, "next"), start, end)
    assert len(plain) == len(moved) == 2
    assert moved[0] - plain[0] == 5 * DAY


@pytest.mark.parametrize(
    "text", ["", "24.12.2026", "2026-02-30", "2026-12-24..", "2027-01-01..2026-12-24", "13-01", "x" * 99]
)
def test_an_invalid_day_is_refused(text: str) -> None:
    with pytest.raises(Flaw):
        parse_days((text,))


def test_only_clock_times_can_be_moved() -> None:
    with pytest.raises(Flaw, match="only clock times"):
        without(parsed("10s"), HOLIDAYS, BERLIN, "next")
