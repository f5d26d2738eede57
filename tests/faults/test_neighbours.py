"""Daemons on one machine and one database: one that has died is taken over by its neighbours at once, and one that
lives never is, on each kind of database."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobd.daemon.control import ask
from tests.faults.scene import PLUGIN, notes, seen_running
from tests.house import House, until
from tests.processes import children

PROMISED = 2.0  # seconds
LEASE = 'lease = "30s"\n'


@pytest.fixture
def two(database: str, tmp_path: Path) -> Iterator[list[House]]:
    """Two daemons that are up, of which the first has a run that goes on."""
    houses = [House(tmp_path / f"house{number}", database, PLUGIN) for number in range(2)]
    for house in houses:
        house.configure("", 1, LEASE)
    houses[0].foreground()
    houses[0].fine("add", "gated", "--once")
    seen_running(houses[0], "gated")
    houses[1].foreground()
    for _ in range(2):  # the second answer comes after a turn in which it has looked round
        assert ask(str(houses[1].state), {"do": "changed"}, 20) == {"database": "ok"}
    yield houses
    for house in houses:
        house.close()


def beginnings(*houses: House) -> list[str]:
    return [note for note in notes(*houses) if note.startswith("began")]


@pytest.mark.quiet
def test_what_a_killed_daemon_ran_is_running_next_door_within_two_seconds(two: list[House]) -> None:
    two[0].processes[-1].kill()
    killed = time.monotonic()
    until(lambda: beginnings(two[1]), "the run next door")
    assert time.monotonic() - killed < PROMISED
    (two[1].folder / "open").touch()
    runs = two[1].ended("gated", 2)
    assert [run["outcome"] for run in runs] == ["succeeded", "lost"]
    assert "its daemon died" in runs[1]["error"]


def test_what_a_frozen_daemon_runs_goes_on(two: list[House]) -> None:
    daemon = two[0].processes[-1]
    daemon.send_signal(signal.SIGSTOP)
    time.sleep(2 * PROMISED)
    assert not beginnings(two[1])
    daemon.send_signal(signal.SIGCONT)
    (two[0].folder / "open").touch()
    assert [run["outcome"] for run in two[0].ended("gated")] == ["succeeded"]


@pytest.mark.quiet
def test_nothing_begins_next_door_before_what_the_dead_daemon_ran_has_ended(two: list[House]) -> None:
    daemon = two[0].processes[-1]
    guardians = children(daemon.pid)
    for pid in guardians:
        os.kill(pid, signal.SIGSTOP)
    daemon.kill()
    daemon.wait()
    time.sleep(2 * PROMISED)
    assert not beginnings(two[1])
    for pid in guardians:
        os.kill(pid, signal.SIGCONT)
    freed = time.monotonic()
    until(lambda: beginnings(two[1]), "the run next door")
    assert time.monotonic() - freed < PROMISED


def test_a_daemon_that_is_stopped_is_not_taken_for_dead(two: list[House]) -> None:
    (two[0].folder / "open").touch()
    two[0].ended("gated")
    two[0].fine("stop")
    time.sleep(PROMISED)
    assert "died" not in two[1].log()
    assert "dead" not in two[1].log()


def test_a_daemon_that_starts_again_at_once_and_its_neighbour_run_it_once(two: list[House]) -> None:
    two[0].processes[-1].kill()
    two[0].foreground()
    until(lambda: len(beginnings(*two)) == 2, "the second run")
    time.sleep(PROMISED)
    for house in two:
        (house.folder / "open").touch()
    assert [run["outcome"] for run in two[1].ended("gated", 2)] == ["succeeded", "lost"]
    assert len(beginnings(*two)) == 2


def test_a_daemon_in_another_namespace_is_nobodys_neighbour(tmp_path: Path) -> None:
    """Its lock cannot be seen from here, neither while it lives nor when it is dead."""
    houses = [House(tmp_path / f"house{number}", f"sqlite:///{tmp_path}/jobd.db", PLUGIN) for number in range(2)]
    for house in houses:
        house.configure("", 1, LEASE)
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    with contextlib.ExitStack() as stack:
        for house in houses:
            stack.callback(house.close)
        with _wrapped(houses[0], apart):
            houses[0].foreground()
        houses[0].fine("add", "gated", "--once")
        seen_running(houses[0], "gated")
        houses[1].foreground()
        time.sleep(2 * PROMISED)
        assert not beginnings(houses[1])
        houses[0].processes[-1].kill()
        time.sleep(2 * PROMISED)
        assert not beginnings(houses[1])


@contextlib.contextmanager
def _wrapped(house: House, before: list[str]) -> Iterator[None]:
    command: Callable[..., list[str]] = house.command
    house.command = lambda *words: [*before, *command(*words)]  # type: ignore[method-assign]
    yield
    house.command = command  # type: ignore[method-assign]
