"""A soak: 200 runs a second for as long as you like, a fault every 20 s, and what the daemons take meanwhile.

python -m tests.chaos.soak KIND MINUTES [SEED]
"""

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tests.chaos.checker import judge
from tests.chaos.cluster import Cluster, cluster
from tests.chaos.faults import Faults
from tests.processes import family

JOBS = 200  # each runs once a second
EVERY = 5.0  # seconds between two looks
REST = 40.0
WAL_LIMIT = 64 * 2**20


class Sample(NamedTuple):
    """What a daemon takes at one moment."""

    memory: float  # MiB, of the daemon alone
    descriptors: int
    threads: int
    processes: int
    connections: int  # of all daemons, to the database server


GROWTH = Sample(memory=8, descriptors=2, threads=1, processes=2, connections=2)  # what is still flat


class Gauge:
    """Looks at the daemons now and then; a daemon that was killed is another one when it is back."""

    def __init__(self, broken: Cluster) -> None:
        self.samples: dict[int, list[Sample]] = defaultdict(list)  # by process id
        self.wal = 0  # the longest ever, in bytes
        self._cluster = broken
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()

    def longest(self) -> list[Sample]:
        """The samples of the daemon that has lived longest."""
        return max(self.samples.values(), key=len)

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            for wal in self._cluster.disks[:1] if self._cluster.server is None else ():
                self.wal = max(self.wal, (wal / "jobd.db-wal").stat().st_size)
            for installation in self._cluster.installations:
                process = installation.processes[-1]
                if process.poll() is None:
                    self._look(process.pid)

    def _look(self, pid: int) -> None:
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            memory = int(status["VmRSS"].split()[0]) / 1024
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, KeyError):
            return  # it has just ended
        lines = sum(proxy.lines() for proxy in self._cluster.proxies)
        self.samples[pid].append(Sample(memory, descriptors, int(status["Threads"]), len(family(pid)), lines))


def main() -> None:
    """Run it, and tell."""
    kind, minutes = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    folder = Path(tempfile.mkdtemp(prefix="jobd-soak-"))
    with cluster(kind, folder, disk="768m") as breakable:
        jobs = "".join(
            f'[job.soak{number}]\ntask = "brief"\ninterval = "1s"\ncatch_up = "all"\n' for number in range(JOBS)
        )
        (folder / "jobs.toml").write_text(jobs)
        breakable.installations[0].fine("apply", str(folder / "jobs.toml"), "--yes")
        gauge = Gauge(breakable)
        faults = Faults(seed, breakable, immortal=0)
        faults.run(60 * minutes, (20, 20))
        time.sleep(REST)
        finished_at = time.monotonic()
        gauge.stop()
        runs = breakable.executions()
        intervals = {f"soak{number}": 1.0 for number in range(JOBS)}
        wrong = faults.wrong + breakable.complaints()
        wrong += judge(runs, [], faults.freezes, intervals, {}, finished_at, False)
    print(f"{kind}, {minutes:g} minutes, seed {seed}: {len(runs)} executions, {len(faults.done)} faults")
    samples = gauge.longest()
    tenth = max(1, len(samples) // 10)
    for name in Sample._fields:
        values = [getattr(sample, name) for sample in samples[1:]]
        first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
        print(f"  {name}: {first:g} at first, {last:g} at last, {max(values):g} at most")
        if last - first > getattr(GROWTH, name):
            wrong.append(f"{name} has grown by {last - first:g}")
    print(
        f"  of a daemon that lived for {len(samples) * EVERY / 60:.1f} minutes; WAL at most {gauge.wal / 2**20:.1f} MiB"
    )
    if gauge.wal > WAL_LIMIT:
        wrong.append("the WAL has become too long")
    print("\n".join(wrong[:50]) or "nothing lost, nothing twice, nothing grows")
    if wrong:
        print("\n".join(faults.done), f"\n{folder} is kept")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
