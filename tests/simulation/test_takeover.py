"""With the default lease and poll, the claims of a dead node are taken over in time.

Either of two nodes dies at some time after the start of the other. Checks.crashed has the limit.
"""

from itertools import pairwise
from typing import Any

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.engine.lease import Watch
from jobd.engine.messages import Refresh
from jobd.job import Options
from tests.simulation.cluster import SimCluster
from tests.simulation.fake_workers import Act
from tests.simulation.node import Node
from tests.simulation.test_shares import JOIN, STEADY_AFTER
from tests.simulation.test_shares import Scenario as Shares

JOINS = 12 * SECOND


class Scenario(SimCluster):
    """One node runs a job, a second one joins and runs another job, and one of them dies."""

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

    def _notify_some(self) -> None:
        """Notify the latest node first."""
        if self.nodes[1].up:
            self.nodes[1].engine.keeper.inbox.put(Refresh(lambda trouble: None))


@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("after", [MILLISECOND * ms for ms in (300, 700, 1_500, 4_000, 9_000, 11_000, 19_500)])
def test_claims_of_a_dead_node_are_taken_over_within_the_lease_and_two_polls(dies: int, after: int) -> None:
    scenario = Scenario(dies, after)
    scenario.run()
    lost = scenario.database.rows("SELECT count(*) FROM run WHERE outcome = 'lost'")
    assert lost[0][0] > 0, scenario.trace_lines


@pytest.mark.parametrize("seed", range(5))
def test_a_node_beside_others_checks_them_once_a_poll(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Shares(seed, "1s", jobs=3)
    checks: dict[Watch, list[int]] = {}
    observe = Watch.observe

    def noted(self: Watch, *seen: Any) -> list[int]:
        checks.setdefault(self, []).append(scenario.events.now)
        return observe(self, *seen)

    monkeypatch.setattr(Watch, "observe", noted)
    scenario.run()
    for node in scenario.nodes:
        moments = [moment for moment in checks[node.engine.keeper.membership.watch] if moment > JOIN + STEADY_AFTER]
        assert max(b - a for a, b in pairwise(moments)) <= scenario.settings.poll + 20 * MILLISECOND
