"""The state that runs share, and the state that they never share, for each kind of isolation."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until
from tests.processes import is_gone

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
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", plugin=PLUGIN)
    yield installation
    installation.close()


def pids(installation: Installation) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (installation.folder / "pids").read_text().splitlines():
        name, pid = line.split()
        found.setdefault(name, []).append(pid)
    return found


def add(installation: Installation, name: str, *words: str) -> None:
    installation.fine("add", name, "--task", "tells", "--arg", f"name={name}", *words)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fresh_run_has_a_process_that_ran_nothing_before_and_runs_nothing_after(
    installation: Installation, workers: int
) -> None:
    installation.configure("", workers=workers)
    installation.foreground()
    for number in range(3):
        add(installation, f"warm{number}", "--every", "20ms")
    installation.ended("warm2", 5)
    for number in range(3):
        add(installation, f"fresh{number}", "--every", "300ms", "--isolation", "fresh")
    for number in range(3):
        installation.ended(f"fresh{number}", 4, LONG_TIMEOUT)
    found = pids(installation)
    fresh = [pid for name in found if name.startswith("fresh") for pid in found[name]]
    warm = {pid for name in found if name.startswith("warm") for pid in found[name]}
    assert len(fresh) == len(set(fresh)) >= 12
    assert not warm & set(fresh)


@pytest.mark.quiet
def test_a_fresh_run_that_waits_for_its_process_keeps_no_other_waiting(installation: Installation) -> None:
    installation.configure("", workers=2)
    installation.foreground()
    add(installation, "warm", "--every", "10ms")
    installation.ended("warm", 10)
    add(installation, "fresh", "--every", "100ms", "--isolation", "fresh")
    installation.ended("fresh", 5)
    began = sorted(run["started_time"] for run in installation.history("warm"))
    assert len(began) > 50


def test_a_fresh_run_that_waits_for_its_process_can_be_revoked(installation: Installation) -> None:
    installation.foreground()
    for number in range(5):
        add(installation, f"fresh{number}", "--once", "--isolation", "fresh")
        installation.fine("rm", f"fresh{number}")
    add(installation, "warm", "--once")
    installation.ended("warm")
    for number in range(5):
        installation.fine("restore", f"fresh{number}")
        installation.ended(f"fresh{number}")
    found = pids(installation)
    assert len({pid for ones in found.values() for pid in ones}) == 6


FORKED = '''
import ctypes, json, logging, os, signal, subprocess, sys, time, threading
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))
RUNS = []

@jobd.task
def counts():
    """Twice in a process: 2."""
    import decimal
    decimal.getcontext().prec = 5
    time.sleep = sys.stdout = None
    logging.disable()
    RUNS.append(1)
    return [len(RUNS), os.getpid(), os.getppid()]

@jobd.task
def tells_and_prints():
    print("a print")
    logging.getLogger().warning("a record")
    subprocess.run(["echo", "a child"])
    run = jobd.current_run()
    return [run.job, run.run, run.attempt]

@jobd.task
async def waits():
    return "waited"

@jobd.task
def raises():
    raise ValueError("as it should")

@jobd.task
def crashes():
    ctypes.string_at(0)

@jobd.task
def leaves():
    os._exit(0)

@jobd.task
def leaves_with_3():
    os._exit(3)

@jobd.task
def returns_too_much():
    return "x" * 10_000_000

@jobd.task
def floods_what_it_can():
    for number in range(3, 64):
        try:
            os.write(number, b"[1]" * 100_000)
        except OSError:
            pass

@jobd.task
def forks_and_both_return():
    os.fork()

@jobd.task
def leaves_a_process():
    child = os.fork()
    if child == 0:
        time.sleep(1000)
    open(HOME + "/child", "w").write(str(child))

@jobd.task
def hangs():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(1000)

@jobd.task
def cleans_up():
    open(HOME + "/began", "w").write(str(os.getpid()))
    try:
        time.sleep(1000)
    finally:
        open(HOME + "/cleaned", "w")

@jobd.task
def spawns():
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(abs, [-1])

@jobd.task
def leaves_shared_memory():
    from multiprocessing import shared_memory
    return shared_memory.SharedMemory(create=True, size=100).name
'''
ODD_IMPORTS = {
    "held_back": "print('import', end='')",
    "ignores": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "starved": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (1, 4096))",
}
FORK_ENDS: dict[str, tuple[str, str]] = {
    "waits": ("succeeded", ""),
    "raises": ("failed", "ValueError: as it should"),
    "crashes": ("failed", "its process was killed by SIGSEGV"),
    "leaves": ("failed", "its process ended before the task returned"),
    "leaves_with_3": ("failed", "its process ended with exit code 3 before the task returned"),
    "returns_too_much": ("succeeded", ""),
    "forks_and_both_return": ("succeeded", ""),
    "leaves_a_process": ("succeeded", ""),
    "spawns": ("succeeded", ""),
}


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", plugin=FORKED)
    installation.foreground()
    yield installation
    installation.close()


def ended(installation: Installation, task: str, *words: str, number: int = 1) -> dict[str, Any]:
    name = f"{task} {number}"
    installation.fine("add", name, "--task", task, "--once", "--isolation", "fork", *words)
    return installation.ended(name)[0]


def began(installation: Installation) -> str:
    file = installation.folder / "began"
    return file.read_text() if file.exists() else ""


def test_a_forked_run_changes_nothing_for_the_next(forking: Installation) -> None:
    runs = [ended(forking, "counts", number=number)["result"] for number in range(3)]
    assert {count for count, _, _ in runs} == {1}
    assert len({pid for _, pid, _ in runs}) == 3
    assert len({worker for _, _, worker in runs}) == 1


@pytest.mark.parametrize("task", FORK_ENDS)
def test_the_end_of_a_forked_run_is_reported_and_its_worker_goes_on(forking: Installation, task: str) -> None:
    outcome, error = FORK_ENDS[task]
    worker = ended(forking, "counts")["result"][2]
    run = ended(forking, task)
    assert run["outcome"] == outcome, run["error"]
    assert error in (run["error"] or "")
    assert ended(forking, "counts", number=2)["result"][2] == worker
    if task == "leaves_a_process":
        assert is_gone(int((forking.folder / "child").read_text()))


def test_output_of_a_forked_run_is_kept_with_it(forking: Installation) -> None:
    run = ended(forking, "tells_and_prints")
    assert run["result"] == ["tells_and_prints 1", 1, 1]
    assert forking.fine("logs", "tells_and_prints 1").splitlines() == ["a print", "a record", "a child"]


def test_a_forked_run_cannot_speak_for_its_worker(forking: Installation) -> None:
    run = ended(forking, "floods_what_it_can")
    assert run["outcome"] == "failed"
    assert ended(forking, "counts")["outcome"] == "succeeded"


def test_a_forked_run_ends_at_its_timeout(forking: Installation) -> None:
    assert ended(forking, "hangs", "--timeout", "300ms")["outcome"] == "timed_out"
    assert ended(forking, "counts")["outcome"] == "succeeded"


def test_a_forked_run_that_is_cancelled_cleans_up(forking: Installation) -> None:
    forking.fine("add", "cleans_up", "--once", "--isolation", "fork")
    until(lambda: began(forking), "its begin")
    forking.fine("cancel", "cleans_up")
    assert forking.ended("cleans_up")[0]["outcome"] == "cancelled"
    assert (forking.folder / "cleaned").exists()


def test_a_forked_run_ends_with_its_daemon(forking: Installation) -> None:
    forking.fine("add", "cleans_up", "--once", "--isolation", "fork")
    pid = int(until(lambda: began(forking), "its begin"))
    forking.processes[0].kill()
    until(lambda: is_gone(pid), "its end")


def test_shared_memory_of_a_forked_run_is_removed_after_it(forking: Installation) -> None:
    name = ended(forking, "leaves_shared_memory")["result"]
    assert not os.path.exists(f"/dev/shm/{name}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_forked_run_finds_nothing_of_warm_and_forked_ones_before_it(tmp_path: Path, workers: int) -> None:
    plugin = "import jobd\nRUNS = []\n@jobd.task\ndef counts():\n    RUNS.append(1)\n    return len(RUNS)\n"
    installation = Installation(tmp_path / "home", plugin=plugin)
    installation.configure("", workers=workers)
    try:
        installation.foreground()
        for kind, interval in (("warm", "20ms"), ("fork", "150ms"), ("fresh", "400ms")):
            for number in range(2):
                words = ("--task", "counts", "--every", interval, "--isolation", kind)
                installation.fine("add", f"{kind}{number}", *words)
        for name in ("fork0", "fork1", "fresh0", "fresh1"):
            found = {run["result"] for run in installation.ended(name, 4, LONG_TIMEOUT)}
            assert found == {1}, name
    finally:
        installation.close()


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home")
    for name, text in ODD_IMPORTS.items():
        plugin = f"{text}\nimport jobd\n@jobd.task\ndef {name}():\n    print('run')\n"
        (installation.folder / "plugins" / f"{name}_plugin.py").write_text(plugin)
    installation.foreground()
    yield installation
    installation.close()


def test_unflushed_output_of_an_import_is_printed_once(odd: Installation) -> None:
    assert ended(odd, "held_back", "--force")["outcome"] == "succeeded"
    assert odd.fine("logs", "held_back 1") == "importrun\n"


def test_a_plugin_that_ignores_the_end_of_children_can_be_forked(odd: Installation) -> None:
    assert ended(odd, "ignores", "--force")["outcome"] == "succeeded"
    assert odd.fine("logs", "ignores 1") == "run\n"


def test_a_run_that_cannot_be_forked_fails_with_the_reason_and_nothing_internal(odd: Installation) -> None:
    run = ended(odd, "starved", "--force")
    assert (run["outcome"], run["error"]) == ("failed", "it could not be forked: Too many open files")
    assert "Traceback" not in odd.fine("logs", "starved 1")


def test_a_plugin_with_threads_is_not_forked_and_its_run_fails_with_the_reason(tmp_path: Path) -> None:
    plugin = "import threading, time, jobd\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    installation = Installation(tmp_path / "home", plugin=plugin + "@jobd.task\ndef hello():\n    pass\n")
    try:
        installation.foreground()
        installation.fine("add", "hello", "--once", "--isolation", "fork")
        until(lambda: "has started a thread" in installation.fine("show", "hello"), "the reason")
    finally:
        installation.close()
