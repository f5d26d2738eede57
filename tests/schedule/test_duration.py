"""Durations: reading, writing, and reading back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.clock import DAY, HOUR, MAX_DURATION, MILLISECOND, MINUTE, SECOND, WEEK
from jobd.schedule.base import Flaw
from jobd.schedule.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250us", 250),
        ("250ms", 250 * MILLISECOND),
        ("10s", 10 * SECOND),
        ("5m", 5 * MINUTE),
        ("1h30m", HOUR + 30 * MINUTE),
        ("2d", 2 * DAY),
        ("1w2d3h4m5s6ms7us", WEEK + 2 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND + 6 * MILLISECOND + 7),
        ("007s", 7 * SECOND),
        ("90m", 90 * MINUTE),
        ("0s", 0),
        ("PT10S", 10 * SECOND),
        ("P1DT2H", DAY + 2 * HOUR),
        ("P2W", 2 * WEEK),
        ("PT1H30M5S", HOUR + 30 * MINUTE + 5 * SECOND),
        ("3650d", MAX_DURATION),
    ],
)
def test_a_duration_is_read(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0, "0s"), (1, "1us"), (90 * SECOND, "1m30s"), (DAY, "1d"), (WEEK, "1w"), (SECOND + 250 * MILLISECOND, "1s250ms")],
)
def test_a_duration_is_written_with_the_largest_units(duration: int, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.integers(0, MAX_DURATION))
def test_what_is_written_is_read_back(duration: int) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(st.sampled_from("0123456789PTwdhmsuWDHMS. -+\u0663"), max_size=70) | st.text(max_size=70))
def test_any_text_is_a_duration_or_a_flaw_in_it(text: str) -> None:
    try:
        duration, flaw = parse_duration(text), None
    except Flaw as error:
        duration, flaw = 0, error
    assert 0 <= duration <= MAX_DURATION
    assert flaw is None or (0 <= flaw.position <= len(text) and flaw.hint and str(flaw).isascii())
