"""Typed schedules: valid ones are echoed, and invalid ones are shown with the place of the error."""

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "interval"),
    [
        (["--every", "weekday at 18:30"], "30 18 * * MON-FRI"),
        (["--every", "last friday of the month at 17:00"], "0 17 * * 5L"),
        (["--every", "day at 9:00, 17:30"], "0 9 * * *; 30 17 * * *"),
        (["--calendar", "Mon..Fri *-*-* 09:00"], "calendar Mon..Fri *-*-* 09:00"),
        (["--cron", "H H(1-5) * * *"], "H H(1-5) * * *"),
        (["--interval", "10s; 0 3 * * *"], "10s; 0 3 * * *"),
        (["--interval", "@reboot"], "@reboot"),
    ],
)
def test_the_parsed_schedule_is_stored_and_shown_with_the_next_times(
    jobd: Cli, words: list[str], interval: str
) -> None:
    printed = jobd.fine("add", "hello", *words).out
    assert interval in printed
    assert printed.count("+01:00") + printed.count("+02:00") >= 2 or interval in ("@reboot", "10s; 0 3 * * *")
    assert jobd.fine("show", "hello", "--json").json["interval"] == interval
    (jobd.folder / "all.toml").write_text(jobd.fine("export").out)
    assert "nothing to do" in jobd.fine("apply", "all.toml", "--prune").out


@pytest.mark.parametrize(
    "words",
    [["--once", "--", "x\udcff"], ["--once", "--task", "\udcff", "--force"], ["--once", "--pool", "\udcff"]],
)
def test_text_that_is_not_utf_8_is_refused(jobd: Cli, words: list[str]) -> None:
    answer = jobd("add", "hello", *words)
    assert (answer.code, "is not UTF-8" in answer.err) == (2, True), answer
    for options in (["--cron", "\udcff * * * *"], ["--arg", "a=\udcff", "--once"], ["--calendar", "\udcff"]):
        assert jobd("add", "hello", *options).code == 2


def test_a_day_and_a_time(jobd: Cli) -> None:
    assert "next due" in jobd.fine("add", "hello", "--at", "tomorrow 09:00").out
    assert jobd.fine("show", "hello", "--json").json["next_due"][11:16] in ("08:00", "07:00")


@pytest.mark.parametrize(
    ("words", "caret", "hint"),
    [
        (["--cron", "*/0 * * * *"], 0, "0 to 59"),
        (["--cron", "0 5-1 * * *"], 2, "write 5-23,0-1"),
        (["--cron", "60 * * * *"], 0, "0 to 59"),
        (["--cron", "* * * *"], 7, "cron has five"),
        (["--cron", "0 0 30 2 *"], 4, "never be due"),
        (["--cron", "TZ=Mars/Base 0 0 * * *"], 3, "Europe/Berlin"),
        (["--cron", "* " * 5000], 255, "at most 255"),
        (["--interval", "every 0s"], 6, "10ms"),
        (["--interval", "every -1h"], 6, "1h30m"),
        (["--interval", "after"], 5, "10s"),
        (["--every", "1h1h"], 3, "1h30m"),
        (["--every", "1.5.2s"], 1, "1h30m"),
        (["--every", "１０s"], 0, "10s"),
        (["--every", "mondya at 9"], 0, "did you mean monday?"),
        (["--every", "monday at 25"], 10, "18:30"),
        (["--interval", "10s; */0 * * * *"], 5, "0 to 59"),
        (["--interval", "10s; after 5s"], 5, "job of its own"),
        (["--calendar", "Mon *-*-* 25:00"], 19, "as systemd does"),
        (["--at", "yesterday"], 3, "2026-12-24"),
    ],
)
def test_an_unreadable_schedule_is_shown_with_the_place_of_the_error(
    jobd: Cli, words: list[str], caret: int, hint: str
) -> None:
    answer = jobd("add", "hello", *words)
    assert answer.code == 2
    message, _, place = answer.err.splitlines()
    assert hint in message
    assert place.index("^") - 2 == min(caret, 60)
    assert jobd("show", "hello").code != 0


def test_a_schedule_that_is_past_or_never_due_needs_force(jobd: Cli) -> None:
    for words in (["--at", "2020-01-01T00:00"], ["--cron", "0 0 1 1 *", "--end", "2026-12-01T00:00"]):
        assert jobd("add", "hello", *words).code == 2
    assert (
        "before the start"
        in jobd("add", "hello", "--every", "1h", "--start", "2030-01-01T00:00", "--end", "2029-01-01T00:00").err
    )
    assert "due at once" in jobd.fine("add", "hello", "--at", "2020-01-01T00:00", "--force").out


def test_next_accepts_a_schedule_that_no_job_has(jobd: Cli) -> None:
    words = ["next", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2027-03-27T12:00", "-n", "2"]
    assert [one["due"][:16] for one in jobd.fine(*words, "--json").json] == ["2027-03-28T01:00", "2027-03-29T00:30"]
    printed = jobd.fine(*words).out
    assert "at 02:30 every day (Europe/Berlin)" in printed
    assert "note: 2027-03-28 02:30 is skipped by the clocks: it is due right after" in printed
    assert "either matches" in jobd.fine("next", "--cron", "0 0 13 * FRI").out
    jobd.fine("add", "hello", "--cron", "30 2 * * *")
    assert "note" in jobd.fine("show", "hello").out
    assert jobd("next", "hello", "--cron", "@daily").code == 2
    assert "never due" in jobd.fine("next", "--cron", "0 0 2 1 *", "--from", "9998-12-31T00:00").out
    assert jobd.fine("next", "--after-job", "hello").out == "when hello has succeeded\n"
    assert jobd("next", "--at", "tomorrow 09:00", "--tz", "Mars/X").err.startswith("jobd: error: there is no time zone")
    assert len(jobd.fine("next", "hello", "--from", "2030-01-01T00:00", "-n", "3", "--json").json) == 3


def test_days_to_skip_come_from_a_file_or_a_calendar(jobd: Cli) -> None:
    with (jobd.folder / "jobd.toml").open("a") as config:
        config.write('[calendar.holidays]\ndates = ["2026-12-24..2027-01-01"]\n')
    (jobd.folder / "days.txt").write_text("# closed\n2026-12-25  # Christmas\n\n05-01\n")
    jobd.fine("add", "hello", "--every", "day at 9", "--skip-dates", "holidays", "--instead", "next")
    jobd.fine("add", "report", "--every", "day at 9", "--skip-dates", "days.txt")
    assert jobd.fine("show", "hello", "--json").json["skip_dates"] == ["2026-12-24..2027-01-01"]
    assert jobd.fine("show", "report", "--json").json["skip_dates"] == ["2026-12-25", "05-01"]
    due = jobd.fine("next", "report", "--from", "2026-12-24T12:00", "-n", "1", "--json").json
    assert due[0]["due"].startswith("2026-12-26")
    (jobd.folder / "all.toml").write_text(jobd.fine("export").out)
    assert "nothing to do" in jobd.fine("apply", "all.toml", "--prune").out
    for wrong in ("nowhere.txt", "plugins/greet.py"):
        assert jobd("add", "x", "--task", "hello", "--every", "1d", "--skip-dates", wrong).code == 2
    jobd.fine("set", "report", "--skip-dates", "default")
    assert "skip_dates" not in jobd.fine("show", "report", "--json").json


def test_jobs_after_jobs(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "day at 9")
    assert "when hello has succeeded" in jobd.fine("add", "report", "--after-job", "hello").out
    assert "it is due when hello has succeeded" in jobd.fine("next", "report").out
    assert jobd("set", "hello", "--after-job", "report").code == 2
    assert jobd("add", "x", "--task", "hello", "--after-job", "nobody").code == 2
    assert jobd("add", "x", "--task", "hello", "--after-job", "hello", "--every", "1h").code == 2
    (jobd.folder / "all.toml").write_text(jobd.fine("export").out)
    assert "nothing to do" in jobd.fine("apply", "all.toml", "--prune").out
    jobd.fine("set", "report", "--every", "1h")
    assert "after_jobs" not in jobd.fine("show", "report", "--json").json


@pytest.mark.parametrize("words", [["--every", "3650d"], ["--interval", "after 3650d"], ["--cron", "0 0 31 12 *"]])
def test_a_job_whose_due_times_reach_the_last_year_ends_no_command(jobd: Cli, words: list[str]) -> None:
    jobd.fine("add", "far", "--task", "hello", *words, "--start", "9998-12-30T00:00", "--jitter", "3h")
    jobd.fine("add", "near", "--task", "hello", "--every", "1h")
    assert "near" in jobd.fine("list").out
    assert "near" in jobd.fine("next", "-n", "5").out
    jobd.fine("show", "far")
    jobd.fine("next", "far", "-n", "5")


@pytest.mark.parametrize("zone", ["", "localtime", "UTC+2"])
def test_an_unknown_zone_is_refused_also_when_nothing_is_stored(jobd: Cli, zone: str) -> None:
    answer = jobd("next", "--cron", "0 9 * * *", "--tz", zone)
    assert (answer.code, "there is no time zone" in answer.err, "localtime?" in answer.err) == (2, True, False), answer


def test_a_cron_expression_may_be_separated_by_tabs(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--cron", "0\t9\t*\t*\t*")
    assert "09:00" in jobd.fine("show", "hello").out
