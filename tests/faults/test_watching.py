"""Commands that follow a run in progress: `logs -f`, `run --wait`."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Installation, until

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
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", plugin=PLUGIN)
    installation.foreground()
    installation.fine("add", "talks", "--at", "2099-01-01T00:00:00Z")
    yield installation
    installation.close()


def let_go(installation: Installation, *numbers: int) -> None:
    for number in numbers:
        (installation.folder / f"go{number}").touch()


def watch(installation: Installation, *words: str) -> subprocess.Popen[str]:
    out = (installation.folder / "seen").open("w")
    err = (installation.folder / "said").open("w")
    process = subprocess.Popen(
        installation.command(*words), env=installation.environ, stdout=out, stderr=err, text=True
    )
    installation.processes.append(process)
    return process


def seen(installation: Installation) -> str:
    return (installation.folder / "seen").read_text()


def test_logs_follows_a_run_line_by_line_and_the_next_one_too(installation: Installation) -> None:
    installation.fine("run", "talks")
    follower = watch(installation, "logs", "talks", "-f")
    until(lambda: seen(installation) == "line 0\n", "the first line")
    let_go(installation, 0)
    until(lambda: seen(installation) == "line 0\nline 1\n", "the second line")
    let_go(installation, 1, 2)
    until(lambda: seen(installation).endswith("the end\n"), "the end")
    installation.ended("talks")
    installation.fine("run", "talks")
    until(lambda: seen(installation).count("the end\n") == 2, "the next run")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert (installation.folder / "said").read_text() == ""


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)])
def test_run_wait_shows_the_output_and_the_outcome(installation: Installation, fails: bool, code: int) -> None:
    if fails:
        (installation.folder / "fail").touch()
    let_go(installation, 0, 1, 2)
    answer = installation.jobd("run", "talks", "--wait")
    assert answer.returncode == code
    assert answer.stdout.startswith("line 0\nline 1\nline 2\nthe end\n")
    assert ("run 1 of talks failed" if fails else "run 1 of talks succeeded") in answer.stderr
    assert "Traceback" not in answer.stderr


def test_run_wait_that_is_interrupted_leaves_the_run_alone(installation: Installation) -> None:
    waiter = watch(installation, "run", "talks", "--wait")
    until(lambda: installation.status()["running"], "the run")
    waiter.send_signal(signal.SIGINT)
    assert waiter.wait(10) == 130
    let_go(installation, 0, 1, 2)
    assert installation.ended("talks")[0]["outcome"] == "succeeded"


def test_a_reader_that_goes_away_is_no_error(installation: Installation) -> None:
    let_go(installation, 0, 1, 2)
    installation.fine("run", "talks", "--wait")
    reader, writer = os.pipe()
    os.close(reader)
    for words in (["history", "--json"], ["logs", "talks"], ["list"], ["export"]):
        process = subprocess.run(
            installation.command(*words), env=installation.environ, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        assert (process.returncode, process.stderr) == (141, ""), words
    os.close(writer)
