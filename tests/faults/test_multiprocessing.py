"""multiprocessing works in every run of a worker, with each way to start processes, and leaves nothing behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.helpers import IGNORED, with_signals_of_the_c_library
from tests.installation import Installation

PLUGIN = """
import concurrent.futures, glob, multiprocessing, os
from multiprocessing import resource_tracker, shared_memory
import jobd

def double(number):
    return 2 * number

@jobd.task
def in_a_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(double, range(4)) == [0, 2, 4, 6]
    return os.getpid()

@jobd.task
def in_an_executor(method):
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
    return os.getpid()

@jobd.task
def in_a_process(method):
    multiprocessing.set_start_method(method)
    process = multiprocessing.Process(target=double, args=(1,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return os.getpid()

@jobd.task
def leaves_shared_memory(method):
    return shared_memory.SharedMemory(create=True, size=1000).name
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("house") / "home", plugin=PLUGIN)
    installation.foreground()
    yield installation
    installation.close()


def run(installation: Installation, task: str, method: str, number: int) -> object:
    name = f"{task} {method} {number}"
    installation.fine("add", name, "--task", task, "--arg", f"method={method}", "--once")
    (ended,) = installation.ended(name)
    assert ended["outcome"] == "succeeded", ended["error"]
    assert "died" not in installation.fine("logs", name)
    return ended["result"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("task", ["in_a_pool", "in_an_executor", "in_a_process"])
def test_it_works_twice_in_a_row_in_one_worker(installation: Installation, task: str, method: str) -> None:
    assert run(installation, task, method, 1) == run(installation, task, method, 2)


class Spawned(Installation):
    """An installation whose daemon is started by a program that leaves signals 32 and 33 ignored."""

    def command(self, *words: str) -> list[str]:
        python, *others = super().command(*words)
        start = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        return [python, "-c", with_signals_of_the_c_library(IGNORED) + start, *others]


def test_signals_that_were_ignored_until_a_run_had_threads_cost_no_worker(tmp_path: Path) -> None:
    installation = Spawned(tmp_path / "home", plugin=PLUGIN)
    try:
        installation.foreground()
        assert run(installation, "in_a_pool", "fork", 1) == run(installation, "in_a_pool", "fork", 2)
    finally:
        installation.close()


def test_shared_memory_that_a_run_leaves_is_unlinked(installation: Installation) -> None:
    name = run(installation, "leaves_shared_memory", "any", 1)
    assert not os.path.exists(f"/dev/shm/{name}")


def test_its_own_processes_end_with_the_run(installation: Installation) -> None:
    pid = run(installation, "in_a_pool", "forkserver", 3)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert children.read_text() == ""
