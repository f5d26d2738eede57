"""Define in bulk: how many new jobs a second `jobd apply` reads, checks and stores durably, its start included.

The limits: plain rows of the same width by the driver in one transaction (SQLite only), and reading the TOML alone.
"""

import sqlite3
import tempfile
import time
import tomllib

from benchmarks.common import arguments, figure, installations, once, ratio


def plain_rows(count: int) -> float:
    """Rows a second that sqlite3 inserts durably in one transaction: name, flag and plan of a job."""
    with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
        database = sqlite3.connect(f"{folder}/raw.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT UNIQUE, runonce INTEGER, due INTEGER)")
        began = time.perf_counter()
        database.execute("BEGIN")
        rows = ((f"bench{number}", 1, number) for number in range(count))
        database.executemany("INSERT INTO job (name, runonce, due) VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
        took = time.perf_counter() - began
        database.close()
    return count / took


def read_toml(count: int) -> float:
    """Jobs a second that tomllib reads."""
    text = "".join(f'[job.bench{number}]\ntask = "noop"\nrunonce = true\n' for number in range(count))
    began = time.perf_counter()
    tomllib.loads(text)
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    options = parser.parse_args()
    for kind in options.databases:
        rates, rows, toml = [], [], []
        with installations(kind) as fresh:
            for _ in range(options.rounds):
                rows.append(plain_rows(options.jobs))
                toml.append(read_toml(options.jobs))
                with fresh() as jobd:
                    rates.append(options.jobs / jobd.define(options.jobs, once))
        rate = figure(f"{kind}: defined by `jobd apply`, {options.jobs:,} jobs", rates, "jobs/s", 0)
        limit = figure("limit: rows by plain sqlite3", rows, "rows/s", 0)
        reading = figure("limit: the file read by tomllib", toml, "jobs/s", 0)
        ratio(f"{kind}: defined / plain rows", rate, limit)
        ratio(f"{kind}: defined / read by tomllib", rate, reading)


if __name__ == "__main__":
    main()
