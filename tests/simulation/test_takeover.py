"""With the default lease and poll: whichever of two nodes dies, and however soon after the other has started, what it
had is taken over in time (Checks.crashed says when)."""

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.engine.messages import Refresh
from jobd.job import Options
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import Act
from tests.simulation.node import Node

JOINS = 12 * SECOND


class Scenario(SimCluster):
    """A node runs something, a second one joins and runs something else, one of them dies."""

    def __init__(self, dies: int, after: int) -> None:
        super().__init__(1)
        self.settings = self.settings._replace(lease=30 * SECOND, poll=SECOND)
        self.nodes = [Node(self, number) for number in (1, 2)]
        self._dies, self._dies_at = self.nodes[dies], JOINS + after

    def run(self) -> None:
        self._add_long("first")
        self.nodes[0].start()
        self.events.at(JOINS, self.nodes[1].start)
        self.events.at(JOINS + SECOND // 5, lambda: self._add_long("second"))
        self.events.at(self._dies_at, lambda: self._dies.crash(10**9))
        self.events.run(self._dies_at + 40 * SECOND)

    def _add_long(self, name: str) -> None:
        self._add(self._job(name, None, Options(), lambda order: Act(10**9, "never"), runonce=True))

    def _knock(self) -> None:
        """The one that came last is the first to know."""
        if self.nodes[1].up:
            self.nodes[1].engine.keeper.inbox.put(Refresh(lambda trouble: None))


@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("after", [MILLISECOND * ms for ms in (300, 700, 1_500, 4_000, 9_000, 11_000, 19_500)])
def test_what_a_dead_node_had_is_taken_over_within_the_lease_and_two_polls(dies: int, after: int) -> None:
    scenario = Scenario(dies, after)
    scenario.run()
    lost = scenario.database.rows("SELECT count(*) FROM run WHERE outcome = 'lost'")
    assert lost[0][0] > 0, scenario.story
