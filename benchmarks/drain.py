"""Drain: run-once jobs, all due; each runs in a worker process and is durably recorded. Three databases.

On SQLite also jobs that print one line each, which is recorded with the run.

The limit: recorded runs a second of the plain driver on the same database, 100 a commit, one connection;
and round trips of a message over a socket pair, as each run needs one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.common import FINISHED, Installation, arguments, figure, installations, once, ratio, says_once
from benchmarks.limits import recorded_runs, socket_trips

SPAN = "SELECT min(started_time), max(finished_time) FROM run WHERE outcome = 'succeeded'"


def drained(jobd: Installation, jobs: int, definition: Callable[[int], str] = once) -> float:
    """Runs a second, from the first start to the last end."""
    jobd.define(jobs, definition)
    with jobd.daemon():
        jobd.wait_for(FINISHED, jobs, 240)
    ((began, ended),) = jobd.rows(SPAN)
    ((good,),) = jobd.rows("SELECT count(*) FROM run WHERE outcome = 'succeeded'")
    if good != jobs:
        raise RuntimeError(f"{good} of {jobs} succeeded")
    return jobs * 1e6 / (ended - began)


def printed(jobd: Installation, jobs: int) -> float:
    """The same for jobs that print a line."""
    rate = drained(jobd, jobs, says_once)
    ((kept,),) = jobd.rows("SELECT count(*) FROM output")
    if kept != jobs:
        raise RuntimeError(f"{kept} of {jobs} outputs were kept")
    return rate


def measure_printed(fresh: Callable[[], AbstractContextManager[Installation]], jobs: int, rounds: int) -> None:
    """Runs that print and runs that do not, alternately."""
    silent, loud = [], []
    for _ in range(rounds):
        with fresh() as jobd:
            silent.append(drained(jobd, jobs))
        with fresh() as jobd:
            loud.append(printed(jobd, jobs))
    rate = figure(f"sqlite: drained {jobs:,} jobs that print a line", loud, "runs/s", 0)
    ratio("sqlite: that print / silent", rate, figure("sqlite: silent, beside them", silent, "runs/s", 0))


def measure(kind: str, fresh: Callable[[], AbstractContextManager[Installation]], jobs: int, rounds: int) -> None:
    """Drain and limit, alternately."""
    rates, limits = [], []
    for _ in range(rounds):
        with fresh() as jobd:
            limits.append(recorded_runs(jobd.url))
            rates.append(drained(jobd, jobs))
    rate = figure(f"{kind}: drained {jobs:,} jobs", rates, "runs/s", 0)
    limit = figure(f"{kind}: limit, recorded runs by the plain driver, 100 a commit", limits, "runs/s", 0)
    ratio(f"{kind}: drained / limit", rate, limit)
    trips = figure("limit: round trips over a socket pair", [socket_trips() for _ in range(rounds)], "trips/s", 0)
    ratio(f"{kind}: drained / round trips", rate, trips)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    options = parser.parse_args()
    for kind in options.databases:
        with installations(kind) as fresh:
            measure(kind, fresh, options.jobs, options.rounds)
            if kind == "sqlite":
                measure_printed(fresh, options.jobs, options.rounds)


if __name__ == "__main__":
    main()
