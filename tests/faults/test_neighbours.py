"""Daemons on one machine and one database: neighbours take over a dead one at once, and never one that lives.

The tests run on each kind of database.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobd.daemon.control import ask
from tests.faults.helpers import PLUGIN, notes, seen_running
from tests.installation import Installation, until
from tests.processes import children

PROMISED = 2.0  # seconds
LEASE = 'lease = "30s"\n'


@pytest.fixture
def two(database: str, tmp_path: Path) -> Iterator[list[Installation]]:
    """Two daemons that are up. The first has a run in progress."""
    installations = [Installation(tmp_path / f"home{number}", database, PLUGIN) for number in range(2)]
    for installation in installations:
        installation.configure("", 1, LEASE)
    installations[0].foreground()
    installations[0].fine("add", "gated", "--once")
    seen_running(installations[0], "gated")
    installations[1].foreground()
    for _ in range(2):  # the second answer comes after a turn in which it has looked round
        assert ask(str(installations[1].state), {"do": "changed"}, 20) == {"database": "ok"}
    yield installations
    for installation in installations:
        installation.close()


def beginnings(*installations: Installation) -> list[str]:
    return [note for note in notes(*installations) if note.startswith("began")]


@pytest.mark.quiet
def test_runs_of_a_killed_daemon_start_on_its_neighbour_within_two_seconds(two: list[Installation]) -> None:
    two[0].processes[-1].kill()
    killed = time.monotonic()
    until(lambda: beginnings(two[1]), "the run next door")
    assert time.monotonic() - killed < PROMISED
    (two[1].folder / "open").touch()
    runs = two[1].ended("gated", 2)
    assert [run["outcome"] for run in runs] == ["succeeded", "lost"]
    assert "its daemon died" in runs[1]["error"]


def test_runs_of_a_frozen_daemon_go_on(two: list[Installation]) -> None:
    daemon = two[0].processes[-1]
    daemon.send_signal(signal.SIGSTOP)
    time.sleep(2 * PROMISED)
    assert not beginnings(two[1])
    daemon.send_signal(signal.SIGCONT)
    (two[0].folder / "open").touch()
    assert [run["outcome"] for run in two[0].ended("gated")] == ["succeeded"]


@pytest.mark.quiet
def test_a_neighbour_starts_no_run_before_the_dead_daemons_runs_have_ended(two: list[Installation]) -> None:
    daemon = two[0].processes[-1]
    guardians = children(daemon.pid)
    for pid in guardians:
        os.kill(pid, signal.SIGSTOP)
    try:
        daemon.kill()
        daemon.wait()
        time.sleep(2 * PROMISED)
        assert not beginnings(two[1])
    finally:
        for pid in guardians:
            os.kill(pid, signal.SIGCONT)
    freed = time.monotonic()
    until(lambda: beginnings(two[1]), "the run next door")
    assert time.monotonic() - freed < PROMISED


def test_a_daemon_that_is_stopped_is_not_taken_for_dead(two: list[Installation]) -> None:
    (two[0].folder / "open").touch()
    two[0].ended("gated")
    two[0].fine("stop")
    time.sleep(PROMISED)
    assert "died" not in two[1].log()
    assert "dead" not in two[1].log()


def test_a_daemon_that_starts_again_at_once_and_its_neighbour_run_it_once(two: list[Installation]) -> None:
    two[0].processes[-1].kill()
    two[0].foreground()
    until(lambda: len(beginnings(*two)) == 2, "the second run")
    time.sleep(PROMISED)
    for installation in two:
        (installation.folder / "open").touch()
    assert [run["outcome"] for run in two[1].ended("gated", 2)] == ["succeeded", "lost"]
    assert len(beginnings(*two)) == 2


def test_a_daemon_in_another_network_namespace_is_no_neighbour(tmp_path: Path) -> None:
    """Its lock cannot be seen from here, neither while it lives nor when it is dead."""
    installations = [
        Installation(tmp_path / f"home{number}", f"sqlite:///{tmp_path}/jobd.db", PLUGIN) for number in range(2)
    ]
    for installation in installations:
        installation.configure("", 1, LEASE)
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    with contextlib.ExitStack() as stack:
        for installation in installations:
            stack.callback(installation.close)
        with _wrapped(installations[0], apart):
            installations[0].foreground()
        installations[0].fine("add", "gated", "--once")
        seen_running(installations[0], "gated")
        installations[1].foreground()
        time.sleep(2 * PROMISED)
        assert not beginnings(installations[1])
        installations[0].processes[-1].kill()
        time.sleep(2 * PROMISED)
        assert not beginnings(installations[1])


@contextlib.contextmanager
def _wrapped(installation: Installation, before: list[str]) -> Iterator[None]:
    command: Callable[..., list[str]] = installation.command
    installation.command = lambda *words: [*before, *command(*words)]  # type: ignore[method-assign]
    yield
    installation.command = command  # type: ignore[method-assign]
