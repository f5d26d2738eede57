"""A daemon dies at every point between two effects, one point in each test; the later state must be right.

The points are counted while a fixed scenario runs (statements, commits, orders to workers, the start journal, the
spool), so a new step automatically is a new point, which is tested in the same build.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.job import Options
from jobd.wire import Order
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import Act
from tests.simulation.network import Cut
from tests.simulation.node import EPOCH, Died, Node

TROUBLE = 15 * SECOND
REST = 20 * SECOND
KEPT = 3  # runs of a job
KNOWN = {  # consider a new kind of effect before you add it here
    "BEGIN IMMEDIATE", "COMMIT", "committed", "DELETE FROM job_change", "DELETE FROM output", "DELETE FROM run",
    'INSERT INTO "output"', 'INSERT INTO "run"', 'INSERT INTO "schedule"',
    "INSERT INTO node", "SELECT", "UPDATE installation SET",
    "UPDATE job SET", "UPDATE node SET", "UPDATE schedule SET", "clear the spool",
    "marked",    "order", "ordered", "spawn", "spool", "spooled",
}  # fmt: skip


class Scenario(SimCluster):
    """Jobs that succeed, fail and retry, wait, take long, print and are guarded; a database that is unavailable once.

    Only the last runs of each job are kept. One node, or a second one that takes over the claims of the first.
    """

    def __init__(self, nodes: int, die_at: int, how: str) -> None:
        super().__init__(1)
        self.seen: list[str] = []
        self.nodes = [Node(self, number) for number in range(1, 1 + nodes)]
        self.nodes[0].on_effect = self._effect
        history = self.settings.history._replace(keep_per_job=KEPT)
        self.settings = self.settings._replace(on_db_loss="finish", history=history)
        self._die_at, self._how = die_at, how

    def run(self) -> None:
        self._begin()
        node = self.nodes[0]
        node.start()
        for other in self.nodes[1:]:
            self.events.at(3 * SECOND, other.start)
        self.events.at(2 * SECOND, lambda: self._do("set", "edited", EPOCH + self.events.now))
        self.events.at(4 * SECOND, lambda: self._cut(node))
        self.events.run(TROUBLE)
        self._heal()
        self.events.run(TROUBLE + REST)
        self.checks.overlaps()
        self.checks.at_rest()

    def _cut(self, node: Node) -> None:
        node.line.cut = True
        self.events.after(6 * SECOND, lambda: self._mend(node))

    def _begin(self) -> None:
        self.witnesses["witness"] = SECOND
        self.once += ["flaky", "brief"]
        self.edited.add("edited")
        self._add(
            self._job("edited", "2s", Options(), self._takes(20 * MILLISECOND)),
            self._job("witness", "1s", Options(catch_up="all"), self._takes(20 * MILLISECOND)),
            self._job("flaky", None, Options(backoff=SECOND), self._fails_twice, runonce=True, retries=2),
            self._job("careful", None, Options(on_lost="fail"), self._takes(SECOND), runonce=True),
            self._job("brief", None, Options(), self._takes(MILLISECOND), runonce=True),
        )

    def _takes(self, duration: int) -> Callable[[Order], Act]:
        return lambda order: Act(duration, "succeeded")

    def _fails_twice(self, order: Order) -> Act:
        return Act(10 * MILLISECOND, "failed" if order.attempt <= 2 else "succeeded")

    def _effect(self, name: str) -> None:
        if self.events.now > TROUBLE:
            return
        self.seen.append("SELECT" if name.startswith("SELECT") else name)
        if len(self.seen) != self._die_at:
            return
        self.trace(f"{self._how} at point {self._die_at}: {name}")
        if self._how == "kill":
            raise Died
        if self._how == "cut":
            raise Cut
        self.nodes[0].stop(now=self._how == "stop now")


@cache
def points(nodes: int) -> list[str]:
    """The points of the scenario without a crash, in order."""
    scenario = Scenario(nodes, 0, "kill")
    scenario.run()
    return scenario.seen


def test_every_kind_of_effect_is_known() -> None:
    assert set(points(1)) == KNOWN
    assert set(points(2)) <= KNOWN


def test_a_node_whose_lease_is_over_starts_no_workers_that_would_die_at_once() -> None:
    workers = 5
    assert points(2).count("spawn") <= 3 * workers


@pytest.mark.parametrize(
    ("how", "nodes"), [("kill", 1), ("kill", 2), ("cut", 1), ("cut", 2), ("stop", 1), ("stop now", 1)]
)
@pytest.mark.parametrize("part", range(8))
def test_the_consequences_of_a_fault_at_any_point_are_right(part: int, how: str, nodes: int) -> None:
    tried = Counter[str]()
    for number, name in enumerate(points(nodes), start=1):
        database = name.isupper() or name.split()[0].isupper() or name == "committed"
        if number % 8 != part or (how == "cut" and not database):
            continue
        tried[name] += 1
        scenario = Scenario(nodes, number, how)
        try:
            scenario.run()
        except BaseException:
            print("\n".join(scenario.trace_lines[-50:]), f"\n{how} at point {number}: {name}")
            raise
    assert tried
