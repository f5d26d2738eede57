"""The daemon's memory is bounded while runs print and return more than the database takes.

No outcome is lost. Dropped output is reported in the run's output and in the daemon's log. The tasks note each start
in a file of their own, with which the history is compared.
"""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from jobd.daemon.control import ask
from jobd.engine.budget import LIMIT
from jobd.engine.engine import MAX_REFRESHES
from tests import servers
from tests.faults.helpers import claimed, noted, notes
from tests.installation import LONG_TIMEOUT, Installation, until
from tests.processes import family, is_gone

PLUGIN = """
import os, sys, time
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))
LINE = "x" * 1023 + "\\n"

def note():
    run = jobd.current_run()
    descriptor = os.open(HOME + "/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"began {run.job} {run.run} {run.attempt}\\n".encode())
    os.close(descriptor)

@jobd.task
def fails():
    "Prints more than is kept of it, and fails, until the file `open` is there."
    note()
    for _ in range(80):
        sys.stdout.write(LINE)
    if not os.path.exists(HOME + "/open"):
        raise RuntimeError("e" * 3_000)

@jobd.task
def floods():
    "Prints as fast as it can until the file `open` is there."
    note()
    while not os.path.exists(HOME + "/open"):
        for _ in range(100):
            sys.stdout.write(LINE * 10)

@jobd.task
def prints():
    note()
    for _ in range(70):
        sys.stdout.write(LINE)

@jobd.task
def prints_late():
    "Prints when the file `open` is there."
    note()
    while not os.path.exists(HOME + "/open"):
        time.sleep(0.01)
    for _ in range(255):
        sys.stdout.write(LINE)

@jobd.task
def returns():
    note()
    return "\\U0001f600" + "r" * 4_000
"""
SLOW = 'poll = "500ms"\nlease = "5s"\n'  # so that much is claimed ahead
MANY = 24  # workers, whose runs would have three times the limit
AWAY = 14.0  # seconds: longer than a call to a frozen server takes
MORE = 20.0  # MiB beyond the limit: what a turn writes and what is read at one go, several times over
SAID = "bytes of the output of runs were dropped"
DROPPED = "bytes of output were dropped here: too much waited for the database]"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes an installation with the jobs `job0`… of one definition."""
    with contextlib.ExitStack() as stack:

        def made(
            url: str, workers: int, count: int, definition: str, tables: str = "", more: str = SLOW
        ) -> Installation:
            installation = Installation(tmp_path / "home", url, PLUGIN)
            stack.callback(installation.close)
            installation.configure(tables, workers, more)
            file = tmp_path / "jobs.toml"
            file.write_text("".join(f"[job.job{number}]\n{definition}\n" for number in range(count)))
            installation.foreground()
            until(lambda: installation.status()["workers"] == workers, "all workers to be ready", LONG_TIMEOUT)
            installation.fine("apply", "--yes", str(file))
            noted(installation, "began", 1)
            return installation

        yield made


@contextlib.contextmanager
def locked(installation: Installation) -> Iterator[None]:
    """Another program keeps the SQLite database to itself."""
    connection = sqlite3.connect(installation.folder / "jobd.db", isolation_level=None, timeout=20)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.close()


@contextlib.contextmanager
def down(server: Any) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def frozen(server: Any) -> Iterator[None]:
    processes = family(server._pid())
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in processes:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def bounded(installation: Installation) -> Iterator[None]:
    """The daemon takes no more in the end than it took at first, and the limit, and a little."""
    before = _memory(installation, "VmRSS")
    yield
    most, allowed = _memory(installation, "VmHWM"), before + LIMIT / 2**20 + MORE
    assert most <= allowed, f"{before:.0f} MiB at first, then up to {most:.0f}"


def _memory(installation: Installation, what: str) -> float:
    status = Path(f"/proc/{installation.processes[-1].pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def buffered(installation: Installation) -> int:
    """Bytes that wait for the database or are being printed, as `jobd status` has them."""
    return int(installation.status()["buffered"])


def attempts(installation: Installation) -> dict[tuple[str, int], int]:
    """By job and run, how many attempts began."""
    found: dict[tuple[str, int], int] = {}
    for line in notes(installation):
        _, job, run, attempt = line.split()
        found[job, int(run)] = max(int(attempt), found.get((job, int(run)), 0))
    return found


def recorded(installation: Installation, least: int = 0) -> None:
    """All runs that have begun are in the history as having succeeded, each after its own number of attempts.

    Of those that go on beginning, the first `least`.
    """

    def missing() -> dict[tuple[str, int], int]:
        expected = list(attempts(installation).items())[: least or None]
        runs = installation.fine("history", "--json")
        reported = {(one["job"], one["run"]): one["attempts"] for one in runs if one["outcome"] == "succeeded"}
        return {key: count for key, count in expected if reported.get(key) != count}

    until(lambda: not missing(), "the history of all runs", LONG_TIMEOUT)


def said_once(installation: Installation) -> bool:
    lines = [line for line in installation.log().splitlines() if SAID in line]
    assert len(lines) < 2, lines
    return bool(lines)


# The tests


@pytest.mark.parametrize(("kind", "fault"), [("sqlite", locked), ("postgresql", down), ("mariadb", frozen)])
def test_retries_without_end_that_print_take_no_more_than_the_limit(make: Any, kind: str, fault: Any) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.running(kind)) if kind != "sqlite" else None
        url = server.new_database() if server else "sqlite:///jobd.db"
        installation = make(url, 2, 4, 'task = "fails"\nrunonce = true\nretry_times = 1_000_000_000')
        with bounded(installation):
            with fault(server or installation):
                time.sleep(AWAY)
                until(lambda: said_once(installation), "the log to be told", LONG_TIMEOUT)
                begun = len(notes(installation))
                until(lambda: len(notes(installation)) > begun, "a further attempt")
            until(lambda: installation.status()["database"] == "ok", "the database to be back", LONG_TIMEOUT)
            (installation.folder / "open").touch()
            recorded(installation)
        assert any(DROPPED in installation.fine("logs", f"job{number}") for number in range(4))


def test_a_run_that_prints_as_fast_as_it_can_takes_no_more_than_is_kept_of_it(make: Any) -> None:
    with servers.running("postgresql") as server:
        installation = make(server.new_database(), 1, 1, 'task = "floods"\nrunonce = true')
        with bounded(installation):
            with down(server):
                time.sleep(AWAY)
            until(lambda: installation.status()["database"] == "ok", "the database to be back", LONG_TIMEOUT)
            (installation.folder / "open").touch()
            recorded(installation)
        assert "bytes of output before this were cut" in installation.fine("logs", "job0")


def test_many_runs_that_print_as_fast_as_they_can_take_no_more_than_the_limit(make: Any) -> None:
    with servers.running("postgresql") as server:
        url = server.new_database()
        installation = make(url, MANY, MANY, 'task = "floods"\nrunonce = true', '[history]\noutput = "2MiB"\n')
        noted(installation, "began", MANY)
        with bounded(installation):
            with down(server):
                until(lambda: said_once(installation), "the log to be told", LONG_TIMEOUT)
                time.sleep(AWAY)
            until(lambda: installation.status()["database"] == "ok", "the database to be back", LONG_TIMEOUT)
            (installation.folder / "open").touch()
            recorded(installation)
        assert any(DROPPED in installation.fine("logs", f"job{number}") for number in range(MANY))


@pytest.mark.parametrize(("kind", "fault"), [("sqlite", locked), ("postgresql", frozen), ("mariadb", frozen)])
@pytest.mark.parametrize(("task", "count"), [("prints", 1_000), ("returns", 4_000)])
def test_jobs_claimed_ahead_run_and_are_recorded_later(make: Any, kind: str, fault: Any, task: str, count: int) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.running(kind)) if kind != "sqlite" else None
        url = server.new_database() if server else "sqlite:///jobd.db"
        # With a long poll, enough is claimed ahead even where each run takes long because the machine is busy.
        installation = make(url, 2, count, f'task = "{task}"\ninterval = "1s"', "", 'poll = "5s"\n')
        until(lambda: len(notes(installation)) >= count, "a first run of each job", LONG_TIMEOUT)
        with bounded(installation):
            with fault(server or installation):
                time.sleep(AWAY)
                until(lambda: buffered(installation) > LIMIT // 4, "much to wait for the database", LONG_TIMEOUT)
                begun = len(attempts(installation))
            recorded(installation, begun)
            until(lambda: buffered(installation) < LIMIT // 4, "that to be written", LONG_TIMEOUT)


def test_a_killed_daemon_has_kept_more_outcomes_than_wait_in_its_memory(make: Any) -> None:
    """The next one records each of them once. Only runs whose outcome was not in the spool yet are recorded as lost."""
    count, more, output = 140, 'poll = "5s"\nlease = "30s"\n', '[history]\noutput = "256KiB"\n'
    installation = make("sqlite:///jobd.db", 2, count, 'task = "prints_late"\nrunonce = true', output, more)
    until(lambda: len(claimed(installation)) == count, "all claims", LONG_TIMEOUT)
    with locked(installation):
        (installation.folder / "open").touch()
        until(lambda: spooled(installation) > LIMIT * 0.6, "the spool to grow", LONG_TIMEOUT)
        daemon = installation.processes[-1]
        pids = family(daemon.pid)
        daemon.kill()
        until(lambda: all(map(is_gone, pids)), "the end of its processes")
        begun, (spool,) = attempts(installation), installation.state.glob("spool-*")
        kept = spool.read_bytes().count(b"\n")
    installation.foreground()

    def succeeded() -> list[str]:
        return [one["job"] for one in installation.fine("history", "--json") if one["outcome"] == "succeeded"]

    until(lambda: len(set(succeeded())) == count, "a success of each job", LONG_TIMEOUT)
    assert len(succeeded()) == count
    history = installation.fine("history", "--json")
    lost = {one["job"] for one in history if one["outcome"] == "lost"}
    assert len(lost) == len(begun) - kept == len(history) - count == len(notes(installation)) - count
    assert not spool.exists()
    for job in [job for job, _ in begun if job not in lost][:3]:
        assert len(installation.fine("logs", job)) == 255 * 1024


def spooled(installation: Installation) -> int:
    """The bytes in the spool."""
    return sum(file.stat().st_size for file in installation.state.glob("spool-*"))


def test_commands_that_come_and_go_while_the_database_is_away_do_not_pile_up(installation: Installation) -> None:
    installation.foreground()
    with locked(installation):
        for _ in range(MAX_REFRESHES + 20):
            ask(str(installation.state), {"do": "changed"}, 0.001)
        began = time.monotonic()
        answer = ask(str(installation.state), {"do": "changed"}, 20)
        assert time.monotonic() - began < 2
        assert answer is not None
        assert answer == {"database": "too many commands wait for the daemon"}, "the keeper has not been heard yet"
    until(lambda: ask(str(installation.state), {"do": "changed"}, 20) == {"database": "ok"}, "an answer", LONG_TIMEOUT)


def test_commands_that_ask_for_the_tasks_and_go_do_not_pile_up(installation: Installation) -> None:
    installation.foreground()
    number = count()

    def refused() -> bool:
        for _ in range(60):
            ask(str(installation.state), {"do": "tasks", "asked": f"module:task{next(number)}"}, 0.001)
        answer = ask(str(installation.state), {"do": "tasks", "asked": f"module:task{next(number)}"}, 20) or {}
        return bool(answer.get("error", "") == "too many commands ask the daemon for its tasks")

    until(refused, "the refusal", LONG_TIMEOUT)
    until(lambda: "tasks" in (ask(str(installation.state), {"do": "tasks"}, 20) or {}), "the tasks", LONG_TIMEOUT)
