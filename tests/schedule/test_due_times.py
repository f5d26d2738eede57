"""What each kind of schedule means, as a table: the string, its zone, a moment, and the due times that follow."""

import pytest

from jobd.clock import DAY, SECOND
from jobd.schedule import Schedule, is_at_start, parse
from jobd.schedule.window import Shifted, Window, offset_of
from tests.schedule.moments import NOW, due_times, moment, parsed, shown

BERLIN, HOWE, PAULO, APIA = "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"

CRON = [
    # string, zone, from, the next due times (date left out where it is the day before's)
    ("*/5 * * * *", "UTC", "2026-11-23 20:04:59", ["2026-11-23 20:05:00", "2026-11-23 20:10:00"]),
    ("0 0 13 * 5", "UTC", "2026-11-01", ["2026-11-06 00:00:00", "2026-11-13 00:00:00", "2026-11-20 00:00:00"]),
    ("0 0 13 * *", "UTC", "2026-11-01", ["2026-11-13 00:00:00", "2026-12-13 00:00:00"]),
    ("0 0 */2 * 1", "UTC", "2026-11-01", ["2026-11-09 00:00:00", "2026-11-23 00:00:00"]),
    ("0 0 L * *", "UTC", "2027-02-01", ["2027-02-28 00:00:00", "2027-03-31 00:00:00"]),
    ("0 0 LW * *", "UTC", "2027-02-01", ["2027-02-26 00:00:00", "2027-03-31 00:00:00"]),
    ("0 0 * * 5L", "UTC", "2026-11-23", ["2026-11-27 00:00:00", "2026-12-25 00:00:00"]),
    ("0 0 * * FRI#2", "UTC", "2026-11-23", ["2026-12-11 00:00:00", "2027-01-08 00:00:00"]),
    ("0 0 29 2 *", "UTC", "2096-03-01", ["2104-02-29 00:00:00", "2108-02-29 00:00:00"]),
    ("0 0 1 jan-mar/2 *", "UTC", "2026-11-23", ["2027-01-01 00:00:00", "2027-03-01 00:00:00"]),
    ("0 0 * * 7", "UTC", "2026-11-23", ["2026-11-29 00:00:00", "2026-12-06 00:00:00"]),
    ("6-6/2 * * * *", "UTC", "2026-11-23 20:00", ["2026-11-23 20:06:00", "2026-11-23 21:06:00"]),
    ("0 0 * * mon-mon/2", "UTC", "2026-11-24", ["2026-11-30 00:00:00", "2026-12-07 00:00:00"]),
    ("*/20 * * * * *", "UTC", "2026-11-23 20:00:05", ["2026-11-23 20:00:20", "2026-11-23 20:00:40"]),
    ("@hourly", "UTC", "2026-11-23 20:20:13", ["2026-11-23 21:00:00", "2026-11-23 22:00:00"]),
    ("@daily", BERLIN, "2026-11-23 20:00", ["2026-11-24 00:00:00+0100", "2026-11-25 00:00:00+0100"]),
    ("@MIDNIGHT", "UTC", "2026-11-23 20:00", ["2026-11-24 00:00:00"]),
    ("@weekly", "UTC", "2026-11-23 20:00", ["2026-11-29 00:00:00"]),
    ("@monthly", "UTC", "2026-11-23 20:00", ["2026-12-01 00:00:00"]),
    ("@yearly", "UTC", "2026-11-23 20:00", ["2027-01-01 00:00:00", "2028-01-01 00:00:00"]),
    ("@annually", "UTC", "2026-11-23 20:00", ["2027-01-01 00:00:00"]),
    # A fixed time that the clocks skip is due right after the gap, once, ...
    ("30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00:00+0200", "2026-03-30 02:30:00+0200"]),
    ("0,30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00:00+0200", "2026-03-30 02:00:00+0200"]),
    ("0 30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00:00+0200", "2026-03-30 02:30:00+0200"]),
    ("10 2 * * *", HOWE, "2026-10-03 12:00", ["2026-10-04 02:30:00+1100", "2026-10-05 02:10:00+1100"]),
    ("0 0 * * *", PAULO, "2018-11-03 12:00", ["2018-11-04 01:00:00-0200", "2018-11-05 00:00:00-0200"]),
    ("30 9 * * *", APIA, "2011-12-29 12:00", ["2011-12-31 00:00:00+1400", "2011-12-31 09:30:00+1400"]),
    # ... one that comes twice is due the first time, ...
    ("30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30:00+0200", "2026-10-26 02:30:00+0100"]),
    ("0 30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30:00+0200", "2026-10-26 02:30:00+0100"]),
    ("30 2 * * *", BERLIN, "2026-10-25T02:10+01:00", ["2026-10-26 02:30:00+0100"]),
    # ... and what begins with a star follows the clocks.
    ("30 * * * *", BERLIN, "2026-03-29 01:00", ["2026-03-29 01:30:00+0100", "2026-03-29 03:30:00+0200"]),
    ("*/30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-30 02:00:00+0200", "2026-03-30 02:30:00+0200"]),
    # Several, one after the other.
    ("0 9 * * MON; 30 17 * * FRI", "UTC", "2026-11-23 10:00", ["2026-11-27 17:30:00", "2026-11-30 09:00:00"]),
    ("0 9 * * *;TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-11-23 10:00", ["2026-11-24 00:00:00", "2026-11-24 09:00:00"]),
    ("0 9 * * *; 0 9 * * *", "UTC", "2026-11-23 10:00", ["2026-11-24 09:00:00", "2026-11-25 09:00:00"]),
    # systemd's: what the clocks skip is not due, what they show twice is due once.
    ("calendar Mon..Fri *-*-* 09:00", "UTC", "2026-11-27 10:00", ["2026-11-30 09:00:00", "2026-12-01 09:00:00"]),
    ("calendar *-*~1 12:00", "UTC", "2027-02-01", ["2027-02-28 12:00:00", "2027-03-31 12:00:00"]),
    ("calendar weekly", "UTC", "2026-11-23 10:00", ["2026-11-30 00:00:00", "2026-12-07 00:00:00"]),
    ("calendar 09:00 Asia/Tokyo", "UTC", "2026-11-23 10:00", ["2026-11-24 00:00:00", "2026-11-25 00:00:00"]),
    ("calendar 02:30", BERLIN, "2026-03-28 12:00", ["2026-03-30 02:30:00+0200"]),
    ("calendar 02:30", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30:00+0200", "2026-10-26 02:30:00+0100"]),
    ("calendar *:0/30", BERLIN, "2026-10-25 02:10", ["2026-10-25 02:30:00+0200", "2026-10-25 03:00:00+0100"]),
    (
        "*/30 2 * * *",
        BERLIN,
        "2026-10-25 01:00",
        [f"2026-10-25 02:{at}" for at in ("00:00+0200", "30:00+0200", "00:00+0100", "30:00+0100")],
    ),
    ("*/15 3 * * *", HOWE, "2026-10-03 12:00", ["2026-10-04 03:00:00+1100", "2026-10-04 03:15:00+1100"]),
    ("*/30 0 * * *", PAULO, "2018-11-03 12:00", ["2018-11-05 00:00:00-0200"]),
    ("*/30 1 * * *", PAULO, "2018-11-03 12:00", ["2018-11-04 01:00:00-0200", "2018-11-04 01:30:00-0200"]),
]


@pytest.mark.parametrize(("text", "zone", "start", "expected"), CRON)
def test_cron_is_due_by_the_clocks_of_its_zone(text: str, zone: str, start: str, expected: list[str]) -> None:
    due, found = moment(start, zone), []
    for _ in expected:
        following = parsed(text, zone).after(due, 0)
        assert following is not None
        due = following
        found.append(shown(due, zone))
    assert found == [due if zone != "UTC" else f"{due}+0000" for due in expected]


@pytest.mark.parametrize(
    ("text", "field", "allowed"),
    [
        ("H * * * *", 0, range(60)),
        ("0 H(1-5) * * *", 1, range(1, 6)),
        ("0 0 H * *", 2, range(1, 29)),
        ("0 0 * * H", 4, range(7)),
    ],
)
def test_h_is_one_value_for_each_name_and_spreads_over_all(text: str, field: int, allowed: range) -> None:
    def value(name: str) -> int:
        return int(parse(text, False, "UTC", name).text.split()[1 + field])

    values = [value(f"job{number}") for number in range(1000)]
    assert set(values) == set(allowed)
    assert values == [value(f"job{number}") for number in range(1000)]


def test_h_with_a_step_starts_anywhere_within_it() -> None:
    minutes = {parse("H/15 * * * *", False, "UTC", f"job{number}").text.split()[1] for number in range(200)}
    assert minutes == {f"{first}-59/15" for first in range(15)}


def test_at_a_start_no_clock_makes_due() -> None:
    schedule = parsed("@Reboot")
    assert (schedule.on_event, schedule.first(NOW), schedule.after(NOW, NOW)) == (True, None, None)
    both = parsed("@reboot; 0 9 * * *")
    assert (both.on_event, shown(both.first(NOW))) == (True, "2026-11-24 09:00:00+0000")
    assert [is_at_start(text) for text in ("@reboot", "10s; @REBOOT", "TZ=UTC @reboot", "10s", None)] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_a_window_bounds_the_due_times() -> None:
    start, end = moment("2026-12-01T00:00Z"), moment("2026-12-03T09:00Z")
    daily = Window(parsed("0 9 * * *"), start, end)
    assert shown(daily.first(NOW)) == "2026-12-01 09:00:00+0000"
    assert [shown(due) for due in due_times(daily, NOW, end + DAY)] == [
        f"2026-12-0{day} 09:00:00+0000" for day in (1, 2, 3)
    ]
    assert Window(parsed("0 0 * * *"), start, None).first(NOW) == start
    interval = Window(parsed("10s"), start, end)
    assert (interval.first(NOW), interval.first(start + 5)) == (start, start + 5)
    assert Window(parsed("10s"), None, end).first(end + 1) is None


def test_jitter_is_one_offset_for_each_name() -> None:
    offsets = [offset_of(f"job{number}", 600 * SECOND) for number in range(1000)]
    assert min(offsets) >= 0
    assert max(offsets) <= 600 * SECOND
    assert len({offset // (60 * SECOND) for offset in offsets}) == 10
    assert offset_of("job1", 600 * SECOND) == offsets[1]
    assert Shifted(parsed("0 9 * * *"), 7).after(moment("2026-11-24T09:00Z"), 0) == moment("2026-11-24T09:00Z") + 7
    assert Shifted(parsed("10s"), 7).first(NOW) == NOW + 7


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("30 2 * * *", ["2026-03-29 02:30 is skipped", "2026-10-25 02:30 comes twice"]),
        ("30 3 * * *", []),
        ("*/30 * * * *", []),
        ("*/30 2 * * *", ["2026-03-29 02:00 is skipped by the clocks and not due", "due both times"]),
        ("30 2 * * SUN#1", []),
        ("0 0 13 * FRI", ["it is due when either matches"]),
        ("calendar 02:30", ["02:30 is skipped by the clocks and not due", "02:30 comes twice and is due the first"]),
        ("10s", []),
    ],
)
def test_a_surprising_schedule_has_a_note(text: str, notes: list[str]) -> None:
    found = parsed(text, BERLIN).notes(moment("2026-01-01T00:00Z"), moment("2027-01-01T00:00Z"))
    assert len(found) == len(notes)
    assert all(part in note for note, part in zip(found, notes, strict=True))


@pytest.mark.parametrize("text", ["10s", "every 10s", "@every 10s", "EVERY\t10s", " PT10S ", "TZ=Europe/Berlin 10s"])
def test_an_interval_is_due_at_once_and_then_on_the_grid(text: str) -> None:
    schedule = parsed(text)
    assert (schedule.at_once, schedule.aligned, schedule.from_finish) == (True, True, False)
    assert schedule.first(NOW) == NOW
    assert schedule.after(NOW, NOW) == NOW + 10_000_000
    assert schedule.after(NOW + 10_000_000 - 1, NOW) == NOW + 10_000_000
    assert schedule.after(NOW + 34_567_891, NOW) == NOW + 40_000_000


def test_a_delay_counts_from_the_end_of_the_run() -> None:
    schedule = parsed("after 1m")
    assert (schedule.at_once, schedule.aligned, schedule.from_finish) == (True, False, True)
    assert schedule.first(NOW) == NOW
    assert schedule.after(NOW + 7, NOW) == NOW + 60_000_007
    assert schedule.count(NOW, NOW + 10**12, NOW) == 0


def test_a_job_without_an_interval_is_due_once_at_once() -> None:
    schedule = parse(None, True, "UTC")
    assert (schedule.first(NOW), schedule.after(NOW, NOW), schedule.at_once) == (NOW, None, True)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("at 2026-12-24T18:00:00+01:00", "UTC", "2026-12-24 17:00:00+0000"),
        ("at 2026-12-24T18:00Z", "Asia/Tokyo", "2026-12-25 03:00:00+0900"),
        ("at 2026-12-24 18:00:00", BERLIN, "2026-12-24 18:00:00+0100"),
        ("TZ=Asia/Kathmandu at 2026-12-24T18:00", "Asia/Kathmandu", "2026-12-24 18:00:00+0545"),
        ("at 2026-03-29T02:30:00", BERLIN, "2026-03-29 03:00:00+0200"),  # skipped: the first moment after the gap
        ("at 2026-10-25T02:30:00", BERLIN, "2026-10-25 02:30:00+0200"),  # comes twice: the first
        ("at 2026-10-04T02:01:00", HOWE, "2026-10-04 02:30:00+1100"),
        ("at 2011-12-30T12:00:00", APIA, "2011-12-31 00:00:00+1400"),
    ],
)
def test_a_time_is_due_once(text: str, zone: str, expected: str) -> None:
    schedule = parsed(text, zone)
    due = schedule.first(NOW)
    assert due is not None
    assert shown(due, zone) == expected
    assert (schedule.after(due - 1, due), schedule.after(due, due)) == (due, None)
    assert (schedule.count(due - 1, due, due), schedule.count(due, due + 1, due)) == (1, 0)


def test_a_time_keeps_its_microseconds() -> None:
    assert parsed("at 2026-12-24T18:00:00.123456Z").first(NOW) == moment("2026-12-24T18:00:00.123456Z")
    assert parsed("at 2026-12-24T18:00:00.123456", BERLIN).first(NOW) == moment("2026-12-24T17:00:00.123456Z")


def test_the_zone_in_the_string_wins_over_the_default() -> None:
    assert shown(parsed("TZ=Asia/Tokyo 0 9 * * *", BERLIN).first(NOW)) == "2026-11-24 00:00:00+0000"


@pytest.mark.parametrize(
    ("text", "canonical", "words"),
    [
        ("@every 90s", "1m30s", "every 1m30s"),
        ("PT1H", "1h", "every 1h"),
        ("after 0h5m", "after 5m", "5m after the end of the last run"),
        ("@daily", "TZ=Europe/Berlin 0 0 * * *", "at 00:00 every day (Europe/Berlin)"),
        ("30-30/10  * * * *", "TZ=Europe/Berlin 30 * * * *", "at minute 30 of every hour (Europe/Berlin)"),
        ("at 2026-12-24T18:00", "at 2026-12-24T17:00:00.000000Z", "once, at 2026-12-24 18:00:00+01:00"),
    ],
)
def test_a_schedule_describes_itself(text: str, canonical: str, words: str) -> None:
    schedule = parsed(text, BERLIN)
    assert (schedule.text, schedule.describe()) == (canonical, words)
    again = parsed(schedule.text, "Asia/Tokyo")
    assert again.text == canonical
    assert again.after(NOW, NOW) == schedule.after(NOW, NOW)


def test_due_times_are_counted_by_arithmetic_or_the_count_stops_in_time() -> None:
    assert parsed("10ms").count(0, NOW, 0) == NOW // 10_000
    assert parsed("* * * * * *").count(NOW, NOW + 10**12, 0) == 1_000_000
    assert parsed("10ms; 1s").count(0, NOW, 0) == 10_000
    assert parsed("calendar *:*:*").count(NOW, NOW + 10**12, 0) == 10_000


def test_the_calendar_has_an_end() -> None:
    schedule: Schedule = parsed("0 0 29 2 *", BERLIN)
    assert schedule.after(moment("9996-03-01T00:00Z"), 0) is None
    assert schedule.after(moment("9997-12-31T00:00Z"), 0) is None


def test_equal_strings_are_parsed_once() -> None:
    assert parsed("*/7 * * * *") is parsed("*/7 * * * *")
    assert parsed("*/7 * * * *", BERLIN) is not parsed("*/7 * * * *")
