"""Ratios of jobd's costs to a fixed reference measured at the same time: processor time, memory, wake-ups.

Processor time hardly knows how busy a machine is, and the ratio to a fixed piece of work knows it less. The least of
some rounds is taken, of both: what disturbs adds, and never takes away.
"""

import heapq
import json
import os
import socket
import sqlite3
import sys
import time
from pathlib import Path

from benchmarks.common import FINISHED, JOBD, Installation, installation, once
from benchmarks.processes import cost, family, family_seconds, processor_seconds, resident

JOBS = 2_000
DRAINS = 5  # in each of so many
ROUNDS = 3
IDLE = 4.0  # seconds
LISTS = 15
TALK = 10_000


def calibration() -> float:
    """Processor seconds of a fixed piece of work: what a scheduler does, in plain Python, sqlite3 and the kernel."""
    began = time.process_time()
    talk()
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE schedule (id INTEGER PRIMARY KEY, due INTEGER, text TEXT)")
    database.execute("CREATE INDEX due ON schedule (due)")
    queue: list[tuple[int, str]] = []
    for number in range(20_000):
        message = json.dumps({"id": number, "name": f"job{number}", "due": number * 7})
        heapq.heappush(queue, (number * 7919 % 20_011, message))
    rows = []
    while queue:
        due, message = heapq.heappop(queue)
        rows.append((json.loads(message)["id"], due, message))
    database.executemany("INSERT INTO schedule VALUES (?, ?, ?)", rows)
    database.executemany("UPDATE schedule SET due = due + ? WHERE id = ?", [(due, number) for number, due, _ in rows])
    database.close()
    return time.process_time() - began


def talk() -> None:
    """System calls of the kinds that a run takes: machines differ more in these than in plain work."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs:
        for _ in range(TALK):
            theirs.send(b"x")
            ours.recv(1)
            os.write(writing, b"x")
            os.read(reading, 1)
            for descriptor in (reading, writing):
                os.fstat(descriptor)
            os.close(os.dup(reading))
    os.close(reading)
    os.close(writing)


def wake_ups(pid: int) -> int:
    """How often the threads of a process have waited."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                found += int(line.split()[1])
    return found


def life(jobd: Installation) -> dict[str, float]:
    """One daemon: what its start, some idle seconds and a drain cost it."""
    with jobd.daemon() as process:
        jobd.wait_for("SELECT count(*) FROM node", 1, 60)
        while len(family(process.pid)) < 5:  # itself, two guardians, two workers
            time.sleep(0.05)
        time.sleep(0.7)
        started, waited = family_seconds(process.pid), wake_ups(process.pid)
        time.sleep(IDLE)
        waited = wake_ups(process.pid) - waited
        drains = [drain(jobd, process.pid, number) for number in range(DRAINS)]
        return {
            "start": started,
            "wake-ups": waited,
            "daemon": min(alone for alone, _ in drains),
            "workers": min(workers for _, workers in drains),
            "memory": resident(process.pid),
        }


def drain(jobd: Installation, pid: int, number: int) -> tuple[float, float]:
    """Processor seconds of the daemon, and of its workers, for a short drain: the shorter, the likelier undisturbed."""
    alone, together = processor_seconds(pid), family_seconds(pid)
    jobd.define(JOBS, once, f"drain{number}-")
    jobd.wait_for(FINISHED, JOBS * (number + 1), 120)
    alone, together = processor_seconds(pid) - alone, family_seconds(pid) - together
    return alone, together - alone


def listing(jobd: Installation) -> tuple[float, float]:
    """(`jobd list` / `python -c pass`, MiB of the latter): the least processor time of each."""
    bare, listed = [], []
    for _ in range(LISTS):
        bare.append(cost([sys.executable, "-c", "pass"], jobd.environ))
        listed.append(cost([*JOBD, "list"], jobd.environ))
    least = min(one.processor for one in bare)
    return min(one.processor for one in listed) / least, min(one.peak for one in bare)


def measure() -> dict[str, float]:
    """Every ratio by its name."""
    lives, fixed = [], []
    for _ in range(ROUNDS):
        fixed.append(calibration())
        with installation() as jobd:
            jobd.jobd("add", "later", "--task", "noop", "--at", "2099-01-01T00:00:00+00:00")
            lives.append(life(jobd))
    fixed.append(calibration())
    least = {name: min(one[name] for one in lives) for name in lives[0]}
    unit = min(fixed)
    with installation() as jobd:
        jobd.define(20, lambda number: 'interval = "1h"')
        ratio, memory = listing(jobd)
    return {
        "processor time of the daemon, 1,000 runs / fixed work": least["daemon"] / unit * 1_000 / JOBS,
        "processor time of the workers, 1,000 runs / fixed work": least["workers"] / unit * 1_000 / JOBS,
        "processor time of a start, workers included / fixed work": least["start"] / unit,
        f"wake-ups of the idle daemon in {IDLE:.0f} s": least["wake-ups"],
        "memory of the daemon / `python -c pass`": least["memory"] / memory,
        "processor time of `jobd list` / `python -c pass`": ratio,
    }
