"""How a program ended is said in one line, whatever it was, and costs no worker."""

from collections.abc import Iterator

import pytest

from tests.faults.scene import DEFAULT, with_signals_of_the_c_library
from tests.house import House

PLUGIN = """
import os, signal
import jobd

@jobd.task
def pid():
    print(os.getpid())

@jobd.task
def dies_by_a_real_time_signal():
    os.kill(os.getpid(), signal.SIGRTMIN + 1)

@jobd.task
def dies_by_the_last_signal():
    os.kill(os.getpid(), signal.SIGRTMAX)
"""
KILLED_BY_32 = with_signals_of_the_c_library(DEFAULT) + "import os\nos.kill(os.getpid(), 32)"
# name: (program, what the error says)
PROGRAMS: dict[str, tuple[list[str], str]] = {
    "killed": (["sh", "-c", "kill -9 $$"], "killed by SIGKILL"),
    "killed by the first real-time signal": (["sh", "-c", "kill -34 $$"], "killed by SIGRTMIN"),
    "killed by another": (["sh", "-c", "kill -35 $$"], "killed by SIGRTMIN+1"),
    "killed by the last": (["sh", "-c", "kill -64 $$"], "killed by SIGRTMAX"),
    "killed by the library's own": (["python3", "-c", KILLED_BY_32], "killed by signal 32"),
    "is not there": (["/no/" + "\u00e9" * 1000 + "/such"], "there is no program '/no/é"),
    "has a name that is too long": (["\U0001f4a5" * 4000], "cannot be run: "),
    "is a folder": (["/"], "'/' cannot be run: "),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("programs") / "house", plugin=PLUGIN)
    house.foreground()
    yield house
    house.close()


def pid_of_the_worker(house: House, name: str) -> str:
    house.fine("add", name, "--task", "pid", "--once")
    house.ended(name)
    return str(house.fine("logs", name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_became_of_a_program_is_said_and_costs_no_worker(house: House, name: str) -> None:
    words, error = PROGRAMS[name]
    before = pid_of_the_worker(house, f"before {name}")
    house.fine("add", name, "--once", "--", *words)
    (run,) = house.ended(name)
    assert run["outcome"] == "failed"
    assert error in run["error"], run
    assert pid_of_the_worker(house, f"after {name}") == before


@pytest.mark.parametrize(
    ("task", "name"), [("dies_by_a_real_time_signal", "SIGRTMIN+1"), ("dies_by_the_last_signal", "SIGRTMAX")]
)
def test_a_real_time_signal_that_ends_a_task_has_a_name(house: House, task: str, name: str) -> None:
    house.fine("add", task, "--once")
    (run,) = house.ended(task)
    assert run["error"] == f"its process was killed by {name}"
