"""Scale: few and a million stored jobs. The daemon's memory, its start to the first run, and what a claimed run costs.

All three should be flat: the limit is the figure with few jobs, measured alternately. Five rounds and no more,
as each takes some ten seconds.
"""

import contextlib
import time
from contextlib import closing
from typing import NamedTuple

from benchmarks.common import FINISHED, Installation, arguments, at, figure, installations, ratio
from benchmarks.processes import processor_seconds, resident
from jobd.store.connect import dialect_of
from jobd.store.url import parse_url

DUE = 5_000
AT_ONCE = 50_000  # rows a statement


class Measured(NamedTuple):
    """One start of a daemon: MiB, seconds, microseconds of the daemon's processor time."""

    memory: float
    first: float
    cost: float


def multiply(jobd: Installation, like: str, interval: str, count: int) -> None:
    """Store so many further jobs of the same definition and plan as the job called `like`, as fast as can be."""
    target = parse_url(jobd.url)
    mark = "?" if target.kind == "sqlite" else "%s"
    with (
        closing(dialect_of(target).connect(target, create=False)) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute("BEGIN")
        for start in range(0, count, AT_ONCE):
            some = [(f"{like}/{number}", interval) for number in range(start, min(count, start + AT_ONCE))]
            cursor.executemany(f'INSERT INTO job (name, "interval") VALUES ({mark}, {mark})', some)
        copies = f"FROM job WHERE name > '{like}/' AND name < '{like}0'"
        original = f"(SELECT id FROM job WHERE name = '{like}')"
        cursor.execute(f"INSERT INTO job_options (job_id, task) SELECT id, 'noop' {copies}")
        cursor.execute(
            "INSERT INTO schedule (job_id, due_time, ready_time, anchor, basis)"
            " SELECT copy.id, one.due_time, one.ready_time, one.anchor, one.basis"
            f" FROM (SELECT id {copies}) copy, schedule one WHERE one.job_id = {original}"
        )
        cursor.execute("DELETE FROM job_change")
        cursor.execute("COMMIT")


def measure(jobd: Installation, name: str) -> Measured:
    """Start the daemon, let it run one job at once and many a few seconds later."""
    due = at(time.time() + 7)
    jobd.jobd("add", f"{name}-due", "--task", "noop", "--at", due)
    multiply(jobd, f"{name}-due", f"at {due}", DUE - 1)
    jobd.jobd("add", name, "--task", "noop", "--once")
    ((before,),) = jobd.rows(FINISHED)
    began = time.time()
    with jobd.daemon() as process:
        jobd.wait_for(FINISHED, before + 1, 60)
        ((started,),) = jobd.rows(f"SELECT min(started_time) FROM run WHERE started_time >= {round(began * 1e6)}")
        time.sleep(1.5)
        memory, used = resident(process.pid), processor_seconds(process.pid)
        jobd.wait_for(FINISHED, before + 1 + DUE, 60)
        return Measured(memory, started / 1e6 - began, (processor_seconds(process.pid) - used) * 1e6 / DUE)


def main() -> None:
    parser = arguments(__doc__, databases=("sqlite",))
    parser.add_argument("--jobs", type=int, nargs=2, default=[1_000, 1_000_000])
    options = parser.parse_args()
    for kind in options.databases:
        measured: dict[int, list[Measured]] = {jobs: [] for jobs in options.jobs}
        with installations(kind) as fresh, contextlib.ExitStack() as stack:
            places = {jobs: stack.enter_context(fresh()) for jobs in options.jobs}
            for jobs, jobd in places.items():
                jobd.jobd("add", "later", "--task", "noop", "--at", "2099-01-01T00:00:00+00:00")
                multiply(jobd, "later", "at 2099-01-01T00:00:00+00:00", jobs)
            for number in range(options.rounds):
                for jobs, jobd in places.items():
                    measured[jobs].append(measure(jobd, f"round{number}"))
        show(kind, measured)


def show(kind: str, measured: dict[int, list[Measured]]) -> None:
    """Print what was measured, and many jobs against few."""
    medians = []
    for jobs, found in measured.items():
        stored = f"{kind}, {jobs:,} jobs stored"
        memory = figure(f"{stored}: daemon memory", [one.memory for one in found], "MiB")
        first = figure(f"{stored}: start to first run", [one.first for one in found], "s", 3)
        cost = figure(f"{stored}: a claimed run costs the daemon", [one.cost for one in found], "us", 0)
        medians.append((memory, first, cost))
    for what, few, many in zip(("memory", "start", "cost of a run"), *medians, strict=True):
        ratio(f"{kind}: {what}, many jobs / few", many, few)


if __name__ == "__main__":
    main()
