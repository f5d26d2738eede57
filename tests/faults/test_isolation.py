"""What a run may share with other runs, and what it never does, for each kind of isolation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import House

PLUGIN = """
import os
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))

@jobd.task
def tells(name):
    descriptor = os.open(f"{HOME}/pids", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{name} {os.getpid()}\\n".encode())
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house", plugin=PLUGIN)
    yield house
    house.close()


def pids(house: House) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (house.folder / "pids").read_text().splitlines():
        name, pid = line.split()
        found.setdefault(name, []).append(pid)
    return found


def add(house: House, name: str, *words: str) -> None:
    house.fine("add", name, "--task", "tells", "--arg", f"name={name}", *words)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fresh_run_has_a_process_that_ran_nothing_before_and_runs_nothing_after(house: House, workers: int) -> None:
    house.configure("", workers=workers)
    house.foreground()
    for number in range(3):
        add(house, f"warm{number}", "--every", "20ms")
    house.ended("warm2", 5)
    for number in range(3):
        add(house, f"fresh{number}", "--every", "300ms", "--isolation", "fresh")
    for number in range(3):
        house.ended(f"fresh{number}", 4)
    found = pids(house)
    fresh = [pid for name in found if name.startswith("fresh") for pid in found[name]]
    warm = {pid for name in found if name.startswith("warm") for pid in found[name]}
    assert len(fresh) == len(set(fresh)) >= 12
    assert not warm & set(fresh)


def test_a_fresh_run_that_waits_for_its_process_keeps_no_other_waiting(house: House) -> None:
    house.configure("", workers=2)
    house.foreground()
    add(house, "warm", "--every", "10ms")
    house.ended("warm", 10)
    add(house, "fresh", "--every", "100ms", "--isolation", "fresh")
    house.ended("fresh", 5)
    began = sorted(run["started_time"] for run in house.history("warm"))
    assert len(began) > 50


def test_a_fresh_run_that_waits_for_its_process_can_be_taken_back(house: House) -> None:
    house.foreground()
    for number in range(5):
        add(house, f"fresh{number}", "--once", "--isolation", "fresh")
        house.fine("rm", f"fresh{number}")
    add(house, "warm", "--once")
    house.ended("warm")
    for number in range(5):
        house.fine("restore", f"fresh{number}")
        house.ended(f"fresh{number}")
    found = pids(house)
    assert len({pid for ones in found.values() for pid in ones}) == 6
