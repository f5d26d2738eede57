"""The time zone of jobs that name none: one for all nodes and for commands in every shell."""

import json
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobd.clock import from_datetime
from tests.installation import Installation, until
from tests.schedule.test_moved import BERLIN, NEW_YORK, TOKYO


def due_in(installation: Installation, name: str) -> datetime:
    """The next due time of a job, as `show` has it."""
    shown: dict[str, Any] = installation.fine("show", name, "--json")
    return datetime.fromisoformat(shown["next_due"])


def clock_in(installation: Installation, name: str, zone: str) -> str:
    """What the clocks of `zone` show when the job is due."""
    return due_in(installation, name).astimezone(ZoneInfo(zone)).strftime("%H:%M")


def in_effect(installation: Installation, name: str, zone: str, clock: str) -> None:
    until(lambda: clock_in(installation, name, zone) == clock, f"{clock} in {zone}")
    found = [datetime.fromisoformat(one["due"]) for one in installation.fine("next", name, "-n", "3", "--json")]
    assert {due.astimezone(ZoneInfo(zone)).strftime("%H:%M") for due in found} == {clock}


def stop(installation: Installation) -> None:
    installation.fine("stop")


@pytest.fixture
def jobs(installation: Installation) -> Installation:
    """An installation whose daemon's TZ is Berlin, with a daily job and what else follows a zone."""
    installation.environ["TZ"] = BERLIN
    installation.foreground()
    for name, words in {
        "daily": ("--cron", "30 9 * * *"),
        "systemd": ("--calendar", "*-*-* 09:30"),
        "once": ("--at", "2030-01-01T09:30"),
        "interval": ("--every", "7h"),
        "own": ("--cron", "30 9 * * *", "--tz", BERLIN),
    }.items():
        installation.fine("add", name, "--task", "hello", *words)
    installation.ended("interval")
    return installation


def test_a_daemon_in_another_zone_moves_the_waiting_due_times(jobs: Installation) -> None:
    own, interval = due_in(jobs, "own"), due_in(jobs, "interval")
    for zone in (TOKYO, NEW_YORK, BERLIN):
        stop(jobs)
        jobs.environ["TZ"] = zone
        jobs.foreground()
        for name in ("daily", "systemd", "once"):
            in_effect(jobs, name, zone, "09:30")
        assert (due_in(jobs, "own"), due_in(jobs, "interval")) == (own, interval)


def test_a_reload_with_another_zone_moves_the_waiting_due_times(jobs: Installation) -> None:
    jobs.configure("", more=f'timezone = "{TOKYO}"')
    assert clock_in(jobs, "daily", BERLIN) == "09:30"  # nothing is in effect before the reload
    jobs.fine("reload")
    for name in ("daily", "systemd", "once"):
        in_effect(jobs, name, TOKYO, "09:30")


def test_commands_use_the_daemons_zone_in_every_shell(jobs: Installation) -> None:
    jobs.environ["TZ"] = TOKYO
    jobs.fine("add", "there", "--task", "hello", "--cron", "30 9 * * *")
    assert clock_in(jobs, "there", BERLIN) == "09:30"
    assert BERLIN in jobs.fine("show", "there")
    first, second = (datetime.fromisoformat(one["due"]) for one in jobs.fine("next", "there", "-n", "2", "--json"))
    assert (second - first).total_seconds() in (23 * 3_600, 24 * 3_600, 25 * 3_600)
    jobs.fine("set", "there", "--at", "2030-06-01T09:30")
    assert due_in(jobs, "there").isoformat() == "2030-06-01T07:30:00+00:00"


def test_a_zone_that_is_no_zone_is_an_error_of_start_and_of_nothing_that_can_do_without(
    installation: Installation,
) -> None:
    installation.environ["TZ"] = "Mars/Base"
    answer = installation.jobd("start", "--foreground")
    assert (answer.returncode, answer.stderr.count("\n")) == (78, 1)
    assert "Mars/Base" in answer.stderr
    assert "timezone =" in answer.stderr
    installation.environ["TZ"] = BERLIN
    installation.foreground()
    installation.environ["TZ"] = "Mars/Base"
    installation.fine("add", "daily", "--task", "hello", "--cron", "30 9 * * *")
    assert clock_in(installation, "daily", BERLIN) == "09:30"


def test_a_posix_rule_is_a_zone(installation: Installation) -> None:
    installation.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    installation.foreground()
    installation.environ["TZ"] = TOKYO
    installation.fine("add", "daily", "--task", "hello", "--cron", "30 9 * * *")
    assert clock_in(installation, "daily", BERLIN) == "09:30"
    assert "CET-1CEST,M3.5.0,M10.5.0/3" in installation.fine("show", "daily")


def test_nodes_of_different_zones_agree_on_one_and_do_not_move_jobs_in_turns(tmp_path: Path) -> None:
    installations = [Installation(tmp_path / name, f"sqlite:///{tmp_path}/shared.db") for name in "abc"]
    first, second, third = installations
    try:
        first.configure("", more=f'timezone = "{BERLIN}"')
        second.environ["TZ"], third.environ["TZ"] = TOKYO, NEW_YORK
        for one in installations:
            one.foreground()
        first.fine("add", "daily", "--task", "hello", "--cron", "30 9 * * *")
        first.fine("add", "often", "--task", "hello", "--cron", "* * * * * *")
        first.ended("often", 5)
        for one in installations:
            assert clock_in(one, "daily", BERLIN) == "09:30"
        assert "another node's jobd.toml" in second.log()
        # The one that names it in its jobd.toml goes; a start of a node that names none then counts.
        first.fine("stop")
        assert clock_in(second, "daily", BERLIN) == "09:30"
        second.fine("stop")
        second.foreground()
        in_effect(third, "daily", TOKYO, "09:30")
        runs = third.ended("often", 8)
        assert len({run["due_time"] for run in runs}) == len(runs)
    finally:
        for one in installations:
            one.close()


def edition(folder: Path, offset: str) -> str:
    """A zone database in which New York's clocks have this rule."""
    from tests.test_localzone import tzif

    (folder / "America").mkdir(parents=True, exist_ok=True)
    (folder / NEW_YORK).write_bytes(tzif(offset))
    return str(folder)


def test_new_rules_of_a_zone_are_in_effect_after_a_reload(installation: Installation, tmp_path: Path) -> None:
    """A country gives up its summer time: what was computed by the old rules is computed again."""
    installation.environ["PYTHONTZPATH"] = edition(tmp_path / "zones", "EST5EDT,M3.2.0,M11.1.0")
    installation.environ["TZ"] = BERLIN
    installation.configure("", more=f'timezone = "{NEW_YORK}"')
    installation.foreground()
    installation.fine("add", "summer", "--task", "hello", "--cron", "30 9 1 7 *")
    installation.fine("add", "interval", "--task", "hello", "--every", "7h")
    installation.ended("interval")
    interval = due_in(installation, "interval")
    assert due_in(installation, "summer").strftime("%H:%M") == "13:30"
    edition(tmp_path / "zones", "EST5")
    installation.fine("reload")
    until(lambda: due_in(installation, "summer").strftime("%H:%M") == "14:30", "the new rule")
    assert due_in(installation, "interval") == interval
    assert [one["due"][11:16] for one in installation.fine("next", "summer", "-n", "2", "--json")] == ["14:30", "14:30"]


def test_a_database_of_the_version_before_opens_as_it_is(jobs: Installation) -> None:
    """Its states do not say by which zone they were made: none of them moves, and all say it from then on."""
    import sqlite3

    stop(jobs)
    with sqlite3.connect(jobs.folder / "jobd.db") as database:
        database.execute("DROP TABLE installation")
        database.execute("UPDATE jobd_schema SET version = 6")  # the seventh step made that table, the ninth the rest
        database.execute("DROP INDEX schedule_claim")
        database.execute("ALTER TABLE schedule DROP COLUMN priority")
        database.execute("CREATE INDEX schedule_claim ON schedule (node_id, pool, ready_time, job_id)")
        old = f"UPDATE schedule SET basis = replace(replace(basis, '|{BERLIN}|', '||'), '|={BERLIN}|', '|{BERLIN}|')"
        database.execute(old)
        before = database.execute("SELECT job_id, due_time, ready_time, number, missed FROM schedule").fetchall()
    database.close()
    process = jobs.foreground()

    def fingerprints() -> list[str]:
        with sqlite3.connect(jobs.folder / "jobd.db") as database:
            return [fingerprint for (fingerprint,) in database.execute("SELECT basis FROM schedule ORDER BY job_id")]

    until(
        lambda: f"0|={BERLIN}|30 9 * * *" in fingerprints() and f"0|{BERLIN}|30 9 * * *" in fingerprints(),
        "the full pass",
    )
    assert "0||7h" in fingerprints()
    with sqlite3.connect(jobs.folder / "jobd.db") as database:
        query = "SELECT job_id, due_time, ready_time, number, missed FROM schedule"
        assert database.execute(query).fetchall() == before
    os.kill(process.pid, signal.SIGTERM)
    process.wait()


def test_the_zone_is_logged_at_the_start(jobs: Installation) -> None:
    lines = [json.loads(line)["msg"] for line in jobs.log().splitlines()]
    assert any(line.endswith(f"time zone {BERLIN}") for line in lines)
    assert from_datetime(due_in(jobs, "daily")) > 0
