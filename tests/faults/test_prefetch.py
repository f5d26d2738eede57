"""Many short prefetched runs in real processes: their output and their faults stay separate."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until

PLUGIN = '''
import os, signal, subprocess, sys, time
import jobd

@jobd.task
def silent():
    pass

@jobd.task
def speaks():
    """In every way, without an end of line."""
    name = jobd.current_run().job
    print(f"<{name}", end="", flush=True)
    os.write(1, b".")
    sys.stderr.write(">")

@jobd.task
def has_a_program_speak():
    subprocess.run(["/bin/echo", "-n", jobd.current_run().job])

@jobd.task
def floods():
    sys.stdout.write("x" * 300_000 + jobd.current_run().job)

@jobd.task
def dies():
    os.kill(os.getpid(), signal.SIGKILL)

@jobd.task
def sleeps():
    print("asleep", flush=True)
    time.sleep(60)
'''
MANY = 300


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "home", plugin=PLUGIN)
    made.configure("", workers=2)
    yield made
    made.close()


def jobs(installation: Installation, tasks: dict[str, str]) -> None:
    """Enter a run-once job of each name for its task."""
    text = "".join(f'[job.{name}]\ntask = "{task}"\nrunonce = true\n' for name, task in tasks.items())
    (installation.folder / "jobs.toml").write_text(text)
    installation.fine("apply", str(installation.folder / "jobs.toml"), "--yes")


def outcomes(installation: Installation, count: int) -> dict[str, list[str]]:
    """The outcomes of each job, when there are `count` in all."""
    history = until(
        lambda: len(runs := installation.fine("history", "-n", "2000", "--json")) >= count and runs,
        "all runs",
        LONG_TIMEOUT,
    )
    found: dict[str, list[str]] = {}
    for run in history:
        found.setdefault(run["job"], []).append(run["outcome"])
    return found


def test_the_output_of_each_run_is_its_own(installation: Installation) -> None:
    kinds = ("silent", "speaks", "silent", "silent", "speaks")
    tasks = {f"job{number}": kinds[number % len(kinds)] for number in range(MANY)}
    tasks |= {f"prog{number}": "has_a_program_speak" for number in range(3)}
    tasks |= {f"flood{number}": "floods" for number in range(3)}
    jobs(installation, tasks)
    installation.foreground()
    found = outcomes(installation, len(tasks))
    assert found == {name: ["succeeded"] for name in tasks}
    for name, task in [*tasks.items()][::4] + [*tasks.items()][MANY:]:
        printed = installation.fine("logs", name)
        expected = {"silent": "", "speaks": f"<{name}.>", "has_a_program_speak": name, "floods": name}[task]
        assert printed.strip().endswith(expected)
        assert printed.count("<") == expected.count("<")
        assert task == "floods" or len(printed.strip()) == len(expected), printed


def test_a_worker_that_dies_costs_only_the_run_that_it_was_in(installation: Installation) -> None:
    deadly = {f"deadly{number}": "dies" for number in range(4)}
    tasks = {}
    for number in range(MANY):
        tasks[f"job{number}"] = "silent"
        if number % 80 == 79:
            tasks[f"deadly{number // 80}"] = "dies"
    tasks |= deadly
    jobs(installation, tasks)
    installation.foreground()
    found = outcomes(installation, len(tasks))
    assert found == {name: ["failed" if task == "dies" else "succeeded"] for name, task in tasks.items()}


def test_prefetched_runs_of_a_killed_daemon_are_all_completed(installation: Installation) -> None:
    tasks = {f"job{number}": "silent" for number in range(MANY)}
    jobs(installation, tasks)
    daemon = installation.foreground()
    until(lambda: installation.fine("history", "-n", "2000", "--json"), "the first runs")
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    installation.foreground()
    until(lambda: len(ends(installation)) == MANY, "all to succeed")
    assert set(outcomes(installation, MANY)) == set(tasks)


def ends(installation: Installation) -> set[str]:
    """The jobs that have succeeded."""
    return {run["job"] for run in installation.fine("history", "-n", "5000", "--json") if run["outcome"] == "succeeded"}


def test_runs_prefetched_behind_a_hanging_run_can_be_cancelled_and_are_run(
    installation: Installation,
) -> None:
    tasks = {f"job{number}": "silent" for number in range(MANY)} | {"hang1": "sleeps"}
    jobs(installation, tasks | {f"late{number}": "silent" for number in range(40)})
    installation.foreground()
    until(lambda: len(ends(installation)) == MANY + 40, "all others to succeed")
    until(lambda: installation.fine("show", "hang1", "--json")["state"] == "running", "hang1 to be seen running")
    installation.fine("cancel", "hang1")
    assert installation.ended("hang1")[0]["outcome"] == "cancelled"
