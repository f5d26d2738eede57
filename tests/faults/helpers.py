"""Helpers of the fault tests: tasks that record their actions, and functions that read these records."""

import platform
import sqlite3
import subprocess
from typing import Any

from tests.installation import Installation, until

_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
DEFAULT, IGNORED = 0, 1

PLUGIN = '''
import os, sys, time
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))

def note(what):
    descriptor = os.open(HOME + "/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{what} {jobd.current_run().job} {jobd.current_run().run} {os.getpid()}\\n".encode())
    os.close(descriptor)

@jobd.task
def quick():
    note("ran")

@jobd.task
def naps():
    time.sleep(0.05)
    note("napped")

@jobd.task
def dozes():
    time.sleep(0.2)

@jobd.task
def gated():
    """Goes on until the file `open` is there."""
    note("began")
    print("waiting")
    while not os.path.exists(HOME + "/open"):
        time.sleep(0.01)
    note("ended")

@jobd.task
def fails():
    note("ran")
    raise RuntimeError("as always")
'''
FAST = 'poll = "100ms"\nlease = "5s"\n'


def notes(*installations: Installation) -> list[str]:
    """What the tasks themselves have noted."""
    return [
        line
        for installation in installations
        if (file := installation.folder / "notes").exists()
        for line in file.read_text().split("\n")
        if line
    ]


def noted(installation: Installation, what: str, count: int = 1) -> list[str]:
    """The notes that begin with `what`, when there are `count` of them."""
    return until(
        lambda: len(found := [line for line in notes(installation) if line.startswith(what)]) >= count and found, what
    )


def seen_running(installation: Installation, name: str) -> int:
    """The process id of the job's run, when everybody can see that it is running."""
    until(lambda: installation.fine("show", name, "--json")["state"] == "running", f"{name} to be seen running")
    return int(noted(installation, "began")[0].split()[-1])


def ends(process: subprocess.Popen[str], within: float = 20) -> int:
    return process.wait(within)


def claimed(installation: Installation) -> list[tuple[Any, ...]]:
    with sqlite3.connect(installation.folder / "jobd.db") as connection:
        return connection.execute("SELECT job_id FROM schedule WHERE node_id <> 0").fetchall()


def with_signals_of_the_c_library(handler: int) -> str:
    """Python source that has signals 32 and 33 ignored, as some starters leave them (make on Debian 12), or not."""
    change = f"ctypes.CDLL(None).syscall({_RT_SIGACTION[platform.machine()]}, number, action, None, 8)"
    return f"import ctypes\naction = ({handler}).to_bytes(32, 'little')\nfor number in (32, 33): assert {change} == 0\n"
