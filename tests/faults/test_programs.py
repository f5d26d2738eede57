"""Every end of a program is reported in one line and costs no worker."""

from collections.abc import Iterator

import pytest

from tests.faults.helpers import DEFAULT, with_signals_of_the_c_library
from tests.installation import Installation

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
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("programs") / "home", plugin=PLUGIN)
    installation.foreground()
    yield installation
    installation.close()


def pid_of_the_worker(installation: Installation, name: str) -> str:
    installation.fine("add", name, "--task", "pid", "--once")
    installation.ended(name)
    return str(installation.fine("logs", name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_end_of_a_program_is_recorded_and_costs_no_worker(installation: Installation, name: str) -> None:
    words, error = PROGRAMS[name]
    before = pid_of_the_worker(installation, f"before {name}")
    installation.fine("add", name, "--once", "--", *words)
    (run,) = installation.ended(name)
    assert run["outcome"] == "failed"
    assert error in run["error"], run
    assert pid_of_the_worker(installation, f"after {name}") == before


@pytest.mark.parametrize(
    ("task", "name"), [("dies_by_a_real_time_signal", "SIGRTMIN+1"), ("dies_by_the_last_signal", "SIGRTMAX")]
)
def test_a_real_time_signal_that_ends_a_task_has_a_name(installation: Installation, task: str, name: str) -> None:
    installation.fine("add", task, "--once")
    (run,) = installation.ended(task)
    assert run["error"] == f"its process was killed by {name}"
