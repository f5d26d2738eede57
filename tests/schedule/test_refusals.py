"""Nonsense is refused when it is entered, with the reason, the place and what is allowed there."""

import time

import pytest

from jobd.clock import DAY
from jobd.errors import BadValue
from jobd.schedule import ScheduleError, parse
from tests.schedule.moments import NOW, due_times

REFUSED = [
    # string, position (from 0), a part of the message, a part of the hint
    ("", 0, "empty", "10s"),
    ("   ", 0, "empty", "10s"),
    ("10", 2, "no unit", "did you mean 10s?"),
    ("every  1h30", 11, "no unit", "did you mean 1h30m?"),
    ("0s", 0, "shorter than 10 ms", "10ms"),
    ("9ms", 0, "shorter than 10 ms", "10ms"),
    ("-5s", 0, "a number is expected, not '-'", "10s"),
    ("1.5s", 1, "a whole number", "250ms"),
    ("nan", 0, "a number is expected", "10s"),
    ("1e3s", 1, "'e' is not a unit", "ms"),
    ("30m1h", 4, "after a smaller unit", "1h30m"),
    ("1h1h", 3, "stands twice", ""),
    ("1M", 1, "'M' is not a unit", "m"),
    ("٣s", 0, "a number is expected", ""),
    ("3３s", 1, "a whole number", ""),
    ("3651d", 0, "longer than ten years", "3650d"),
    ("9" * 60 + "d", 0, "longer than ten years", ""),
    ("P1Y", 2, "'Y' is not a unit", "W, D"),
    ("P1M", 2, "'M' is not a unit", "W, D"),
    ("PT", 2, "ends too early", "PT10S"),
    ("P", 1, "ends too early", ""),
    ("P1DT", 4, "ends too early", ""),
    ("PT5", 3, "no unit", ""),
    ("10s\0", 3, "a number is expected", ""),
    ("after", 5, "empty", "10s"),
    ("after 5", 7, "no unit", "did you mean 5s?"),
    ("5 m", 3, "2 fields", "no blanks"),
    ("* * * *", 7, "4 fields", "cron has five"),
    ("* * * * * * *", 12, "7 fields", "year"),
    ("60 * * * *", 0, "bad minute '60'", "0 to 59"),
    ("0,5,99-100 * * * *", 4, "bad minute '99-100'", "0 to 59"),
    ("0 24 * * *", 2, "bad hour '24'", "0 to 23"),
    ("0 0 0 * *", 4, "bad day of month '0'", "1 to 31"),
    ("0 0 15W * *", 4, "bad day of month '15W'", "LW is"),
    ("0 0 * 13 *", 6, "bad month '13'", "JAN to DEC"),
    ("0 0 * MON *", 6, "bad month 'MON'", "JAN to DEC"),
    ("0 0 * * 8", 8, "bad day of week '8'", "SUN to SAT"),
    ("0 0 * * MON#6", 8, "bad day of week 'MON#6'", "FRI#2"),
    ("0 0 * * ſun", 8, "bad day of week", "SUN to SAT"),
    ("61 * * * * *", 0, "bad second '61'", "0 to 59"),
    ("*/0 * * * *", 0, "bad minute '*/0'", "steps"),
    ("*/-1 * * * *", 0, "bad minute", ""),
    ("1,,2 * * * *", 2, "bad minute ''", ""),
    ("*-5 * * * *", 0, "bad minute", ""),
    ("٣ * * * *", 0, "bad minute", "0 to 59"),
    ("*/90 * * * *", 0, "leaves one minute, 0", "90m"),
    ("*/60 * * * *", 0, "leaves one minute", "60m"),
    ("*/75 * * * * *", 0, "leaves one second", "75s"),
    ("0 */36 * * *", 2, "leaves one hour", "36h"),
    ("0 0 */45 * *", 4, "leaves one day of month, 1", "45d"),
    ("0 0 1 */12 *", 6, "leaves one month, 1", "write 1"),
    ("0 0 * * */7", 8, "leaves one day of week, 0", "write 0"),
    ("8-18/60 * * * *", 0, "leaves one minute, 8", "write 8"),
    ("5/90 * * * *", 0, "leaves one minute, 5", "write 5"),
    ("H/60 * * * *", 0, "leaves one minute", "60m"),
    ("0 9 * OCT-FEB *", 6, "runs backwards", "write OCT-DEC,JAN-FEB"),
    ("0 9 * * 5-1", 8, "runs backwards", "write 5-6,0-1"),
    ("0 9 * OCT-FEB/2 *", 6, "runs backwards", "two ranges"),
    ("0 0 12 ? * MON-FRI", 7, "bad day of month '?'", "write *"),
    ("0 9 * * ?", 8, "bad day of week '?'", "Quartz"),
    ("0 9 L-3 * *", 4, "bad day of month", "calendar *-*~04"),
    ("0 9 * * Monday", 8, "bad day of week", "did you mean MON?"),
    ("0 9 * JANUARY *", 6, "bad month", "did you mean JAN?"),
    ("0~59 * * * *", 0, "bad minute '0~59'", "write H(0-59)"),
    ("~ * * * *", 0, "bad minute '~'", "write H"),
    ("CRON_TZ=Asia/Tokyo 0 9 * * *", 0, "CRON_TZ= is not known", "TZ=Asia/Tokyo 0 9"),
    ("tz=Asia/Tokyo 0 9 * * *", 0, "tz= is not known", "TZ=Asia/Tokyo 0 9"),
    ("*/5 * * * * root /usr/bin/x", 12, "'root' is no field", "no user and no command"),
    ("*/5 * * * * root", 12, "'root' is no field", "no user and no command"),
    ("*/5 * * * * /usr/bin/x -y", 12, "'/usr/bin/x' is no field", "after --"),
    ("Asia/Tokyo 0 9 * * *", 0, "a time zone is no field", "write 'TZ=Asia/Tokyo 0 9 * * *'"),
    ("0 9 * * * Asia/Tokyo", 10, "a time zone is no field", "write 'TZ=Asia/Tokyo 0 9 * * *'"),
    ("0 9 * * * CRON_TZ=UTC", 10, "a time zone is no field", "write 'TZ=UTC 0 9 * * *'"),
    ("cron(0 12 * * ? *)", 0, "AWS", "* for ?"),
    ("rate(5 minutes)", 0, "AWS", "--every '5 minutes'"),
    ("0 0 12 1/1 * ? *", 15, "7 fields", "--start"),
    ("Mon..Fri 09:00", 14, "2 fields", "write calendar Mon..Fri 09:00"),
    ("@every_minute", 0, "not known", "* * * * *"),
    ("@startup", 0, "not known", "@reboot"),
    ("5min", 1, "'min' is not a unit", "did you mean 5m?"),
    ("calendar daily cet", 9, "", "did you mean CET?"),
    ("calendar 09:00:00.5", 9, "", "whole seconds"),
    ("calendar *:*:0/0.5", 9, "", "whole seconds"),
    ("calendar daily Europe/Berlln", 9, "no time zone", "did you mean Europe/Berlin?"),
    ("calendar @daily", 9, "", "write daily"),
    ("calendar @1234", 9, "", "as systemd does"),
    ("calendar CET", 9, "", "a zone alone is no time: write 09:00 CET"),
    ("TZ=local 0 0 * * *", 3, "no time zone", ""),
    ("TZ=localtime 0 0 * * *", 3, "no time zone", "write a name"),
    ("TZ=UTC+2 0 0 * * *", 3, "no time zone", ""),
    ("0 22-2 * * *", 2, "runs backwards", "write 22-23,0-2"),
    ("0 0 * * FRI-MON", 8, "runs backwards", "write FRI-SAT,SUN-MON"),
    ("30 2 31 2 *", 5, "no such day", "never be due"),
    ("30 2 30 2 *", 5, "no such day", "never be due"),
    ("0 0 31 4,6,9,11 *", 4, "no such day", "never be due"),
    ("0 0 */31 2 0#5", 4, "leaves one day of month", "31d"),
    ("0 0 */30 2 0#5", 4, "no such day", "never be due"),
    ("@dayly", 0, "not known", "did you mean @daily?"),
    ("@", 0, "not known", "@hourly"),
    ("at", 2, "missing", "2026-12-24T18:00:00+01:00"),
    ("at noon", 3, "not a time", "2026-12-24T18:00:00+01:00"),
    ("at 2026-12-24", 3, "not a time", "2026-12-24T18:00:00+01:00"),
    ("at 20261224T180000", 3, "not a time", ""),
    ("at 2026-W01-1T00:00", 3, "not a time", ""),
    ("at 2026-13-24T18:00", 8, "month '13'", ""),
    ("at 2026-02-30T18:00", 11, "day '30'", ""),
    ("at 2026-02-28T24:01", 14, "hour '24'", ""),
    ("at 2026-02-28T23:59:60", 20, "second '60'", ""),
    ("at 2026-02-28T23:59:59+25:00", 22, "offset '+25:00'", ""),
    ("at 1969-12-31T23:59", 3, "1969 is out of range", "1970 to 9998"),
    ("at 9999-01-01T00:00", 3, "9999 is out of range", "1970 to 9998"),
    ("TZ=Europe/Berlin", 16, "empty", "10s"),
    ("TZ= 10s", 3, "no time zone ''", "Europe/Berlin"),
    ("TZ=europe/berlin 0 0 * * *", 3, "no time zone", "did you mean Europe/Berlin?"),
    ("  TZ=Europe/Berlln 10s", 5, "no time zone", "did you mean Europe/Berlin?"),
    ("TZ=Europe 0 0 * * *", 3, "no time zone", ""),
    ("TZ=/etc/localtime 10s", 3, "no time zone", ""),
    ("TZ=../zoneinfo/UTC 10s", 3, "no time zone", ""),
    ("TZ=right/Europe/Berlin 10s", 3, "no time zone", ""),
    ("TZ=Mars/\0 10s", 3, "no time zone", ""),
    ("TZ=Europe/Berlin  0 0 * 13 *", 24, "bad month '13'", "JAN to DEC"),
]


@pytest.mark.parametrize("text", ["TZ=local 0 0 * * *", "TZ=localtime 0 0 * * *", "TZ=posixrule 0 0 * * *"])
def test_no_name_is_suggested_that_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text, False, "UTC")
    for word in ("localtime", "posix", "right/", "Factory"):
        assert word not in caught.value.hint


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0 9 * * FRI-SUN", "0 9 * * 5-7"),
        ("0 9 * * SAT-SUN", "0 9 * * 6,0"),
        ("0 9 * * fri-sun/2", "0 9 * * 5,0"),
        ("0 9 * * 7-1", "0 9 * * 0,1"),
        ("0 9 * * 5-0", "0 9 * * 5,6,0"),
        ("0\t9\t*\t*\t*", "0 9 * * *"),
        ("TZ=UTC\t0\t9 *\t* *", "0 9 * * *"),
        ("calendar daily CET", "TZ=CET calendar daily"),
        ("calendar daily utc", "calendar daily"),
        ("calendar Mon 09:00 Japan", "TZ=Japan calendar Mon 09:00"),
        ("calendar Mon 09:00 EST5EDT", "TZ=EST5EDT calendar Mon 09:00"),
        ("calendar biannually", "calendar semiannually"),
        ("calendar semi-annually", "calendar semiannually"),
        ("calendar bi-annually UTC", "calendar semiannually"),
        ("TZ=utc 0 9 * * *", "0 9 * * *"),
    ],
)
def test_two_ways_to_write_the_same(text: str, same: str) -> None:
    one, other = parse(text, False, "UTC"), parse(same, False, "UTC")
    assert due_times(one, NOW, NOW + 400 * DAY) == due_times(other, NOW, NOW + 400 * DAY) != []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 21 * *", "on the 21st day"),
        ("0 9 22,31 * *", "on the 22nd and the 31st day"),
        ("0 9 13,23 * *", "on the 13th and the 23rd day"),
        ("0 9 11,12 * *", "on the 11th and the 12th day"),
        ("*/21 * * * *", "every 21st minute"),
    ],
)
def test_numbers_are_spelt_as_they_are_spoken(text: str, words: str) -> None:
    assert words in parse(text, False, "UTC").describe()


@pytest.mark.parametrize(("text", "position", "message", "hint"), REFUSED)
def test_nonsense_is_refused_at_its_place(text: str, position: int, message: str, hint: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text, False, "Europe/Berlin")
    error = caught.value
    assert message in str(error)
    assert hint in error.hint
    assert (error.text, error.position) == (text, position)
    assert f"(at position {position + 1})" in str(error)
    assert str(error).isascii()
    assert str(error).isprintable()
    assert error.hint.isprintable()


def test_neither_interval_nor_runonce_is_refused() -> None:
    with pytest.raises(ScheduleError, match="no interval"):
        parse(None, False, "UTC")


def test_an_unknown_default_zone_is_refused_where_a_zone_matters() -> None:
    assert parse("10s", False, "Mars/Phobos").first(5) == 5
    with pytest.raises(ScheduleError, match="no time zone 'Mars/Phobos'"):
        parse("0 0 * * *", False, "Mars/Phobos")


def test_a_schedule_error_is_a_bad_value() -> None:
    assert issubclass(ScheduleError, BadValue)


def test_the_caret_is_under_the_wrong_item() -> None:
    with pytest.raises(ScheduleError) as caught:
        parse("0,5,99 * * * *", False, "UTC")
    assert caught.value.picture == "0,5,99 * * * *\n    ^"


def test_the_caret_of_a_long_string_is_on_the_screen() -> None:
    with pytest.raises(ScheduleError) as caught:
        parse("1," * 100 + "\x1b * * * *", False, "UTC")
    shown, caret = caught.value.picture.split("\n")
    assert shown[caret.index("^")] == "?"
    assert len(shown) <= 100


@pytest.mark.parametrize("text", ["*" * 10_000, "1," * 5_000, "@" * 10_000, "TZ=" + "a/" * 5_000, "9" * 10_000])
def test_a_hostile_string_is_refused_at_once(text: str) -> None:
    begun = time.thread_time()
    with pytest.raises(ScheduleError, match=r"it has 1000[03] characters"):
        parse(text, False, "UTC")
    assert time.thread_time() - begun < 0.05


def test_the_longest_string_is_still_read() -> None:
    text = "0 0 * * *".rjust(255)
    assert parse(text, False, "UTC").text == "TZ=UTC 0 0 * * *"
    with pytest.raises(ScheduleError, match="256 characters"):
        parse(" " + text, False, "UTC")
