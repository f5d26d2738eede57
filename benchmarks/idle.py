"""Idle: the cost of the daemon and its workers while nothing is due. A round is some seconds of one daemon.

The limit is zero. The program also prints the lowest cost of a poll of the database: PRAGMA data_version with plain
sqlite3, once a second.
"""

import sqlite3
import tempfile
import time
from itertools import pairwise

from benchmarks.common import arguments, at, figure, installations
from benchmarks.processes import family, family_seconds


def poll_cost(count: int = 10_000) -> float:
    """CPU seconds per minute of one poll per second."""
    with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
        database = sqlite3.connect(f"{folder}/raw.db")
        database.execute("PRAGMA journal_mode=WAL")
        began = time.process_time()
        for _ in range(count):
            database.execute("PRAGMA data_version").fetchone()
        used = time.process_time() - began
        database.close()
    return 60 * used / count


def main() -> None:
    parser = arguments(__doc__, databases=("sqlite",))
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for kind in options.databases:
        with installations(kind) as fresh, fresh() as jobd:
            definition = f'interval = "1h"\nstarts = "{at(time.time() + 3600)}"'
            jobd.define(options.jobs, ([definition] * options.jobs).__getitem__)
            with jobd.daemon() as process:
                time.sleep(4)
                marks = [family_seconds(process.pid)]
                for _ in range(options.rounds):
                    time.sleep(options.seconds)
                    marks.append(family_seconds(process.pid))
                processes = len(family(process.pid))
        used = [60 * (after - before) / options.seconds for before, after in pairwise(marks)]
        figure(f"{kind}: {options.jobs:,} jobs due later, {processes} processes", used, "s a minute", 3)
        costs = [poll_cost() for _ in range(5)]
        figure("limit: one poll of the database a second, plain sqlite3", costs, "s a minute", 5)


if __name__ == "__main__":
    main()
