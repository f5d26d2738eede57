"""Properties of every schedule, at every moment, in every zone."""

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobd.clock import DAY, LATEST, SECOND
from jobd.schedule import Schedule, ScheduleError, parse
from jobd.schedule.days import without
from jobd.schedule.window import Shifted, Window
from tests.schedule.moments import due_times, moment, parsed

ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Africa/Cairo",
        "Pacific/Chatham",
    ]
)
MOMENTS = st.integers(DAY, 2_200_000_000 * SECOND)
TEXTS = st.sampled_from(
    [
        "10s",
        "13ms3us",
        "1h30m",
        "* * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 0 L * *",
        "*/10 0-3 * * *",
        "15,45 1-3 * * 0",
        "*/20 30 2 * * *",
        "5 30 1,2 * * *",
        "0 0 29 2 *",
        "@daily",
        "@hourly",
        "0 12 13 * 5",
        "*/15 2 25-31 3,10 SUN",
        "at 2026-10-25T02:30:00",
        "at 2026-03-29T02:30:00",
        "calendar Mon..Fri *-*-* 02:30",
        "calendar *:0/20",
        "calendar *-*~1 0,2:15:30",
        "H H(1-3) * * *",
        "H/20 * * * *",
        "30 2 * * *; 10 3 * * SUN",
        "1h; TZ=Asia/Tokyo 30 2 * * *; at 2026-10-25T02:30:00",
    ]
)


@given(TEXTS, ZONES, MOMENTS, MOMENTS)
def test_due_times_only_grow_and_none_lies_between(text: str, zone: str, moment: int, anchor: int) -> None:
    schedule = parsed(text, zone)
    due = schedule.after(moment, anchor)
    if due is None:
        return
    assert due > moment
    assert schedule.after(due - 1, anchor) == due
    assert schedule.after((moment + due) // 2, anchor) == due
    following = schedule.after(due, anchor)
    assert following is None or following > due


@settings(deadline=None)
@given(TEXTS, ZONES, MOMENTS, st.integers(0, 3 * DAY))
def test_the_count_agrees_with_the_enumeration(text: str, zone: str, moment: int, span: int) -> None:
    schedule = parsed(text, zone)
    until = moment + span // (1000 if text.endswith("s") else 1)
    due = due_times(schedule, moment, until, anchor=moment)
    assert schedule.count(moment, until, moment) == len(due)


@given(st.integers(10_000, 3650 * DAY), MOMENTS, MOMENTS)
def test_an_interval_lies_on_its_grid_for_ever(period: int, anchor: int, moment: int) -> None:
    due = parsed(f"{period}us").after(moment, anchor)
    assert due is not None
    assert (due - anchor) % period == 0
    assert moment < due <= moment + period


@given(st.lists(TEXTS, min_size=1, max_size=4), ZONES, MOMENTS, MOMENTS)
def test_a_union_is_due_when_the_first_of_its_parts_is(texts: list[str], zone: str, moment: int, anchor: int) -> None:
    union = parsed("; ".join(texts), zone)
    parts = [parsed(text, zone).after(moment, anchor) for text in texts]
    assert union.after(moment, anchor) == min((due for due in parts if due is not None), default=None)


@given(TEXTS, ZONES, MOMENTS, MOMENTS, st.integers(0, 2 * DAY), st.integers(0, 30 * DAY))
def test_jitter_moves_every_due_time_by_the_same(
    text: str, zone: str, moment: int, anchor: int, offset: int, length: int
) -> None:
    inner = parsed(text, zone)
    shifted = Shifted(inner, offset)
    due = inner.after(moment, anchor)
    assert shifted.after(moment + offset, anchor + offset) == (None if due is None else due + offset)
    windowed = Window(shifted, moment, moment + length)
    found = windowed.after(0, anchor)
    assert found is None or moment <= found <= moment + length


@given(TEXTS, ZONES, MOMENTS)
def test_the_canonical_string_means_the_same_everywhere(text: str, zone: str, moment: int) -> None:
    schedule = parsed(text, zone)
    again = parsed(schedule.text, "Asia/Tokyo")
    assert again.text == schedule.text
    assert again.after(moment, moment) == schedule.after(moment, moment)


_PIECES = ["TZ=", "Europe/Berlin", " ", "  ", "*", "/", "-", ",", "#", "L", "LW", "MON", "jan", "0", "5", "31", "59"]
_PIECES += [";", "; ", "calendar", "Mon..Fri", "*-*-*", "~", "H", "H(1-5)", "@reboot"]
_PIECES += ["at", "after", "every", "@every", "@daily", "2026-10-25T02:30", "Z", "10s", "P", "T", "\t", "\0", "é", "٣"]


@given(st.lists(st.sampled_from(_PIECES), max_size=20).map("".join) | st.text(max_size=300), ZONES)
@example("0 0 * * L", "UTC")
@example("TZ=\ud800 10s", "UTC")
def test_any_text_is_a_schedule_or_an_error_at_a_place_in_it(text: str, zone: str) -> None:
    result = parsed_or_error(text, zone)
    if isinstance(result, ScheduleError):
        assert 0 <= result.position <= len(text)
        assert result.hint
        assert str(result).isprintable()
        assert result.picture.count("\n") == 1
    else:
        first = result.first(DAY)
        assert first is None or first >= DAY
        assert result.describe().isprintable()


def parsed_or_error(text: str, zone: str) -> Schedule | ScheduleError:
    try:
        return parse(text, False, zone)
    except ScheduleError as error:
        return error


@settings(deadline=None, max_examples=60)
@given(TEXTS, ZONES, MOMENTS, st.integers(1, 20 * DAY), st.integers(1, 40))
def test_the_newest_due_times_are_the_last_of_all(text: str, zone: str, moment: int, span: int, most: int) -> None:
    schedule = parsed(text, zone)
    until = moment + span // (1000 if text.endswith("s") else 1)
    due = due_times(schedule, moment, until, anchor=moment)
    if len(due) >= most:
        assert schedule.newest(moment, until, moment, most) == due[-most]


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "*/20 0-3 L * *", "0 12 13 * 5", "15 1-3 */2 * *"]), ZONES, MOMENTS
)
def test_cron_is_counted_by_days_over_every_change_of_the_clocks(text: str, zone: str, moment: int) -> None:
    schedule = parsed(text, zone)
    until = moment + 40 * DAY
    assert schedule.count(moment, until, moment) == len(due_times(schedule, moment, until))


def test_years_are_counted_at_once() -> None:
    begun = time.process_time()
    assert parsed("10ms").count(0, 3_650 * DAY, 0) == 3_650 * 86_400 * 100
    year = moment("2025-01-01T00:00"), moment("2026-01-01T00:00")
    assert parsed("* * * * * *").count(*year, 0) == 365 * 86_400
    assert parsed("* * * * *", "Europe/Berlin").count(*year, 0) == 365 * 1_440
    assert Shifted(parsed("* * * * *"), 7).count(*year, 0) == 365 * 1_440
    assert parsed("* * * * * *").newest(0, year[1], 0, 1_000) == year[1] - 999 * SECOND
    assert time.process_time() - begun < 5


@given(TEXTS, ZONES, st.integers(LATEST - 4_000 * DAY, LATEST), st.integers(LATEST - 4_000 * DAY, LATEST))
@settings(deadline=None, max_examples=50)
def test_nothing_is_due_after_the_last_year(text: str, zone: str, now: int, start: int) -> None:
    for schedule in (
        parsed(text, zone),
        parsed("3650d"),
        parsed("after 3650d"),
        Shifted(parsed(text, zone), 3_000 * DAY),
        Window(parsed(text, zone), start, None),
        without(parsed(text, zone), ("01-01", "12-31", "9990-01-01..9998-12-31"), zone, "skip"),
    ):
        for due in (schedule.first(now), schedule.after(now, now), schedule.after(start, now)):
            assert due is None or due <= LATEST
        schedule.notes(LATEST - 10 * DAY, LATEST)
