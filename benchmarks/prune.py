"""Pruning: 1,000 runs a second are recorded and as many deleted, and how long claims have to wait for that.

Cycles like the keeper's (claim, record, delete a batch) follow each other every 10 ms on large tables, first without
pruning, then while it prunes surplus runs of jobs, then many old runs.

python -m benchmarks.prune --kinds sqlite mariadb postgresql --jobs 1000000 --runs 10
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg  # noqa: F401 - jobd lets peewee see only the driver it needs; this opens all kinds in one process
import pymysql  # noqa: F401

from benchmarks.common import figure, percentile
from jobd.claim import ClaimUpdate
from jobd.clock import DAY, MILLISECOND, SECOND, SystemClock
from jobd.engine.pruner import Pruner
from jobd.job import Run
from jobd.settings import HistorySettings
from jobd.store import schedule_table as table
from jobd.store.schedule_table import Claimed
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.store.filling import LIVE, NOW, Size, analyze, fill, when

TICK = 10 * MILLISECOND
EACH = 10  # runs in a cycle: 1,000 a second


class Cycles(NamedTuple):
    """The durations of a series of cycles, in milliseconds."""

    late: list[float]  # delays of the starts of cycles
    batches: list[float]  # durations of those that deleted runs
    deleted: int
    recorded: int
    seconds: float


class Years(SystemClock):
    """The clock of the filled tables."""

    def wall(self) -> int:
        return NOW


class Timed(Store):
    """A store whose pruning is timed."""

    def prune(self, pruner: Pruner, history: HistorySettings) -> float:
        """One step; the milliseconds that it took if it deleted runs, else 0."""
        began, at = time.perf_counter(), pruner.next_at
        pruner.step(self, history)
        return 1_000 * (time.perf_counter() - began) if pruner.next_at != at else 0.0


def cycles(store: Timed, seconds: int, pruner: Pruner, history: HistorySettings | None) -> Cycles:
    """Cycles every 10 ms; with a `history` there is pruning."""
    late, batches = [], []
    before = runs(store)
    began = time.perf_counter()
    for tick in range(seconds * SECOND // TICK):
        due = began + tick * TICK / SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        late.append(1_000 * (time.perf_counter() - due))
        ended = one_cycle(store)
        if history is not None:
            pruner.runs_ended(ended, history)
            if took := store.prune(pruner, history):
                batches.append(took)
    took = time.perf_counter() - began
    recorded = len(late) * EACH
    return Cycles(late, batches, before + recorded - runs(store), recorded, took)


def one_cycle(store: Store) -> list[Run]:
    """Claim jobs, and record their runs; the runs."""

    def claim(session: Session) -> list[Claimed]:
        return table.claim(session, LIVE, "default", NOW + SECOND, EACH)

    ends = []
    for one in store.transact(claim):
        state = one.state
        run = Run(state.job_id, state.number, NOW, NOW, NOW, 1, "succeeded", LIVE)
        free = state._replace(node=0, ready=NOW + DAY, due=NOW + DAY, number=state.number + 1)
        ends.append(ClaimUpdate(LIVE, state.token, free, run, ()))
    store.transact(lambda session: table.record(session, ends, NOW))
    return [one.run for one in ends if one.run is not None]


def runs(store: Store) -> int:
    """How many runs there are."""
    return int(store.transact(lambda session: session.rows("SELECT count(*) FROM run"))[0][0])


@contextlib.contextmanager
def filled(kind: str, size: Size) -> Iterator[Timed]:
    """A store on a throw-away database with large tables."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            url = servers.sqlite_url(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobd-bench-"))))
        else:
            url = stack.enter_context(servers.running(kind)).new_database()
        store = stack.enter_context(contextlib.closing(Timed(parse_url(url))))
        fill(store, size)
        if kind != "sqlite":
            analyze(store)
        yield store


def measure(kind: str, store: Timed, size: Size, seconds: int) -> None:
    """Print the figures of one database."""
    clock = Years()
    everything = HistorySettings(keep=365 * DAY, keep_per_job=size.runs, output=0)
    oldest = HistorySettings(keep=NOW - when(size, 0, size.runs // 2), keep_per_job=10**6, output=0)
    for name, history in (("no pruning", None), ("by number", everything), ("by age", oldest)):
        done = cycles(store, seconds, Pruner(clock), history)
        figure(f"{kind}, {name}: cycles begin late by", done.late, "ms", 2)
        if done.batches:
            figure(f"{kind}, {name}: a claim waits for a batch", done.batches, "ms", 2)
            rates = [f"{count / done.seconds:,.0f} runs/s" for count in (done.recorded, done.deleted)]
            print(f"p99 {percentile(done.batches, 0.99):.2f} ms; recorded {rates[0]}, deleted {rates[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(servers.KINDS))
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    size = Size(options.jobs, options.runs)
    for kind in options.kinds:
        with filled(kind, size) as store:
            measure(kind, store, size, options.seconds)


if __name__ == "__main__":
    main()
