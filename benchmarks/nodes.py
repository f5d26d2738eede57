"""Nodes: four daemons on one server against one: their rate in sum, how evenly they claim, what had to be repeated.

All nodes are up before the jobs are due. The limit is the rate of one node, measured alternately. Three rounds
only, since each takes half a minute.
"""

import contextlib
import time

from benchmarks.common import FINISHED, Installation, arguments, due_at, figure, installation, ratio, server
from tests.servers import Server

# Transactions that were rolled back, and all, since the server began: what a deadlock or a conflict has repeated.
_MARIADB = """SELECT max(CASE variable_name WHEN 'COM_ROLLBACK' THEN variable_value + 0 END),
    max(CASE variable_name WHEN 'COM_COMMIT' THEN variable_value + 0 END)
    FROM information_schema.global_status WHERE variable_name IN ('COM_ROLLBACK', 'COM_COMMIT')"""
_POSTGRESQL = "SELECT sum(xact_rollback), sum(xact_rollback + xact_commit) FROM pg_stat_database"
COUNTERS = {"mariadb": _MARIADB, "postgresql": _POSTGRESQL}


def together(jobd: list[Installation], jobs: int, counters: str) -> tuple[float, list[int], float]:
    """(runs a second in sum, runs of each node, share in % of transactions that were rolled back)."""
    due = jobd[0].define_ahead(jobs, due_at, 3 + jobs / 4_000)
    with contextlib.ExitStack() as stack:
        for one in jobd:
            stack.enter_context(one.daemon())
        time.sleep(max(0.0, due - 1 - time.time()))
        ((undone, done),) = jobd[0].rows(counters)
        jobd[0].wait_for(FINISHED, jobs, 240, pause=0.5)
    ((undone_then, done_then),) = jobd[0].rows(counters)
    ((first, last),) = jobd[0].rows("SELECT min(started_time), max(finished_time) FROM run")
    shares = [count for (count,) in jobd[0].rows("SELECT count(*) FROM run GROUP BY node_id")]
    shares += [0] * (len(jobd) - len(shares))
    return (
        jobs * 1e6 / (last - max(first, due * 1e6)),
        shares,
        float(100 * (undone_then - undone) / max(1, done_then - done)),
    )


def measure(found: Server, kind: str, nodes: int, jobs: int, rounds: int) -> None:
    """One node and several, alternately."""
    alone: list[float] = []
    several: list[float] = []
    uneven, repeated = [], []
    for _ in range(rounds):
        for number, rates in ((1, alone), (nodes, several)):
            url = found.new_database()
            with contextlib.ExitStack() as stack:
                places = [stack.enter_context(installation(url)) for _ in range(number)]
                rate, shares, undone = together(places, jobs, COUNTERS[kind])
            rates.append(rate)
        mean = jobs / nodes
        uneven.append(max(abs(share / mean - 1) * 100 for share in shares))
        repeated.append(undone)
    one = figure(f"{kind}: limit, one node", alone, "runs/s", 0)
    sum_of_all = figure(f"{kind}: {nodes} nodes in sum", several, "runs/s", 0)
    ratio(f"{kind}: {nodes} nodes / one", sum_of_all, one)
    figure(f"{kind}: furthest from an equal share", uneven, "%")
    figure(f"{kind}: transactions rolled back", repeated, "%", 2)


def main() -> None:
    parser = arguments(__doc__, rounds=3, databases=("mariadb", "postgresql"))
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=4)
    options = parser.parse_args()
    for kind in options.databases:
        if kind == "sqlite":
            parser.error("nodes share a server; SQLite is for one machine")
        with server(kind) as found:
            measure(found, kind, options.nodes, options.jobs, options.rounds)


if __name__ == "__main__":
    main()
