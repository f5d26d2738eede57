"""Each clock time comes once when the zone of a stored due time or the rules of that zone change."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd import lifecycle
from jobd.clock import DAY, HOUR, MINUTE, SECOND
from jobd.definition import with_defaults
from jobd.fingerprint import follows_another
from jobd.job import Job, JobState, Options, zone_of
from jobd.schedule.zone import clock_time, find_zone
from tests.schedule.moments import moment, shown

BERLIN, TOKYO, NEW_YORK = "Europe/Berlin", "Asia/Tokyo", "America/New_York"
ZONES = [
    BERLIN,
    TOKYO,
    NEW_YORK,
    "UTC",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
]
DAILY = "30 9 * * *"


def planned(interval: str, now: int, zone: str, old: JobState | None = None, **more: Any) -> JobState:
    return lifecycle.after_change(Job("a", interval, id=1, options=Options(**more)), old, now, zone)


def after_run(interval: str, state: JobState, zone: str) -> JobState:
    """The state after the run that is due has succeeded at once."""
    due = state.due or 0
    ended = lifecycle.Ended("succeeded", due, due + SECOND)
    job = with_defaults(Job("a", interval, id=1), Options())
    return lifecycle.after_attempt(job, state, ended, zone, 0.5).state


def test_the_next_clock_time_moves_with_the_zone() -> None:
    now = moment("2026-11-24T12:00", BERLIN)
    state = planned(DAILY, now, BERLIN)
    assert shown(state.due, BERLIN) == "2026-11-25 09:30:00+0100"
    state = planned(DAILY, now, TOKYO, state)
    assert shown(state.due, TOKYO) == "2026-11-25 09:30:00+0900"
    assert (state.ready, state.missed, zone_of(state.fingerprint)) == (state.due, 0, (TOKYO, False))


def test_westwards_a_daily_job_runs_once_in_a_local_day() -> None:
    state = planned(DAILY, moment("2026-11-24T09:00", TOKYO), TOKYO)
    state = after_run(DAILY, state, TOKYO)  # at 01:30 in Berlin
    state = planned(DAILY, moment("2026-11-24T02:00", BERLIN), BERLIN, state)
    assert shown(state.due, BERLIN) == "2026-11-25 09:30:00+0100"


def test_due_times_skipped_by_a_change_of_three_hours_or_more_are_counted() -> None:
    now = moment("2026-11-24T08:00", BERLIN)
    state = planned(DAILY, now, TOKYO, planned(DAILY, now, BERLIN))
    assert (shown(state.due, TOKYO), state.missed) == ("2026-11-25 09:30:00+0900", 1)


def test_a_due_time_skipped_by_a_smaller_change_is_due_at_once() -> None:
    now = moment("2026-11-24T09:00", BERLIN)
    state = planned(DAILY, now, "Europe/Athens", planned(DAILY, now, BERLIN))
    assert shown(state.due, "Europe/Athens") == "2026-11-24 09:30:00+0200"
    assert state.due is not None
    assert state.due < now


def test_an_overdue_job_keeps_its_clock_time() -> None:
    """The daemon was down over 09:30 in Tokyo: that day's run is still to come in Berlin, once."""
    state = planned(DAILY, moment("2026-11-24T09:00", TOKYO), TOKYO)
    state = planned(DAILY, moment("2026-11-24T03:00", BERLIN), BERLIN, state)
    assert shown(state.due, BERLIN) == "2026-11-24 09:30:00+0100"


@pytest.mark.parametrize("interval", ["*/5 * * * *", "17 * * * *", "* * * * *"])
def test_a_wildcard_follows_the_real_hours(interval: str) -> None:
    now = moment("2026-11-24T12:01:30", BERLIN)
    for one, other in ((BERLIN, NEW_YORK), (NEW_YORK, TOKYO)):
        state = planned(interval, now, other, planned(interval, now, one))
        assert state.due is not None
        assert (now < state.due <= now + HOUR, state.missed) == (True, 0)


@pytest.mark.parametrize("interval", ["10s", "every 1h", "after 5m", "@reboot", "at 2026-12-24T18:00Z"])
@pytest.mark.parametrize("own", [None, BERLIN])
def test_a_schedule_without_clock_times_stays(interval: str, own: str | None) -> None:
    state = planned(interval, 1_000 * DAY, BERLIN, timezone=own)
    later = planned(interval, 1_000 * DAY + 7 * SECOND, TOKYO, state, timezone=own and TOKYO)
    assert later == state
    assert zone_of(state.fingerprint) == ("", False)


def test_a_time_without_an_offset_moves_and_a_past_one_stays_past() -> None:
    now = moment("2026-12-23T12:00Z")
    at = "at 2026-12-24T18:00"
    state = planned(at, now, BERLIN)
    moved = planned(at, now, NEW_YORK, state)
    assert shown(moved.due, NEW_YORK) == "2026-12-24 18:00:00-0500"
    done = after_run(at, state, BERLIN)
    assert done.due is None
    again = planned(at, now, NEW_YORK, done)
    assert (again.due, again.ready, zone_of(again.fingerprint)) == (None, None, (NEW_YORK, False))


def test_a_claimed_run_keeps_its_zone_to_its_end() -> None:
    """Its next due time follows the zone that it began in, and is moved from there."""
    job = with_defaults(Job("a", DAILY, id=1, retry_times=3), Options(backoff=MINUTE))
    state = planned(DAILY, moment("2026-11-24T09:00", TOKYO), TOKYO)
    due = state.due or 0
    waiting = lifecycle.after_attempt(job, state, lifecycle.Ended("failed", due, due + SECOND), TOKYO, 0.5).state
    assert waiting.attempt == 1
    now = due + 2 * SECOND
    assert lifecycle.after_change(job, waiting, now, BERLIN)._replace(pool="", token=0) == waiting._replace(
        pool="", token=0
    )
    over = lifecycle.after_attempt(job, waiting, lifecycle.Ended("succeeded", now, now), BERLIN, 0.5).state
    assert shown(over.due, TOKYO) == "2026-11-25 09:30:00+0900"
    assert shown(lifecycle.after_change(job, over, now, BERLIN).due, BERLIN) == "2026-11-25 09:30:00+0100"


def test_a_requested_run_keeps_its_time_and_the_regular_one_moves() -> None:
    now = moment("2026-11-24T12:00", BERLIN)
    state = lifecycle.request(planned(DAILY, now, BERLIN), now)
    moved = planned(DAILY, now, TOKYO, state)
    assert (moved.due, moved.ready, moved.manual) == (now, now, True)
    assert shown(moved.resume, TOKYO) == "2026-11-25 09:30:00+0900"


def test_the_parts_of_several_schedules_move_each_by_its_own_rule() -> None:
    now = moment("2026-11-24T12:01", BERLIN)
    text = f"*/5 * * * *; {DAILY}; TZ=Asia/Kolkata 0 18 * * *"
    state = planned(text, now, NEW_YORK, planned(text, now, BERLIN))
    assert shown(state.due, BERLIN) == "2026-11-24 12:05:00+0100"


def test_a_job_state_of_the_previous_version_keeps_its_due_time() -> None:
    """It did not say by which zone it was made. What is right by the present one stays, on the microsecond."""
    now = moment("2026-11-24T12:00", BERLIN)
    new = planned(DAILY, now, BERLIN)
    old = new._replace(fingerprint=f"0||{DAILY}", missed=3, number=7)
    assert planned(DAILY, now, BERLIN, old) == new._replace(missed=3, number=7)
    named = old._replace(fingerprint=f"0|{BERLIN}|{DAILY}")
    assert planned(DAILY, now, TOKYO, named, timezone=BERLIN).due == new.due
    overdue = old._replace(due=now - HOUR, ready=now - HOUR)
    assert planned(DAILY, now, BERLIN, overdue).due == now - HOUR


@pytest.mark.parametrize("by", [-HOUR, HOUR, 0])
def test_new_rules_move_a_clock_time(by: int) -> None:
    """The due time was computed when the clocks were to be put forward or back by an hour, and they will not be."""
    now = moment("2026-11-24T12:00", BERLIN)
    job = Job("a", DAILY, id=1)
    right = lifecycle.after_change(job, None, now, BERLIN)
    due = (right.due or 0) + by
    assert lifecycle.after_zone_change(job, right._replace(due=due, ready=due), now, BERLIN) == right


def test_new_rules_keep_a_due_time_that_has_passed_under_them() -> None:
    now = moment("2026-11-25T09:45", BERLIN)
    due = moment("2026-11-25T10:30", BERLIN)  # was 09:30 by the old rules, which by the new ones has passed
    job = Job("a", DAILY, id=1)
    state = lifecycle.after_change(job, None, now, BERLIN)._replace(due=due, ready=due)
    assert lifecycle.after_zone_change(job, state, now, BERLIN).due == due


def clock(text: int | None, zone: str) -> datetime:
    assert text is not None
    return clock_time(text, find_zone(zone))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40 * 24), st.sampled_from(ZONES)), min_size=1, max_size=5),
    st.integers(0, 23),
    st.integers(0, 59),
    st.sampled_from(ZONES),
)
def test_however_the_zone_moves_each_day_has_one_run_or_is_counted(
    moves: list[tuple[int, str]], hour: int, minute: int, zone: str
) -> None:
    interval = f"{minute} {hour} * * *"
    now = start = moment("2027-03-01T00:00Z")
    state, days = planned(interval, now, zone), []
    for hours, to in [*sorted(moves), (60 * 24, zone)]:
        until = start + hours * HOUR
        while state.due is not None and state.due <= until:
            days.append(clock(state.due, zone).date())
            now = max(now, state.due) + SECOND
            state = after_run(interval, state, zone)
        now = max(now, until)
        state, zone = planned(interval, now, to, state), to
    assert len(days) == len(set(days))
    assert (days[-1] - days[0]) // timedelta(days=1) + 1 <= len(days) + state.missed
    assert days == sorted(days)


def test_the_zones_of_this_table_exist() -> None:
    assert [ZoneInfo(name).key for name in ZONES] == ZONES


KINDS = (
    "10s", "13ms3us", "after 5m", "every 10s", "@every 10s", "1h; 30m", "@reboot", "1h; @reboot", DAILY, "@daily",
    "TZ=Asia/Tokyo 30 9 * * *", "1h; TZ=Asia/Tokyo 30 2 * * *", "calendar Mon..Fri *-*-* 02:30", "H H(1-3) * * *",
    "at 2030-10-25T02:30:00", "at 2030-10-25T02:30:00Z", "at 2030-10-25T02:30:00+02:00",
    "TZ=UTC at 2030-10-25T02:30:00",
)  # fmt: skip
MORE: list[dict[str, Any]] = [
    {},
    {"jitter": 5 * SECOND},
    {"starts": moment("2026-01-01T00:00Z"), "ends": moment("2040-01-01T00:00Z")},
    {"skip_dates": ("2026-12-25",)},
    {"timezone": NEW_YORK},
]


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("interval", KINDS)
def test_a_job_state_planned_for_a_zone_follows_no_other(interval: str, more: dict[str, Any]) -> None:
    """Or it would be made again after each run."""
    state = planned(interval, moment("2026-11-24T12:00Z"), BERLIN, **more)
    assert state.error is None
    assert not follows_another(state.fingerprint, BERLIN), state.fingerprint
