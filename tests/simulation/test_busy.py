"""Nodes whose workers are all in long runs, in simulated time.

A node with free workers runs the jobs that wait there, and busy nodes do not pass jobs to each other.
"""

import pytest

from jobd.clock import SECOND
from jobd.job import Options
from jobd.wire import Order
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import Act
from tests.simulation.node import Node

JOIN = 3 * SECOND
LONG = 60 * SECOND
SHORTS = 20


class Scenario(SimCluster):
    """The first of two nodes, with two workers each, has claimed two long jobs and the short jobs after them."""

    def __init__(self, seed: int, longs: int) -> None:
        super().__init__(seed)
        self.settings = self.settings._replace(poll=SECOND, lease=30 * SECOND, pools={"default": 2})
        self.nodes = [Node(self, number) for number in (1, 2)]
        self.edits_tables = self.clocks_moved = self.with_priorities = False
        self.longs = longs
        self.at_join: dict[str, int] = {}  # the tokens of all jobs

    def run(self) -> None:
        self.nodes[0].start()
        self.events.at(SECOND, lambda: self._once("long", self.longs))
        self.events.at(SECOND * 3 // 2, lambda: self._once("short", SHORTS))
        self.events.at(JOIN, self._join)
        self.events.run(JOIN + 20 * SECOND)

    def began_on(self, kind: str) -> dict[str, tuple[int, int]]:
        """The node and the time of the start of each job of this kind."""
        return {began.job: (began.node, began.at) for began in self.checks.began if began.job.startswith(kind)}

    def tokens(self, condition: str = "1") -> dict[str, int]:
        """The fencing token of each job; every claim adds one to it."""
        rows = self.database.rows(f"SELECT name, token FROM schedule JOIN job ON job.id = job_id WHERE {condition}")
        return {str(name): int(token) for name, token in rows}

    def _join(self) -> None:
        self.at_join = self.tokens()
        self.nodes[1].start()

    def _once(self, kind: str, count: int) -> None:
        options = Options(pool="default")
        self._add(*(self._job(f"{kind}{n}", None, options, self._act, runonce=True) for n in range(count)))

    def _act(self, order: Order) -> Act:
        return Act(LONG if order.job.startswith("long") else self.random.randrange(2_000), "succeeded")


@pytest.mark.parametrize("seed", range(5))
def test_a_free_node_runs_jobs_behind_long_runs_within_a_second(seed: int) -> None:
    scenario = Scenario(seed, longs=2)
    scenario.run()
    shorts = scenario.began_on("short")
    assert len(shorts) == SHORTS
    assert {node for node, _ in shorts.values()} == {2}
    # The first node notices the second at its next check of its peers, a poll later.
    assert max(at for _, at in shorts.values()) <= JOIN + 2 * SECOND


@pytest.mark.parametrize("seed", range(5))
def test_nodes_without_a_free_worker_exchange_no_claims(seed: int) -> None:
    scenario = Scenario(seed, longs=4)
    scenario.run()
    assert scenario.began_on("short") == {}
    assert {node for node, _ in scenario.began_on("long").values()} == {1, 2}
    free = scenario.tokens("node_id = 0")
    assert len(free) == SHORTS
    assert all(token <= scenario.at_join[name] + 1 for name, token in free.items()), "each node has had it once"
