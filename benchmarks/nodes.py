"""Nodes: one daemon, then four, drain run-once jobs from one MariaDB or PostgreSQL; how evenly, with which conflicts.

All daemons are up before the jobs become due.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import NOOP, figure
from jobd.job import Job, Options
from jobd.store import definitions
from jobd.store.store import Store
from jobd.store.url import parse_url
from tests import servers
from tests.house import House, until

CONFLICTS = {
    "mariadb": "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'",
    "postgresql": "SELECT sum(deadlocks) FROM pg_stat_database",
}
COMMITS = {
    "mariadb": "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'COM_COMMIT'",
    "postgresql": "SELECT sum(xact_commit) FROM pg_stat_database",
}


class Drained(NamedTuple):
    """What a drain came to. `shares`: of the runs, by node."""

    rate: float
    shares: list[float]
    deadlocks: int
    transactions: int


def number(store: Store, sql: str) -> int:
    """The one number that a statement gives."""
    return int(store.transact(lambda session: session.rows(sql))[0][0] or 0)


def drain(server: servers.Server, kind: str, nodes: int, jobs: int, folder: Path) -> Drained:
    """Have so many nodes drain so many jobs."""
    url = server.new_database()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(Store(parse_url(url))))
        noop = [Job(f"bench{count}", None, True, options=Options(task="noop")) for count in range(jobs)]
        definitions.add(store, noop, int(time.time() * 1e6), "UTC")
        store.transact(lambda session: session.execute("UPDATE schedule SET ready_time = NULL") and None)
        houses = []
        for count in range(nodes):
            house = House(folder / f"{kind}{nodes}-{count}", url, NOOP)
            house.configure("", 2, 'poll = "200ms"\n')
            stack.callback(house.close)
            houses.append(house)
        for house in houses:
            command = house.command("start", "--foreground")
            house.processes.append(
                subprocess.Popen(
                    command, env=house.environ, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
                )
            )
        for house in houses:
            until(lambda house=house: house.status().get("workers") == 2, "the start")
        before = number(store, CONFLICTS[kind]), number(store, COMMITS[kind])
        store.transact(lambda session: session.execute("UPDATE schedule SET ready_time = due_time") and None)
        deadline = time.monotonic() + 300
        while number(store, "SELECT count(*) FROM run") < jobs and time.monotonic() < deadline:
            time.sleep(0.1)
        deadlocks, transactions = (
            number(store, sql) - start for sql, start in zip((CONFLICTS[kind], COMMITS[kind]), before, strict=True)
        )
        by_node = store.transact(lambda session: session.rows("SELECT node_id, count(*) FROM run GROUP BY node_id"))
        ends = "SELECT min(started_time), max(finished_time) FROM run"
        ((began, ended),) = store.transact(lambda session: session.rows(ends))
    shares = [count / jobs for _, count in by_node]
    return Drained(jobs / ((ended - began) / 1e6), shares, deadlocks, transactions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["mariadb", "postgresql"])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for kind in options.kinds:
        for nodes in options.nodes:
            with servers.running(kind) as server, tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
                done = []
                for turn in range(options.rounds):
                    (Path(folder) / str(turn)).mkdir()
                    done.append(drain(server, kind, nodes, options.jobs, Path(folder) / str(turn)))
            figure(f"{kind}, {nodes} nodes: drained", [one.rate for one in done], "runs/s", 0)
            uneven = max(abs(share * nodes - 1) for one in done for share in one.shares)
            deadlocks, transactions = sum(one.deadlocks for one in done), sum(one.transactions for one in done)
            print(f"{kind}, {nodes} nodes: shares off by up to {100 * uneven:.0f} %", end="; ")
            print(f"{deadlocks} deadlocks in {transactions} transactions")


if __name__ == "__main__":
    main()
