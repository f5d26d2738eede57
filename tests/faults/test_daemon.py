"""What happens to the daemon, its database and its people while jobs run; on every database where that matters."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median

import pytest

from tests import servers
from tests.faults.scene import FAST, claimed, ends, noted, notes, seen_running
from tests.house import House, until
from tests.processes import is_gone

POISON = """
import jobd, os, signal

@jobd.task
def poison():
    os.kill(int(open("jobd.pid").read().split()[0]), signal.SIGKILL)
"""


def test_after_kill_9_nothing_survives_and_the_run_is_run_again(
    make_house: Callable[..., House], database: str
) -> None:
    house = make_house(database)
    daemon = house.foreground()
    house.fine("add", "gated", "--once")
    pid = seen_running(house, "gated")
    daemon.kill()
    until(lambda: is_gone(pid), "the end of the worker")
    (house.folder / "open").touch()
    house.foreground()
    newest, lost = house.ended("gated", 2)
    assert (lost["run"], lost["outcome"], newest["run"], newest["outcome"]) == (1, "lost", 2, "succeeded")
    assert lost["due_time"] == newest["due_time"]
    assert [line.split()[:3] for line in notes(house)] == [
        ["began", "gated", "1"],
        ["began", "gated", "2"],
        ["ended", "gated", "2"],
    ]


def test_on_lost_fail_is_not_run_again(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "gated", "--once", "--on-lost", "fail")
    seen_running(house, "gated")
    daemon.kill()
    daemon.wait()
    house.foreground()
    assert [run["outcome"] for run in house.ended("gated")] == ["lost"]
    house.fine("add", "quick", "--once")
    house.ended("quick")
    assert len(notes(house)) == 2


def test_a_back_off_survives_a_restart(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "fails", "--once", "--retry", "1", "--backoff", "3s")
    noted(house, "ran")
    until(lambda: not claimed(house), "the back-off")
    daemon.kill()
    daemon.wait()
    house.foreground()
    (run,) = house.ended("fails")
    assert (run["outcome"], run["attempts"]) == ("failed", 2)
    assert seconds(run["finished_time"]) - seconds(run["due_time"]) > 2.5


def test_sigterm_lets_a_run_finish_and_leaves_nothing_claimed(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "gated", "--once")
    house.fine("add", "quick", "--once")  # waits for the only worker
    noted(house, "began")
    daemon.terminate()
    until(lambda: house.status().get("state") == "draining", "the draining")
    until(lambda: len(claimed(house)) == 1, "quick to be given back")
    (house.folder / "open").touch()
    assert ends(daemon) == 0
    assert house.history("gated")[0]["outcome"] == "succeeded"
    assert (house.history("quick"), claimed(house)) == ([], [])
    house.foreground()
    assert house.ended("quick")[0]["outcome"] == "succeeded"


@pytest.mark.parametrize("how", ["second SIGTERM", "stop --now", "stop_timeout"])
def test_a_run_that_may_not_finish_is_recorded_as_lost_and_run_again(house: House, how: str) -> None:
    if how == "stop_timeout":
        house.configure("", more=FAST + 'stop_timeout = "300ms"\n')
    daemon = house.foreground()
    house.fine("add", "gated", "--once")
    noted(house, "began")
    if how == "stop --now":
        house.fine("stop", "--now")
    else:
        daemon.terminate()
        if how == "second SIGTERM":
            until(lambda: house.status().get("state") == "draining", "the draining")
            daemon.terminate()
    assert ends(daemon) == 0
    assert [run["outcome"] for run in house.history("gated")] == ["lost"]
    assert claimed(house) == []
    (house.folder / "open").touch()
    house.foreground()
    assert house.ended("gated", 2)[0]["outcome"] == "succeeded"


def test_cancel_ends_the_run_and_not_the_job(house: House) -> None:
    house.foreground()
    house.fine("add", "gated", "--every", "500ms", "--retry", "5")
    pid = int(noted(house, "began")[0].split()[-1])
    house.fine("cancel", "gated")
    until(lambda: is_gone(pid), "the end of the run")
    assert house.ended("gated")[-1]["outcome"] == "cancelled"
    (house.folder / "open").touch()
    assert house.ended("gated", 3)[0]["outcome"] == "succeeded"


def test_pause_and_resume(house: House) -> None:
    house.foreground()
    house.fine("add", "quick", "--every", "50ms")
    house.ended("quick", 2)
    house.fine("pause", "quick")
    until(lambda: not claimed(house), "the pause")
    count = len(house.history("quick"))
    house.fine("add", "other", "--task", "quick", "--every", "50ms")
    house.ended("other", 10)
    assert len(house.history("quick")) == count
    house.fine("resume", "quick")
    house.ended("quick", count + 3)


def test_what_is_deleted_during_its_run_finishes_and_never_runs_again(house: House) -> None:
    house.foreground()
    house.fine("add", "gated", "--every", "50ms")
    noted(house, "began")
    house.fine("rm", "gated")
    (house.folder / "open").touch()
    until(lambda: not claimed(house), "the end of the run")
    house.fine("add", "quick", "--every", "50ms")
    house.ended("quick", 10)
    assert len(notes_of(house, "gated", "began")) == 1
    house.fine("restore", "gated")
    until(lambda: len(notes_of(house, "gated", "ended")) > 2, "gated to run again")
    assert {run["outcome"] for run in house.history("gated")} == {"succeeded"}


def notes_of(house: House, job: str, what: str) -> list[str]:
    return [line for line in notes(house) if line.startswith(f"{what} {job} ")]


def test_a_job_runs_when_the_one_before_it_has_succeeded(house: House) -> None:
    house.foreground()
    house.fine("add", "first", "--task", "gated", "--once")
    house.fine("add", "second", "--task", "quick", "--after-job", "first")
    assert house.fine("show", "second", "--json")["state"] == "waiting"
    noted(house, "began")
    assert house.history("second") == []
    (house.folder / "open").touch()
    (run,) = house.ended("second")
    assert run["due_time"] == house.history("first")[0]["finished_time"]
    house.fine("run", "first")
    house.ended("second", 2)


@pytest.mark.quiet
def test_what_runs_after_a_job_begins_within_a_second(house: House) -> None:
    house.foreground()
    house.fine("add", "first", "--task", "gated", "--once")
    house.fine("add", "second", "--task", "quick", "--after-job", "first")
    (house.folder / "open").touch()
    (run,) = house.ended("second")
    assert seconds(run["started_time"]) - seconds(run["due_time"]) < 1


def test_a_change_during_a_run_counts_from_the_next_one(house: House) -> None:
    house.foreground()
    house.fine("add", "job", "--task", "gated", "--every", "1h")
    noted(house, "began")
    house.fine("set", "job", "--task", "quick", "--every", "50ms")
    (house.folder / "open").touch()
    until(lambda: len(notes_of(house, "job", "ran")) > 2, "the change")
    assert notes(house)[0].startswith("began job 1")
    assert notes(house)[1].startswith("ended job 1")


@pytest.mark.quiet
def test_a_plain_insert_runs_within_a_poll(make_house: Callable[..., House], database: str) -> None:
    house = make_house(database)
    house.foreground()
    house.fine("add", "first", "--task", "quick", "--once")
    house.ended("first")
    quote = "`" if database.startswith("mariadb") else '"'
    sql(database, f"INSERT INTO job (name, {quote}interval{quote}) VALUES ('quick', '200ms')")
    runs = house.ended("quick", 3)
    assert seconds(runs[-1]["started_time"]) - created(house, "quick") < 0.1 + 0.35
    sql(database, "UPDATE job SET is_delete = 1 WHERE name = 'quick'")
    until(lambda: house.fine("list", "--json") == [] or not list_has(house, "quick"), "the deletion")


def list_has(house: House, name: str) -> bool:
    return name in [job["name"] for job in house.fine("list", "--json")]


def sql(database: str, statement: str) -> None:
    """What a foreign program does, in its own way."""
    import psycopg
    import pymysql

    from jobd.store.url import parse_url

    if database.startswith("sqlite"):
        with sqlite3.connect(parse_url(database).path) as connection:
            connection.execute(statement)
        return
    url = parse_url(database)
    if database.startswith("mariadb"):
        with pymysql.connect(
            host=url.host, port=url.port, user=url.user, database=url.database, autocommit=True
        ) as foreign:
            foreign.cursor().execute(statement)
    else:
        with psycopg.connect(database, autocommit=True) as foreign:
            foreign.execute(statement)


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def created(house: House, name: str) -> float:
    return seconds(house.fine("show", name, "--json")["created_time"])


@pytest.mark.quiet
def test_what_is_added_starts_at_once(house: House) -> None:
    house.foreground()
    house.fine("add", "warm-up", "--task", "quick", "--once")
    house.ended("warm-up")
    names = [f"job{number}" for number in range(5)]
    for name in names:
        house.fine("add", name, "--task", "quick", "--once")
    delays = [seconds(house.ended(name)[0]["started_time"]) - created(house, name) for name in names]
    assert median(delays) < 0.05, delays


def test_two_daemons_share_the_work_and_no_run_is_run_twice(make_house: Callable[..., House], database: str) -> None:
    # A long lease: on a busy machine a commit may take longer than a short one, and then runs are run again.
    houses = [make_house(database, 'poll = "100ms"\nlease = "30s"\n', workers=2) for _ in range(2)]
    for house in houses:
        house.foreground()
    jobs = "".join(f'[job.job{number}]\ntask = "naps"\ninterval = "100ms"\n' for number in range(40))
    (houses[0].folder / "jobs.toml").write_text(jobs)
    houses[0].fine("apply", "jobs.toml", "--yes")
    until(lambda: len(notes(*houses)) > 300, "300 runs")
    shares = [len(notes(house)) for house in houses]
    for house in houses:
        house.fine("stop")
    history = houses[0].fine("history", "--json")
    recorded = Counter((run["job"], run["run"]) for run in history)
    done = Counter(tuple(line.split()[1:3]) for line in notes(*houses))
    assert set(recorded.values()) == set(done.values()) == {1}
    assert {(job, str(run)) for job, run in recorded} == set(done)
    assert {run["outcome"] for run in history} == {"succeeded"}
    assert min(shares) > 0.3 * sum(shares), shares


def test_the_work_of_a_dead_node_is_taken_over(make_house: Callable[..., House], database: str) -> None:
    first = make_house(database)
    daemon = first.foreground()
    first.fine("add", "gated", "--once")
    seen_running(first, "gated")
    second = make_house(database)
    (second.folder / "open").touch()
    second.foreground()
    killed = time.time()
    daemon.kill()
    daemon.wait()
    newest, lost = second.ended("gated", 2)
    assert (lost["outcome"], newest["outcome"]) == ("lost", "succeeded")
    assert lost["node"] != newest["node"]
    # the lease, two polls and a second, on a machine that is busy with other tests
    assert seconds(newest["started_time"]) - killed < 5 + 0.2 + 1 + 3


def test_a_frozen_node_that_thaws_ends_its_runs_and_its_result_is_refused(
    make_house: Callable[..., House], database: str
) -> None:
    first, second = make_house(database), None
    daemon = first.foreground()
    first.fine("add", "gated", "--once")
    pid = seen_running(first, "gated")
    second = make_house(database)
    second.foreground()
    os.kill(daemon.pid, signal.SIGSTOP)
    # Its worker is not frozen: the guardian ends it when the lease is over, before anybody may take the job over.
    until(lambda: is_gone(pid), "the end of the run of the frozen node")
    (second.folder / "open").touch()
    newest, lost = second.ended("gated", 2)
    assert (lost["outcome"], newest["outcome"]) == ("lost", "succeeded")
    os.kill(daemon.pid, signal.SIGCONT)
    (first.folder / "open").touch()
    first.fine("add", "quick", "--every", "100ms")
    second.processes[-1].terminate()
    until(lambda: notes_of(first, "quick", "ran") or daemon.poll() is not None, "the thawed node to work again")
    assert daemon.poll() is None
    assert [run["outcome"] for run in second.history("gated")] == ["succeeded", "lost"]


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_database_server_that_restarts_costs_nothing(
    make_house: Callable[..., House], kind: str, request: pytest.FixtureRequest
) -> None:
    with servers.running(kind) as server:
        house = make_house(server.new_database(), more='poll = "100ms"\nlease = "10s"\n')
        daemon = house.foreground()
        house.fine("add", "gated", "--once")
        noted(house, "began")
        server.kill()
        (house.folder / "open").touch()
        noted(house, "ended")
        until(lambda: house.status()["database"] != "ok", "the trouble to be noticed")
        refused = house.jobd("add", "quick", "--once")
        assert refused.returncode == 4, refused
        assert refused.stderr.count("\n") == 1
        server.start()
        (run,) = house.ended("gated")
        assert (run["outcome"], run["attempts"]) == ("succeeded", 1)
        house.fine("add", "quick", "--once")
        house.ended("quick")
        assert house.status()["database"] == "ok"
        assert daemon.poll() is None


def test_a_database_that_somebody_locks_costs_nothing(house: House) -> None:
    house.foreground()
    house.fine("add", "quick", "--every", "100ms")
    house.ended("quick")
    with sqlite3.connect(house.folder / "jobd.db", isolation_level=None) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        until(lambda: house.status()["database"] != "ok", "the trouble to be noticed")
        assert "Traceback" not in house.log()
        foreign.execute("ROLLBACK")
    count = len(house.history("quick"))
    house.ended("quick", count + 5)
    assert {run["outcome"] for run in house.history("quick")} == {"succeeded"}
    done = Counter(tuple(line.split()[1:3]) for line in notes(house))
    assert set(done.values()) == {1}


def waits(pid: int) -> int:
    """How often the threads of a process have waited for something."""
    files = Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", file.read_text())[1]) for file in files)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.quiet
def test_a_daemon_whose_workers_are_all_busy_sleeps(make_house: Callable[..., House]) -> None:
    """Found by the simulator: it asked for more claims and heard that it had enough, thousands of times a second."""
    house = make_house(workers=8)
    jobs = {f"slow{number}": "dozes" for number in range(150)} | {f"stuck{number}": "gated" for number in range(40)}
    lines = [f'[job.{name}]\ntask = "{task}"\nrunonce = true\n' for name, task in jobs.items()]
    (house.folder / "jobs.toml").write_text("".join(lines))
    house.fine("apply", "jobs.toml", "--yes")
    daemon = house.foreground()
    noted(house, "began", 8)  # by now it knows that runs are long
    before, waits_before = cpu_seconds(daemon.pid), waits(daemon.pid)
    time.sleep(2)
    assert cpu_seconds(daemon.pid) - before < 0.2
    assert waits(daemon.pid) - waits_before < 400


def test_a_run_that_had_only_just_begun_when_its_daemon_was_killed_is_in_the_history(house: House) -> None:
    (house.folder / "plugins" / "poison.py").write_text(POISON)
    daemon = house.foreground()
    house.fine("add", "poison", "--once")
    ends(daemon)
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            house.foreground()
        ends(house.processes[-1])
    house.foreground()
    runs = house.ended("poison", 3)
    assert [run["outcome"] for run in runs] == ["failed", "lost", "lost"]
    assert "lost 3 times and is not tried again" in runs[0]["error"]
    assert house.fine("show", "poison", "--json")["next_due"] is None


def test_a_daemon_waits_for_the_end_of_what_its_forerunner_ran(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "gated", "--once")
    worker = seen_running(house, "gated")
    guardian = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guardian, signal.SIGSTOP)  # it cannot do its work yet
    daemon.kill()
    ends(daemon)
    following = subprocess.Popen(
        house.command("start", "--foreground"), env=house.environ, stderr=subprocess.PIPE, text=True
    )
    house.processes.append(following)
    time.sleep(0.2)
    assert len(noted(house, "began")) == 1
    assert not is_gone(worker)
    os.kill(guardian, signal.SIGCONT)
    noted(house, "began", 2)
    assert is_gone(worker)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_outcomes_of_the_time_without_a_database_survive_a_kill_9(make_house: Callable[..., House], kind: str) -> None:
    with servers.running(kind) as server:
        house = make_house(server.new_database())
        daemon = house.foreground()
        house.fine("add", "gated", "--once")
        seen_running(house, "gated")
        server.kill()
        (house.folder / "open").touch()
        noted(house, "ended")
        until(lambda: any(path.stat().st_size for path in house.state.glob("spool-*")), "the spool")
        daemon.kill()
        ends(daemon)
        server.start()
        house.foreground()
        (run,) = house.ended("gated")
        assert (run["run"], run["outcome"], run["attempts"]) == (1, "succeeded", 1)
        assert notes(house)[-1].startswith("ended gated 1")
        assert not list(house.state.glob("spool-*"))
        assert claimed_by(house) == []


def claimed_by(house: House) -> list[str]:
    return [job["name"] for job in house.fine("list", "--json") if job["state"] in ("running", "queued")]


def test_a_run_whose_claim_somebody_edits_in_the_table_is_ended_and_run_again(house: House) -> None:
    house.foreground()
    house.fine("add", "gated", "--once")
    pid = seen_running(house, "gated")
    with sqlite3.connect(house.folder / "jobd.db") as connection:
        connection.execute("UPDATE schedule SET token = 99")
    until(lambda: is_gone(pid), "the end of the run")
    noted(house, "began", 2)
    (house.folder / "open").touch()
    newest, lost = house.ended("gated", 2)
    assert (lost["outcome"], newest["outcome"]) == ("lost", "succeeded")
