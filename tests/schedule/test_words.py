"""Schedules in words: the results of each, and the refused words with their suggestions."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.schedule.base import Flaw
from jobd.schedule.words import compile_at, compile_duration, compile_every
from tests.schedule.moments import parsed

MONDAY = datetime(2026, 11, 23, 20, 20)


@pytest.mark.parametrize(
    ("text", "compiled"),
    [
        ("2h", "2h"),
        ("PT5M", "PT5M"),
        ("10 seconds", "10s"),
        ("5 minutes", "5m"),
        ("minute", "1m"),
        ("hour", "1h"),
        ("2 weeks", "2w"),
        ("day at 09:00", "0 9 * * *"),
        ("weekday at 18:30", "30 18 * * MON-FRI"),
        ("weekend at noon", "0 12 * * SAT,SUN"),
        ("Monday at 9", "0 9 * * MON"),
        ("mondays at 9am", "0 9 * * MON"),
        ("tue at 12am", "0 0 * * TUE"),
        ("monday and thursday at 9 pm", "0 21 * * MON,THU"),
        ("mon, wed and fri at 7:15", "15 7 * * MON,WED,FRI"),
        ("monday to thursday at midnight", "0 0 * * MON-THU"),
        ("friday to monday at 9", "0 9 * * FRI,SAT,SUN,MON"),
        ("day at 9 and 17", "0 9,17 * * *"),
        ("day at 9:00, 17:30", "0 9 * * *; 30 17 * * *"),
        ("last friday of the month at 17:00", "0 17 * * 5L"),
        ("first sunday of the month at 8", "0 8 * * 0#1"),
        ("3rd tue of every month at 8", "0 8 * * 2#3"),
        ("last day of the month at 23:59", "59 23 L * *"),
        ("last weekday of the month at 5 pm", "0 17 LW * *"),
        ("15th of the month at 12:00", "0 12 15 * *"),
        ("1st and 15th of the month at 6", "0 6 1,15 * *"),
        ("the 1st of each month at 6", "0 6 1 * *"),
    ],
)
def test_words_compile_to_a_schedule(text: str, compiled: str) -> None:
    assert compile_every(text) == compiled
    parsed(compiled)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("day", "'day at 09:00'"),
        ("week", "1w"),
        ("monday", "'monday at 09:00'"),
        ("weekdays", "'weekdays at 09:00'"),
        ("monday morning", "weekday at 18:30"),
        ("now and then", "weekday at 18:30"),
        ("mondya at 9", "monday"),
        ("other day at 9", ""),
        ("friday 13th at 9", ""),
        ("monday at 25", "18:30"),
        ("monday at 9:60", "18:30"),
        ("monday at 13pm", "6pm"),
        ("monday at 0am", "6pm"),
        ("monday at nine", "18:30"),
        ("monday at ", ""),
        ("32nd of the month at 1", ""),
        ("0th of the month at 1", ""),
        ("fifth monday of the month at 9", ""),
        ("２h at 9", ""),
    ],
)
def test_ambiguous_words_are_refused_with_a_suggestion(text: str, hint: str) -> None:
    with pytest.raises(Flaw) as refused:
        parsed(compile_every(text))
    assert hint in refused.value.hint
    assert 0 <= refused.value.position <= len(text)


@pytest.mark.parametrize(
    ("text", "compiled"),
    [
        ("tomorrow 09:00", "2026-11-24T09:00"),
        ("tomorrow at 9", "2026-11-24T09:00"),
        ("9pm today", "2026-11-23T21:00"),
        ("today 9:00", "2026-11-23T09:00"),  # that it is past is for others to say
        ("monday 21:00", "2026-11-23T21:00"),
        ("monday 20:00", "2026-11-30T20:00"),
        ("friday at noon", "2026-11-27T12:00"),
        ("18:00 on sunday", "2026-11-29T18:00"),
        ("2026-12-24T18:00", "2026-12-24T18:00"),
        ("yesterday 9:00", "yesterday 9:00"),
        ("next friday 10:00", "next friday 10:00"),
    ],
)
def test_a_day_and_a_time_are_the_next_such_moment(text: str, compiled: str) -> None:
    assert compile_at(text, MONDAY) == compiled


@pytest.mark.parametrize("text", ["tomorrow", "today", "friday", "tomorrow 25:00", "tomorrow morning"])
def test_a_day_without_a_time_is_refused(text: str) -> None:
    with pytest.raises(Flaw):
        compile_at(text, MONDAY)


_WORDS = [
    "monday",
    "mon",
    "day",
    "weekday",
    "last",
    "first",
    "of the month",
    "at",
    "9",
    "18:30",
    "and",
    ",",
    "to",
    "1st",
]


@given(st.lists(st.sampled_from(_WORDS), max_size=8).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_schedule_or_a_refusal(text: str) -> None:
    try:
        compiled = compile_every(text)
    except Flaw:
        return
    if compiled != text:
        parsed(compiled)


@pytest.mark.parametrize("words", ["first monday of the month", "15th of the month", "weekdays", "monday and friday"])
def test_days_without_a_time_are_refused_as_missing_the_time(words: str) -> None:
    with pytest.raises(Flaw, match="names no time of day") as caught:
        compile_every(words)
    assert caught.value.hint == f"write '{words} at 09:00'"
    compile_every(f"{words} at 09:00")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("daily", "'day at 09:00'"),
        ("daily at 7", "'day at 7'"),
        ("hourly", "1h"),
        ("month", "first day of the month"),
        ("quarter", "--cron"),
        ("half hour", "30m"),
    ],
)
def test_other_words_are_refused_with_a_correct_form(words: str, hint: str) -> None:
    with pytest.raises(Flaw) as caught:
        compile_every(words)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0 9 * * *", "--cron '0 9 * * *'"),
        ("0 9 * * MON; 30 17 * * FRI", "--cron '0 9 * * MON; 30 17 * * FRI'"),
        ("@daily", "--cron '@daily'"),
        ("@every 10s", "10s"),
        ("*/5", "5m"),
        ("after 20m", "--after '20m'"),
        ("calendar Mon..Fri 09:00", "--calendar 'Mon..Fri 09:00'"),
        ("17:00", "'day at 17:00'"),
        ("at 5pm", "'day at 5pm'"),
    ],
)
def test_a_schedule_of_another_option_is_refused_with_that_option(text: str, hint: str) -> None:
    with pytest.raises(Flaw, match="is no interval") as caught:
        compile_every(text)
    assert caught.value.hint == f"write {hint}"


@pytest.mark.parametrize(("text", "duration"), [("2 hours", "2h"), ("5 Min", "5m"), ("10s", "10s"), ("soon", "soon")])
def test_a_duration_may_be_in_words(text: str, duration: str) -> None:
    assert compile_duration(text) == duration


@pytest.mark.parametrize(
    ("words", "stored"), [("5 min", "5m"), ("2 hrs", "2h"), ("30 secs", "30s"), ("5minutes", "5m")]
)
def test_units_may_be_spelt(words: str, stored: str) -> None:
    assert compile_every(words) == stored


def test_a_range_of_days_needs_no_blanks() -> None:
    assert compile_every("monday-friday at 9") == "0 9 * * MON-FRI"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("noon", "today noon"),
        ("09:00", "tomorrow 09:00"),
        ("now", "--once"),
        ("in 5 m", "--in 5m"),
        ("in 2 hours", "--in 2h"),
        ("25:00", "write 9:00"),
    ],
)
def test_a_time_without_a_day_is_refused_with_a_correct_form(words: str, hint: str) -> None:
    with pytest.raises(Flaw) as caught:
        compile_at(words, datetime(2026, 11, 24, 12))
    assert hint in caught.value.hint
