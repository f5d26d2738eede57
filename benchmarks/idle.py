"""Idle: what the daemon and its workers cost while nothing is due."""

import argparse
import os
import time
from pathlib import Path

from benchmarks.common import installation


def family(pid: int) -> list[int]:
    """A process and all that descends from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def processor_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with installation() as jobd:
        jobd.define(options.jobs, "at 2099-01-01T00:00:00+00:00", False)
        with jobd.daemon() as process:
            time.sleep(5)
            pids = family(process.pid)
            before = sum(map(processor_seconds, pids))
            time.sleep(options.seconds)
            used = sum(map(processor_seconds, pids)) - before
    print(f"idle, {options.jobs:,} jobs due later, {len(pids)} processes: {used:.2f} s in {options.seconds} s")
    print(f"share of one core: {100 * used / options.seconds:.2f} %")


if __name__ == "__main__":
    main()
