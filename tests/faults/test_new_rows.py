"""Many rows that a program inserts at once, seen by several nodes at the same moment, while nodes are killed."""

import signal
from collections import Counter
from collections.abc import Callable
from functools import partial

from jobd.store.store import Session, Store
from tests.faults.helpers import FAST, notes
from tests.installation import LONG_TIMEOUT, Installation, until

ROWS = 600
BURSTS = 3
KILLED = (1, 2)  # the nodes that are killed, one after each of the first bursts


def test_each_new_row_runs_once_though_nodes_are_killed(
    database: str, make_installation: Callable[..., Installation], open_store: Callable[[str], Store]
) -> None:
    """A run that was lost with its node is run again, also if nobody knows whether it had begun."""
    nodes = [make_installation(database, FAST, 2) for _ in range(3)]
    for node in nodes:
        node.foreground()
    store = open_store(database)

    def insert(burst: int) -> None:
        def work(session: Session) -> None:
            names = [(f"job{burst}-{number}", 1) for number in range(ROWS)]
            session.write_rows("job", ("name", "runonce"), names)
            sql = "INSERT INTO job_options (job_id, task) SELECT id, 'quick' FROM job WHERE name LIKE ?"
            session.execute(sql, (f"job{burst}-%",))

        store.transact(work)

    def ran() -> Counter[str]:
        return Counter(line.split()[1] for line in notes(*nodes))

    def more_ran(before: int) -> bool:
        return ran().total() > before

    for burst in range(BURSTS):
        before = ran().total()
        insert(burst)
        if burst < len(KILLED):
            until(partial(more_ran, before), "the first of them", LONG_TIMEOUT)
            victim = nodes[KILLED[burst]]
            victim.processes[-1].send_signal(signal.SIGKILL)
            victim.processes[-1].wait()
            victim.foreground()
    until(lambda: len(ran()) == ROWS * BURSTS, "a run of each", LONG_TIMEOUT)
    until(lambda: not _unfinished(nodes[0]), "the end of all", LONG_TIMEOUT)
    begun = ran()
    runs = nodes[0].fine("history", "--json")
    succeeded = Counter(run["job"] for run in runs if run["outcome"] == "succeeded")
    assert succeeded == Counter(begun.keys())
    assert {run["outcome"] for run in runs} <= {"succeeded", "lost"}
    assert max(begun.values()) <= 1 + len(KILLED)


def _unfinished(node: Installation) -> list[str]:
    return [job["name"] for job in node.fine("list", "--json") if job["state"] != "done"]
