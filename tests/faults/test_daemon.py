"""Faults of the daemon and its database, and changes by users, while jobs run; on every database where that matters."""

import contextlib
import os
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
from tests.faults.helpers import FAST, claimed, ends, noted, notes, seen_running
from tests.installation import Installation, until
from tests.processes import is_gone

POISON = """
import jobd, os, signal

@jobd.task
def poison():
    os.kill(int(open("jobd.pid").read().split()[0]), signal.SIGKILL)
"""


def test_after_kill_9_nothing_survives_and_the_run_is_run_again(
    make_installation: Callable[..., Installation], database: str
) -> None:
    installation = make_installation(database)
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    pid = seen_running(installation, "gated")
    daemon.kill()
    until(lambda: is_gone(pid), "the end of the worker")
    (installation.folder / "open").touch()
    installation.foreground()
    newest, lost = installation.ended("gated", 2)
    assert (lost["run"], lost["outcome"], newest["run"], newest["outcome"]) == (1, "lost", 2, "succeeded")
    assert lost["due_time"] == newest["due_time"]
    assert [line.split()[:3] for line in notes(installation)] == [
        ["began", "gated", "1"],
        ["began", "gated", "2"],
        ["ended", "gated", "2"],
    ]


def test_on_lost_fail_is_not_run_again(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once", "--on-lost", "fail")
    seen_running(installation, "gated")
    daemon.kill()
    daemon.wait()
    installation.foreground()
    assert [run["outcome"] for run in installation.ended("gated")] == ["lost"]
    installation.fine("add", "quick", "--once")
    installation.ended("quick")
    assert len(notes(installation)) == 2


def test_a_back_off_survives_a_restart(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "fails", "--once", "--retry", "1", "--backoff", "3s")
    noted(installation, "ran")
    until(lambda: not claimed(installation), "the back-off")
    daemon.kill()
    daemon.wait()
    installation.foreground()
    (run,) = installation.ended("fails")
    assert (run["outcome"], run["attempts"]) == ("failed", 2)
    assert seconds(run["finished_time"]) - seconds(run["due_time"]) > 2.5


def test_sigterm_lets_a_run_finish_and_leaves_nothing_claimed(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    installation.fine("add", "quick", "--once")  # waits for the only worker
    noted(installation, "began")
    daemon.terminate()
    until(lambda: installation.status().get("state") == "draining", "the draining")
    until(lambda: len(claimed(installation)) == 1, "quick to be given back")
    (installation.folder / "open").touch()
    assert ends(daemon) == 0
    assert installation.history("gated")[0]["outcome"] == "succeeded"
    assert (installation.history("quick"), claimed(installation)) == ([], [])
    installation.foreground()
    assert installation.ended("quick")[0]["outcome"] == "succeeded"


def test_a_stop_gives_runs_the_time_that_its_user_says(installation: Installation) -> None:
    """More than `stop_timeout`, even if an earlier stop said less."""
    installation.configure("", more=FAST + 'stop_timeout = "1s"\n')
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    noted(installation, "began")
    began = time.monotonic()
    stops = [subprocess.Popen(installation.command("stop", *words)) for words in ([], ["--timeout", "10m"])]
    until(lambda: installation.status().get("state") == "draining", "the draining")
    until(lambda: time.monotonic() > began + 3, "twice the time of stop_timeout")
    (installation.folder / "open").touch()
    assert ends(daemon) == 0
    assert [stop.wait(20) for stop in stops] == [0, 0]
    assert [run["outcome"] for run in installation.history("gated")] == ["succeeded"]


@pytest.mark.parametrize("how", ["second SIGTERM", "stop --now", "stop_timeout", "stop --timeout"])
def test_a_run_that_may_not_finish_is_recorded_as_lost_and_run_again(installation: Installation, how: str) -> None:
    if how == "stop_timeout":
        installation.configure("", more=FAST + 'stop_timeout = "300ms"\n')
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    noted(installation, "began")
    if how.startswith("stop --"):
        installation.fine(*{"stop --now": ("stop", "--now"), "stop --timeout": ("stop", "--timeout", "300ms")}[how])
    else:
        daemon.terminate()
        if how == "second SIGTERM":
            until(lambda: installation.status().get("state") == "draining", "the draining")
            daemon.terminate()
    assert ends(daemon) == 0
    assert [run["outcome"] for run in installation.history("gated")] == ["lost"]
    assert claimed(installation) == []
    (installation.folder / "open").touch()
    installation.foreground()
    assert installation.ended("gated", 2)[0]["outcome"] == "succeeded"


def test_cancel_ends_the_run_and_not_the_job(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "gated", "--every", "500ms", "--retry", "5")
    pid = int(noted(installation, "began")[0].split()[-1])
    installation.fine("cancel", "gated")
    until(lambda: is_gone(pid), "the end of the run")
    assert installation.ended("gated")[-1]["outcome"] == "cancelled"
    (installation.folder / "open").touch()
    assert installation.ended("gated", 3)[0]["outcome"] == "succeeded"


def test_pause_and_resume(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "quick", "--every", "50ms")
    installation.ended("quick", 2)
    installation.fine("pause", "quick")
    until(lambda: not claimed(installation), "the pause")
    count = len(installation.history("quick"))
    installation.fine("add", "other", "--task", "quick", "--every", "50ms")
    installation.ended("other", 10)
    assert len(installation.history("quick")) == count
    installation.fine("resume", "quick")
    installation.ended("quick", count + 3)


def test_a_job_deleted_during_its_run_finishes_and_never_runs_again(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "gated", "--every", "50ms")
    noted(installation, "began")
    installation.fine("rm", "gated")
    (installation.folder / "open").touch()
    until(lambda: not claimed(installation), "the end of the run")
    installation.fine("add", "quick", "--every", "50ms")
    installation.ended("quick", 10)
    assert len(notes_of(installation, "gated", "began")) == 1
    installation.fine("restore", "gated")
    until(lambda: len(notes_of(installation, "gated", "ended")) > 2, "gated to run again")
    assert {run["outcome"] for run in installation.history("gated")} == {"succeeded"}


def notes_of(installation: Installation, job: str, what: str) -> list[str]:
    return [line for line in notes(installation) if line.startswith(f"{what} {job} ")]


def test_a_job_runs_when_the_one_before_it_has_succeeded(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "first", "--task", "gated", "--once")
    installation.fine("add", "second", "--task", "quick", "--after-job", "first")
    assert installation.fine("show", "second", "--json")["state"] == "waiting"
    noted(installation, "began")
    assert installation.history("second") == []
    (installation.folder / "open").touch()
    (run,) = installation.ended("second")
    assert run["due_time"] == installation.history("first")[0]["finished_time"]
    installation.fine("run", "first")
    installation.ended("second", 2)


@pytest.mark.quiet
def test_a_job_that_runs_after_another_starts_within_a_second(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "first", "--task", "gated", "--once")
    installation.fine("add", "second", "--task", "quick", "--after-job", "first")
    (installation.folder / "open").touch()
    (run,) = installation.ended("second")
    assert seconds(run["started_time"]) - seconds(run["due_time"]) < 1


def test_a_change_during_a_run_counts_from_the_next_one(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "job", "--task", "gated", "--every", "1h")
    noted(installation, "began")
    installation.fine("set", "job", "--task", "quick", "--every", "50ms")
    (installation.folder / "open").touch()
    until(lambda: len(notes_of(installation, "job", "ran")) > 2, "the change")
    assert notes(installation)[0].startswith("began job 1")
    assert notes(installation)[1].startswith("ended job 1")


@pytest.mark.quiet
def test_a_plain_insert_runs_within_a_poll(make_installation: Callable[..., Installation], database: str) -> None:
    installation = make_installation(database)
    installation.foreground()
    installation.fine("add", "first", "--task", "quick", "--once")
    installation.ended("first")
    quote = "`" if database.startswith("mariadb") else '"'
    sql(database, f"INSERT INTO job (name, {quote}interval{quote}) VALUES ('quick', '200ms')")
    runs = installation.ended("quick", 3)
    assert seconds(runs[-1]["started_time"]) - created(installation, "quick") < 0.1 + 0.35
    sql(database, "UPDATE job SET is_delete = 1 WHERE name = 'quick'")
    until(lambda: installation.fine("list", "--json") == [] or not list_has(installation, "quick"), "the deletion")


def list_has(installation: Installation, name: str) -> bool:
    return name in [job["name"] for job in installation.fine("list", "--json")]


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
    assert url.port is not None
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


def created(installation: Installation, name: str) -> float:
    return seconds(installation.fine("show", name, "--json")["created_time"])


@pytest.mark.quiet
def test_an_added_job_starts_at_once(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "warm-up", "--task", "quick", "--once")
    installation.ended("warm-up")
    names = [f"job{number}" for number in range(5)]
    for name in names:
        installation.fine("add", name, "--task", "quick", "--once")
    delays = [seconds(installation.ended(name)[0]["started_time"]) - created(installation, name) for name in names]
    assert median(delays) < 0.05, delays


def test_two_daemons_share_the_work_and_no_run_is_run_twice(
    make_installation: Callable[..., Installation], database: str
) -> None:
    # A long lease: on a busy machine a commit may take longer than a short one, and then runs are run again.
    installations = [make_installation(database, 'poll = "100ms"\nlease = "30s"\n', workers=2) for _ in range(2)]
    for installation in installations:
        installation.foreground()
    jobs = "".join(f'[job.job{number}]\ntask = "naps"\ninterval = "100ms"\n' for number in range(40))
    (installations[0].folder / "jobs.toml").write_text(jobs)
    installations[0].fine("apply", "jobs.toml", "--yes")
    until(lambda: len(notes(*installations)) > 300, "300 runs")
    shares = [len(notes(installation)) for installation in installations]
    for installation in installations:
        installation.fine("stop")
    history = installations[0].fine("history", "--json")
    recorded = Counter((run["job"], run["run"]) for run in history)
    done = Counter(tuple(line.split()[1:3]) for line in notes(*installations))
    assert set(recorded.values()) == set(done.values()) == {1}
    assert {(job, str(run)) for job, run in recorded} == set(done)
    assert {run["outcome"] for run in history} == {"succeeded"}
    assert min(shares) > 0.3 * sum(shares), shares


def test_the_work_of_a_dead_node_is_taken_over(make_installation: Callable[..., Installation], database: str) -> None:
    first = make_installation(database)
    daemon = first.foreground()
    first.fine("add", "gated", "--once")
    seen_running(first, "gated")
    second = make_installation(database)
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
    make_installation: Callable[..., Installation], database: str
) -> None:
    first, second = make_installation(database), None
    daemon = first.foreground()
    first.fine("add", "gated", "--once")
    pid = seen_running(first, "gated")
    second = make_installation(database)
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
    make_installation: Callable[..., Installation], kind: str, request: pytest.FixtureRequest
) -> None:
    with servers.running(kind) as server:
        installation = make_installation(server.new_database(), more='poll = "100ms"\nlease = "10s"\n')
        daemon = installation.foreground()
        installation.fine("add", "gated", "--once")
        noted(installation, "began")
        server.kill()
        (installation.folder / "open").touch()
        noted(installation, "ended")
        until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
        refused = installation.jobd("add", "quick", "--once")
        assert refused.returncode == 4, refused
        assert refused.stderr.count("\n") == 1
        server.start()
        (run,) = installation.ended("gated")
        assert (run["outcome"], run["attempts"]) == ("succeeded", 1)
        installation.fine("add", "quick", "--once")
        installation.ended("quick")
        assert installation.status()["database"] == "ok"
        assert daemon.poll() is None


def test_a_database_locked_by_another_program_costs_no_run(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "quick", "--every", "100ms")
    installation.ended("quick")
    with sqlite3.connect(installation.folder / "jobd.db", isolation_level=None) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
        assert "Traceback" not in installation.log()
        foreign.execute("ROLLBACK")
    count = len(installation.history("quick"))
    installation.ended("quick", count + 5)
    assert {run["outcome"] for run in installation.history("quick")} == {"succeeded"}
    done = Counter(tuple(line.split()[1:3]) for line in notes(installation))
    assert set(done.values()) == {1}


def waits(pid: int) -> int:
    """How often the threads of a process have waited for something."""
    files = Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(file.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for file in files)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.quiet
def test_a_daemon_whose_workers_are_all_busy_sleeps(make_installation: Callable[..., Installation]) -> None:
    """Found by the simulator: it asked for more claims and was refused, thousands of times a second."""
    installation = make_installation(workers=8)
    jobs = {f"slow{number}": "dozes" for number in range(150)} | {f"stuck{number}": "gated" for number in range(40)}
    lines = [f'[job.{name}]\ntask = "{task}"\nrunonce = true\n' for name, task in jobs.items()]
    (installation.folder / "jobs.toml").write_text("".join(lines))
    installation.fine("apply", "jobs.toml", "--yes")
    daemon = installation.foreground()
    noted(installation, "began", 8)  # by now it knows that runs are long
    before, waits_before = cpu_seconds(daemon.pid), waits(daemon.pid)
    time.sleep(2)
    assert cpu_seconds(daemon.pid) - before < 0.2
    assert waits(daemon.pid) - waits_before < 400


def test_a_run_that_started_just_before_its_daemon_was_killed_is_in_the_history(
    installation: Installation,
) -> None:
    (installation.folder / "plugins" / "poison.py").write_text(POISON)
    daemon = installation.foreground()
    installation.fine("add", "poison", "--once")
    ends(daemon)
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            installation.foreground()
        ends(installation.processes[-1])
    installation.foreground()
    runs = installation.ended("poison", 3)
    assert [run["outcome"] for run in runs] == ["failed", "lost", "lost"]
    assert "lost 3 times and is not tried again" in runs[0]["error"]
    assert installation.fine("show", "poison", "--json")["next_due"] is None


def test_a_daemon_waits_for_the_end_of_the_previous_daemons_runs(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    worker = seen_running(installation, "gated")
    guardian = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guardian, signal.SIGSTOP)  # it cannot do its work yet
    daemon.kill()
    ends(daemon)
    following = subprocess.Popen(
        installation.command("start", "--foreground"), env=installation.environ, stderr=subprocess.PIPE, text=True
    )
    installation.processes.append(following)
    time.sleep(0.2)
    assert len(noted(installation, "began")) == 1
    assert not is_gone(worker)
    os.kill(guardian, signal.SIGCONT)
    noted(installation, "began", 2)
    assert is_gone(worker)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_outcomes_of_the_time_without_a_database_survive_a_kill_9(
    make_installation: Callable[..., Installation], kind: str
) -> None:
    with servers.running(kind) as server:
        installation = make_installation(server.new_database())
        daemon = installation.foreground()
        installation.fine("add", "gated", "--once")
        seen_running(installation, "gated")
        server.kill()
        (installation.folder / "open").touch()
        noted(installation, "ended")
        until(lambda: any(path.stat().st_size for path in installation.state.glob("spool-*")), "the spool")
        daemon.kill()
        ends(daemon)
        server.start()
        installation.foreground()
        (run,) = installation.ended("gated")
        assert (run["run"], run["outcome"], run["attempts"]) == (1, "succeeded", 1)
        assert notes(installation)[-1].startswith("ended gated 1")
        assert not list(installation.state.glob("spool-*"))
        assert claimed_by(installation) == []


def claimed_by(installation: Installation) -> list[str]:
    return [job["name"] for job in installation.fine("list", "--json") if job["state"] in ("running", "queued")]


def test_a_run_whose_claim_is_edited_with_sql_is_ended_and_run_again(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "gated", "--once")
    pid = seen_running(installation, "gated")
    with sqlite3.connect(installation.folder / "jobd.db") as connection:
        connection.execute("UPDATE schedule SET token = 99")
    until(lambda: is_gone(pid), "the end of the run")
    noted(installation, "began", 2)
    (installation.folder / "open").touch()
    newest, lost = installation.ended("gated", 2)
    assert (lost["outcome"], newest["outcome"]) == ("lost", "succeeded")
