"""The cost of processes as the kernel counts it: processor time in nanoseconds, memory, and the time of a command."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Run a command from a process that is small itself, since a process inherits the peak memory of the one that made it.
_MEASURE = """
import json, os, resource, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, used = os.wait4(pid, 0)
took = time.perf_counter() - began
code = os.waitstatus_to_exitcode(status)
print(json.dumps([took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, code]))
"""


def family(pid: int) -> list[int]:
    """A process and all that descends from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def processor_seconds(pid: int) -> float:
    """User and system time that a process has used, of all its threads."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) names


def family_seconds(pid: int) -> float:
    """User and system time of a process and all that descends from it, of those that have ended too."""
    total = 0.0
    for member in family(pid):
        ended = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()[13:15]
        total += processor_seconds(member) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    return total


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def seconds(command: Sequence[str], environ: dict[str, str]) -> float:
    """How long a command takes, its output thrown away."""
    began = time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


class Cost(NamedTuple):
    """The use of resources by a command: seconds, seconds of processor time, MiB at the peak."""

    seconds: float
    processor: float
    peak: float


def cost(command: Sequence[str], environ: dict[str, str]) -> Cost:
    """Run a command, its output thrown away."""
    measuring = [sys.executable, "-I", "-S", "-c", _MEASURE, *command]
    *found, code = json.loads(subprocess.run(measuring, env=environ, capture_output=True, check=True).stdout)
    if code:
        raise RuntimeError(f"{command} ended with {code}")
    return Cost(*found)
