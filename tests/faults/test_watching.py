"""People who watch a job while it runs: `logs -f`, `run --wait`."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.house import House, until

PLUGIN = """
import os, time
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))

@jobd.task
def talks():
    for number in range(3):
        print("line", number, flush=True)
        while not os.path.exists(f"{HOME}/go{number}"):
            time.sleep(0.01)
    print("the end")
    if os.path.exists(HOME + "/fail"):
        raise RuntimeError("as asked")
"""


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path / "house", plugin=PLUGIN)
    house.foreground()
    house.fine("add", "talks", "--at", "2099-01-01T00:00:00Z")
    yield house
    house.close()


def let_go(house: House, *numbers: int) -> None:
    for number in numbers:
        (house.folder / f"go{number}").touch()


def watch(house: House, *words: str) -> subprocess.Popen[str]:
    out = (house.folder / "seen").open("w")
    err = (house.folder / "said").open("w")
    process = subprocess.Popen(house.command(*words), env=house.environ, stdout=out, stderr=err, text=True)
    house.processes.append(process)
    return process


def seen(house: House) -> str:
    return (house.folder / "seen").read_text()


def test_logs_follows_a_run_line_by_line_and_the_next_one_too(house: House) -> None:
    house.fine("run", "talks")
    follower = watch(house, "logs", "talks", "-f")
    until(lambda: seen(house) == "line 0\n", "the first line")
    let_go(house, 0)
    until(lambda: seen(house) == "line 0\nline 1\n", "the second line")
    let_go(house, 1, 2)
    until(lambda: seen(house).endswith("the end\n"), "the end")
    house.ended("talks")
    house.fine("run", "talks")
    until(lambda: seen(house).count("the end\n") == 2, "the next run")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert (house.folder / "said").read_text() == ""


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)])
def test_run_wait_shows_what_was_printed_and_how_it_ended(house: House, fails: bool, code: int) -> None:
    if fails:
        (house.folder / "fail").touch()
    let_go(house, 0, 1, 2)
    answer = house.jobd("run", "talks", "--wait")
    assert answer.returncode == code
    assert answer.stdout.startswith("line 0\nline 1\nline 2\nthe end\n")
    assert ("run 1 of talks failed" if fails else "run 1 of talks succeeded") in answer.stderr
    assert "Traceback" not in answer.stderr


def test_run_wait_that_is_interrupted_leaves_the_run_alone(house: House) -> None:
    waiter = watch(house, "run", "talks", "--wait")
    until(lambda: house.status()["running"], "the run")
    waiter.send_signal(signal.SIGINT)
    assert waiter.wait(10) == 130
    let_go(house, 0, 1, 2)
    assert house.ended("talks")[0]["outcome"] == "succeeded"


def test_a_reader_that_goes_away_is_no_error(house: House) -> None:
    let_go(house, 0, 1, 2)
    house.fine("run", "talks", "--wait")
    reader, writer = os.pipe()
    os.close(reader)
    for words in (["history", "--json"], ["logs", "talks"], ["list"], ["export"]):
        process = subprocess.run(
            house.command(*words), env=house.environ, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        assert (process.returncode, process.stderr) == (141, ""), words
    os.close(writer)
