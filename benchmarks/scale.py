"""Scale: the daemon's memory, and the time from its start to the first run, with few and with many stored jobs."""

import argparse
import time
from pathlib import Path

from benchmarks.common import figure, installation


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def measure(jobs: int) -> tuple[float, float]:
    """(MiB after 10 s, seconds from the start to the first run)."""
    with installation() as jobd:
        jobd.define(jobs, "at 2099-01-01T00:00:00+00:00", False)
        jobd.jobd("add", "first", "--task", "noop", "--once")
        began = time.time()
        with jobd.daemon() as process:
            jobd.wait_for("SELECT count(*) FROM run", 1, 60)
            ((started,),) = jobd.rows("SELECT min(started_time) FROM run")
            time.sleep(max(0, began + 10 - time.time()))
            return resident(process.pid), started / 1e6 - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for jobs in options.jobs:
        measured = [measure(jobs) for _ in range(options.rounds)]
        figure(f"daemon with {jobs:,} jobs stored", [memory for memory, _ in measured], "MiB")
        figure(f"start to first run with {jobs:,} jobs stored", [seconds for _, seconds in measured], "s", 3)


if __name__ == "__main__":
    main()
