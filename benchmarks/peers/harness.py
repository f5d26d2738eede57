"""Helpers of the peers' programs, which run in their own environments: only the standard library.

python PROGRAM drain JOBS STORE PATIENCE, or python PROGRAM every JOBS SECONDS WINDOW STORE, prints one line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable

Pairs = list[tuple[float, float]]


def wait(done: Callable[[], int], wanted: int, patience: float) -> tuple[int, float]:
    """Wait until so many are done; (how many are, seconds it took)."""
    began = time.perf_counter()
    while done() < wanted and time.perf_counter() - began < patience:
        time.sleep(0.01)
    return done(), time.perf_counter() - began


def due_times(jobs: int, seconds: float) -> list[float]:
    """When each of so many jobs is due first: spread evenly over their interval, beginning in some seconds."""
    first = time.time() + 3 + jobs / 1_000
    return [first + number * seconds / jobs for number in range(jobs)]


def window_of(dues: list[float], window: float) -> tuple[float, float]:
    """What is looked at: so many seconds, one after the first due time."""
    return dues[0] + 1, dues[0] + 1 + window


def until(moment: float) -> None:
    """Sleep until then."""
    time.sleep(max(0.0, moment - time.time()))


def observed(dues: list[float], seconds: float, window: float, pairs: Pairs) -> dict[str, float]:
    """Watch this process for a window; `pairs` are filled meanwhile with (due, started) of each run."""
    begin, end = window_of(dues, window)
    until(begin)
    used = time.process_time()
    until(end)
    used = time.process_time() - used
    time.sleep(2)  # what is late
    return summary(dues, seconds, window, pairs, used)


def summary(dues: list[float], seconds: float, window: float, pairs: Pairs, used: float) -> dict[str, float]:
    """The figures of a window."""
    begin, end = window_of(dues, window)
    late = sorted((started - due) * 1_000 for due, started in pairs if begin <= due < end)
    expected = len(dues) * window / seconds
    if not late:
        return {"ran": 0.0, "processor": 100 * used / window}
    return {
        "ran": min(100.0, 100 * len(late) / expected),
        "p50": late[len(late) // 2],
        "p99": late[min(len(late) - 1, int(len(late) * 0.99))],
        "processor": 100 * used / window,
    }


def drained(jobs: int, seconds: float) -> dict[str, float]:
    """The figures of a drain."""
    return {"rate": jobs / seconds, "done": jobs}


def main(
    drain: Callable[[int, str, float], dict[str, float]],
    every: Callable[[int, float, float, str], dict[str, float]] | None = None,
) -> None:
    """Do the command of the command line. The process ends directly after it, with all its threads."""
    what, jobs, *rest = sys.argv[1:]
    if what == "drain":
        found = drain(int(jobs), rest[0], float(rest[1]))
    elif every is not None:
        found = every(int(jobs), float(rest[0]), float(rest[1]), rest[2])
    else:
        found = {}
    print(json.dumps(found), flush=True)
    os._exit(0)
