"""Punctuality: interval jobs, due spread evenly; how many due times ran, how late they began, and what that cost.

A round is a window of some seconds of one daemon's life. The limit: by how much select() wakes up late in a process
that does nothing else, during the same seconds.
"""

import time
from itertools import pairwise
from typing import NamedTuple

from benchmarks.common import Installation, arguments, at, figure, installations, percentile, ratio
from benchmarks.limits import wake_ups
from benchmarks.processes import family_seconds, processor_seconds


class Case(NamedTuple):
    """So many jobs, each due every so many seconds; the length of a round; the databases when none is named."""

    jobs: int
    every: int
    window: float
    databases: tuple[str, ...]


CASES = (
    Case(10_000, 10, 5, ("sqlite", "mariadb", "postgresql")),
    Case(1_000, 10, 5, ("sqlite",)),
    Case(1, 1, 10, ("sqlite",)),
)


class Window(NamedTuple):
    """A round: ms that each run was late, % of the due times that ran, % of a core without and with the workers."""

    late: list[float]
    ran: float
    alone: float
    together: float
    limit: list[float]  # ms that a bare select() was late meanwhile


def observe(jobd: Installation, case: Case, rounds: int) -> list[Window]:
    """Define the jobs of a case and watch a daemon run them."""
    spread = case.every / case.jobs

    def definition(number: int, first: float) -> str:
        return f'interval = "{case.every}s"\nstarts = "{at(first + number * spread)}"'

    first = jobd.define_ahead(case.jobs, definition, 3 + case.jobs / 2_500)
    begins = [first + 1 + spread / 2 + number * case.window for number in range(rounds + 1)]  # between two due times
    marks, limits = [], []
    with jobd.daemon() as process:
        for moment in begins:
            limits.append(wake_ups(moment))
            time.sleep(max(0.0, moment - time.time()))
            marks.append((time.perf_counter(), processor_seconds(process.pid), family_seconds(process.pid)))
        time.sleep(2)  # what is late in the last round
    windows = []
    for begin, (before, after), limit in zip(begins, pairwise(marks), limits[1:], strict=False):
        late = lateness(jobd, begin, case.window)
        wall, alone, together = (later - earlier for earlier, later in zip(before, after, strict=True))
        ran = 100 * len(late) * spread / case.window
        windows.append(Window(late, ran, 100 * alone / wall, 100 * together / wall, limit))
    return windows


def run(jobd: Installation, case: Case, rounds: int) -> None:
    """Measure a case and print it."""
    windows = observe(jobd, case, rounds)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        middle = figure(f"lateness {name}", [percentile(one.late, share) for one in windows], "ms", 3)
        limit = figure(f"limit: a bare select() {name}", [percentile(one.limit, share) for one in windows], "ms", 3)
        ratio(f"lateness {name} / limit", middle, limit)
    figure("lateness max", [max(one.late) for one in windows], "ms", 3)
    figure("due times that ran", [one.ran for one in windows], "%", 2)
    figure("processor, daemon", [one.alone for one in windows], "% of a core", 2)
    figure("processor, daemon and workers", [one.together for one in windows], "% of a core", 2)


def lateness(jobd: Installation, start: float, window: float) -> list[float]:
    """By how many ms the runs that were due in a window began late."""
    begin, end = round(start * 1e6), round((start + window) * 1e6)
    sql = f"SELECT started_time - due_time FROM run WHERE due_time >= {begin} AND due_time < {end}"
    return [late / 1_000 for (late,) in jobd.rows(sql)]


def main() -> None:
    parser = arguments(__doc__, databases=())
    parser.add_argument("--jobs", type=int, help="only the case with so many jobs")
    options = parser.parse_args()
    for case in CASES:
        if options.jobs in (None, case.jobs):
            for kind in options.databases or case.databases:
                print(f"{kind}: {case.jobs:,} jobs every {case.every} s, rounds of {case.window} s")
                with installations(kind) as fresh, fresh() as jobd:
                    run(jobd, case, options.rounds)


if __name__ == "__main__":
    main()
